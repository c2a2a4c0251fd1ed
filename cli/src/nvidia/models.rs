//! Names for the models and clusters of an import.

use std::collections::{BTreeMap, BTreeSet};

use llm_router_routing::config::AUTO;
use serde_json::{Map, Value, json};

use super::llms::Upstream;
use super::server::Server;

/// The sidecar's cluster, by the name that our bootstraps give it.
pub(super) const SIDECAR: &str = "llm-router-sidecar";

/// The names that clients use for policies and classes. The name of a model must not change what these mean.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) policies: BTreeSet<String>,
    /// The classes of all policies, with what they call.
    pub(super) classes: BTreeMap<String, BTreeSet<Upstream>>,
}

impl Taken {
    /// Manual routing looks for a model first, so a model may have a class's name only if every class of that
    /// name calls this model.
    fn allows(&self, name: &str, upstream: &Upstream) -> bool {
        let classes = self.classes.get(name).into_iter().flatten();
        name != AUTO && !self.policies.contains(name) && classes.into_iter().all(|class| class == upstream)
    }
}

/// The models in use, each once however many classes call it, in the order of their first use.
#[derive(Debug)]
pub(super) struct Models {
    taken: Taken,
    models: Vec<Model>,
    clusters: Vec<(Server, String)>,
}

/// A model with its name and the name of its cluster.
#[derive(Debug)]
struct Model {
    upstream: Upstream,
    name: String,
    cluster: String,
}

impl Models {
    pub(super) fn new(taken: Taken) -> Self {
        Self { taken, models: Vec::new(), clusters: Vec::new() }
    }

    /// The name of a model: the server's name for it without the vendor; with the vendor or a number if that is taken.
    pub(super) fn name(&mut self, upstream: &Upstream) -> String {
        if let Some(model) = self.models.iter().find(|model| model.upstream == *upstream) {
            return model.name.clone();
        }
        let whole = printable(&upstream.model);
        let short = whole.rsplit('/').find(|part| !part.is_empty()).unwrap_or("model");
        // The same model at another server has the same vendor, so only a number distinguishes the two.
        let elsewhere = self.models.iter().any(|model| model.upstream.model == upstream.model);
        let with_vendor = (!elsewhere).then(|| whole.replace('/', "-"));
        let name = free(short, with_vendor, |name| {
            self.models.iter().all(|model| model.name != name) && self.taken.allows(name, upstream)
        });
        let cluster = self.cluster(&upstream.server);
        self.models.push(Model { upstream: upstream.clone(), name: name.clone(), cluster });
        name
    }

    fn cluster(&mut self, server: &Server) -> String {
        if let Some((_, name)) = self.clusters.iter().find(|(known, _)| known == server) {
            return name.clone();
        }
        let name = free(&server.short_name(), None, |name| {
            name != SIDECAR && self.clusters.iter().all(|(_, other)| other != name)
        });
        self.clusters.push((server.clone(), name.clone()));
        name
    }

    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.models.iter().map(|model| (model.name.clone(), model.to_json())).collect())
    }

    pub(super) fn clusters(&self) -> Vec<Value> {
        self.clusters.iter().map(|(server, name)| server.to_cluster(name)).collect()
    }
}

impl Model {
    fn to_json(&self) -> Value {
        let Upstream { server, base_path, model } = &self.upstream;
        let mut members = Map::from_iter([
            ("cluster".to_owned(), json!(self.cluster)),
            ("model".to_owned(), json!(model)),
            ("host".to_owned(), json!(server.authority())),
        ]);
        if base_path != "/v1" {
            members.insert("base_path".to_owned(), json!(base_path));
        }
        Value::Object(members)
    }
}

/// The first of these names that is free: the short one, the other one, the short one with a number.
fn free(short: &str, other: Option<String>, is_free: impl Fn(&str) -> bool) -> String {
    let numbered = (2_u64..).map(|number| format!("{short}-{number}"));
    let mut names = [short.to_owned()].into_iter().chain(other).chain(numbered);
    names.find(|name| is_free(name)).unwrap_or_default()
}

/// Replaces characters that response headers, which carry names of models, do not allow.
pub(super) fn printable(name: &str) -> String {
    let legal = |c: char| c.is_ascii_graphic() || c == ' ';
    name.chars().map(|c| if legal(c) { c } else { '-' }).collect()
}
