//! The server and the model behind an LLM of the blueprint.

use std::collections::BTreeSet;

use super::blueprint::Llm;
use super::secrets::{Secrets, bare};
use super::server::{Endpoint, Server};

/// A model at a server. Classes with the same one share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Upstream {
    pub(super) server: Server,
    pub(super) base_path: String,
    /// The value of `model` in the request.
    pub(super) model: String,
}

/// A class of a policy, and its upstream.
#[derive(Debug)]
pub(super) struct Class {
    /// The name for manual routing; empty if it has an API key in it.
    pub(super) name: String,
    /// The name for notes.
    pub(super) title: String,
    /// The upstream, or why it cannot be called.
    pub(super) upstream: Result<Upstream, String>,
    pub(super) notes: Vec<String>,
}

impl Class {
    /// Converts the LLM at a position.
    pub(super) fn new(llm: &Llm, position: usize, secrets: &Secrets, servers: &mut Servers) -> Self {
        let mut notes = Vec::new();
        let is_key = secrets.in_name(&llm.name);
        if is_key {
            notes.push(format!(
                "LLM {}: its name has an API key in it and is left out: revoke the key",
                position + 1
            ));
        }
        let named = !is_key && !llm.name.is_empty();
        let name = if named { llm.name.clone() } else { String::new() };
        let title = if named { format!("class {name:?}") } else { format!("LLM {}", position + 1) };
        let upstream = match upstream(llm, secrets) {
            Ok((upstream, remarks)) => {
                servers.add(&upstream, &llm.api_key, &remarks);
                Ok(upstream)
            }
            Err(reason) => Err(reason),
        };
        Self { name, title, upstream, notes }
    }
}

fn upstream(llm: &Llm, secrets: &Secrets) -> Result<(Upstream, Vec<&'static str>), String> {
    filled("model", &llm.model)?;
    if secrets.in_name(&llm.model) {
        return Err("its model is an API key: write the model, and revoke the key".to_owned());
    }
    filled("api_base", &llm.api_base)?;
    let endpoint = Endpoint::from_api_base(&llm.api_base).map_err(|reason| {
        // Only an `api_base` that probably has no secret in it is shown.
        let shown = !secrets.in_name(&llm.api_base) && !llm.api_base.contains(['@', '?']);
        let shown = if shown { format!(" {:?}", llm.api_base) } else { String::new() };
        format!("its api_base{shown} {reason}")
    })?;
    if secrets.in_path(&endpoint.base_path) {
        return Err("its api_base has an API key in it: take it out, and revoke the key".to_owned());
    }
    let Endpoint { server, base_path, notes } = endpoint;
    Ok((Upstream { server, base_path, model: llm.model.clone() }, notes))
}

fn filled(field: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("it has no {field}"));
    }
    let placeholder =
        value.contains("${") || value.contains("{{") || value.starts_with('<') || value.contains("//<");
    if placeholder {
        return Err(format!("its {field} has a placeholder in it: fill it in first, as with envsubst"));
    }
    Ok(())
}

/// What is not carried over from the servers. The keys are only counted.
#[derive(Debug, Default)]
pub(super) struct Servers {
    keys: Vec<(Server, BTreeSet<String>)>,
    remarks: Vec<String>,
}

impl Servers {
    fn add(&mut self, upstream: &Upstream, api_key: &str, remarks: &[&str]) {
        for remark in remarks {
            let remark = format!("api_base {}{}: {remark}", upstream.server, upstream.base_path);
            if !self.remarks.contains(&remark) {
                self.remarks.push(remark);
            }
        }
        let key = bare(api_key).to_owned();
        if key.is_empty() {
            return;
        }
        match self.keys.iter_mut().find(|(known, _)| *known == upstream.server) {
            Some((_, keys)) => {
                keys.insert(key);
            }
            None => self.keys.push((upstream.server.clone(), BTreeSet::from([key]))),
        }
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        const KEEP: &str = "keep it as an Envoy secret (credential_injector with SDS)";
        let keys = self.keys.iter().map(|(server, keys)| match keys.len() {
            1 => format!("the api_key for {server} is not carried over: {KEEP}"),
            count => format!(
                "{count} different values of api_key for {server} are not carried over: {KEEP}, in a copy of the \
                 cluster for each further one"
            ),
        });
        self.remarks.iter().cloned().chain(keys)
    }
}
