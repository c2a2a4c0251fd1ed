//! Converts a policy of the blueprint to one of ours.

use anyhow::{Result, bail};
use llm_router_routing::config::AUTO;
use serde_json::{Map, Value, json};

use super::blueprint::{Blueprint, Policy};
use super::classes::{Basis, ensemble};
use super::llms::{Class, Servers, Upstream};
use super::models::{Models, printable};
use super::secrets::Secrets;

/// Names of classes for everything that fits nowhere else. The first one that a policy has is its default.
const LAST_RESORT: [&str; 4] = ["unknown", "other", "default", "fallback"];

/// A policy that is imported.
pub(super) struct ImportedPolicy<'a> {
    blueprint: &'a Blueprint,
    policy: &'a Policy,
    pub(super) name: String,
    pub(super) basis: Basis,
    pub(super) classes: Vec<Class>,
}

impl<'a> ImportedPolicy<'a> {
    /// Converts a policy, unless nothing in it can be used.
    ///
    /// # Errors
    /// The reason.
    pub(super) fn new(
        blueprint: &'a Blueprint,
        policy: &'a Policy,
        secrets: &Secrets,
        servers: &mut Servers,
    ) -> Result<Self, String> {
        let ensemble = ensemble(&policy.url).filter(|ensemble| !secrets.in_name(ensemble));
        let unnamed = || ensemble.as_ref().map(|ensemble| ensemble.trim_end_matches("_ensemble"));
        let name = Some(policy.name.trim()).filter(|name| !name.is_empty()).or_else(unnamed);
        let name = name.ok_or("a policy has no name: write one")?.to_owned();
        if secrets.in_name(&name) {
            return Err("a policy has an API key for its name: write a name, and revoke the key".to_owned());
        }
        if name == AUTO || printable(&name) != name {
            return Err(format!(
                "policy {name:?}: give it another name, of printable ASCII characters and not {AUTO:?}, which stands \
                 for the default policy"
            ));
        }
        if policy.llms.is_empty() {
            return Err(format!("policy {name:?} has no llms"));
        }
        let llms = policy.llms.iter().enumerate();
        let classes: Vec<_> =
            llms.map(|(position, llm)| Class::new(llm, position, secrets, servers)).collect();
        if classes.iter().all(|class| class.upstream.is_err()) {
            let reasons = classes
                .iter()
                .filter_map(|class| Some(format!("{}: {}", class.title, class.upstream.as_ref().err()?)));
            let reasons: Vec<_> = reasons.collect();
            return Err(format!("policy {name:?} has no LLM that can be called: {}", reasons.join("; ")));
        }
        Ok(Self { blueprint, policy, name, basis: Basis::new(policy, ensemble), classes })
    }

    /// Handles another policy of the same name. Within a configuration, the blueprint uses the first.
    ///
    /// # Errors
    /// If it is from another configuration, and differs.
    pub(super) fn repeated_by(&self, other: &Self) -> Result<Option<String>> {
        if self.policy == other.policy {
            return Ok(None);
        }
        if std::ptr::eq(self.blueprint, other.blueprint) {
            let note = format!(
                "policy {:?} is defined twice: the first one is used, as in the blueprint",
                self.name
            );
            return Ok(Some(note));
        }
        let (one, two) = (&self.blueprint.place, &other.blueprint.place);
        bail!(
            "two configurations have different policies {:?}, in {one:?} and in {two:?}; pass a file with one of them",
            self.name
        );
    }

    /// The class whose model is the policy's default.
    fn default(&self) -> Option<&Class> {
        let usable = || self.classes.iter().enumerate().filter(|(_, class)| class.upstream.is_ok());
        let labelled = |position: usize, class: &Class, wanted: &str| {
            let label = self.basis.label(position, &class.name);
            label.is_some_and(|label| label.eq_ignore_ascii_case(wanted))
        };
        let by_label = LAST_RESORT
            .iter()
            .find_map(|wanted| usable().find(|(position, class)| labelled(*position, class, wanted)));
        let by_name = || {
            LAST_RESORT
                .iter()
                .find_map(|wanted| usable().find(|(_, class)| class.name.eq_ignore_ascii_case(wanted)))
        };
        by_label.or_else(by_name).or_else(|| usable().next()).map(|(_, class)| class)
    }

    /// The upstream of each name in manual routing. If several classes have the same name, the first one
    /// counts. A class that cannot be called has the upstream of the policy's default.
    pub(super) fn manual(&self) -> impl Iterator<Item = (&str, &Upstream)> {
        let default = self.default().and_then(|class| class.upstream.as_ref().ok());
        let first = |(position, class): &(usize, &Class)| {
            let before = self.classes.iter().take(*position);
            !class.name.is_empty() && before.into_iter().all(|other| other.name != class.name)
        };
        let named = self.classes.iter().enumerate().filter(first);
        named.filter_map(move |(_, class)| {
            Some((class.name.as_str(), class.upstream.as_ref().ok().or(default)?))
        })
    }

    /// Our policy.
    pub(super) fn to_json(&self, models: &mut Models) -> Value {
        let mut routes = Map::new();
        for (position, class) in self.classes.iter().enumerate() {
            if let (Some(label), Ok(upstream)) = (self.basis.label(position, &class.name), &class.upstream) {
                routes.entry(label).or_insert_with(|| json!(models.name(upstream)));
            }
        }
        let manual = self.manual().map(|(class, upstream)| (class.to_owned(), json!(models.name(upstream))));
        let mut classes: Map<_, _> = manual.collect();
        classes.retain(|class, model| routes.get(class) != Some(model));
        let mut policy = Map::from_iter([
            ("classifier".to_owned(), json!(self.basis.classifier())),
            ("routes".to_owned(), Value::Object(routes)),
            ("default".to_owned(), json!(self.default_model(models))),
        ]);
        if !classes.is_empty() {
            policy.insert("classes".to_owned(), Value::Object(classes));
        }
        Value::Object(policy)
    }

    /// The name of the default's model.
    pub(super) fn default_model(&self, models: &mut Models) -> String {
        let upstream = self.default().and_then(|class| class.upstream.as_ref().ok());
        upstream.map(|upstream| models.name(upstream)).unwrap_or_default()
    }
}
