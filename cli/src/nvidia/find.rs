//! Finds configurations of the blueprint in a file: alone, or inside Kubernetes manifests, Helm values and templates,
//! compose files, notebooks and documents.

use anyhow::{Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use llm_router_routing::documents::kubernetes;
use serde_json::{Map, Value};

use super::blueprint::{Blueprint, Policy, is_policy};
use super::{chart, secrets};

/// The configurations in a text, and errors about parts that look like one but cannot be read.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) blueprints: Vec<Blueprint>,
    pub(super) problems: Vec<String>,
    /// The number of strings that were parsed.
    texts: usize,
}

/// The maximum nesting of texts, as when a manifest holds a file that holds a manifest.
const MAX_TEXTS: usize = 4;

/// The maximum number of strings that are parsed: strings in strings, each repeated by aliases, would take practically forever.
const MAX_PARSED: usize = 1000;

/// Searches a file's text.
///
/// # Errors
/// If the text is empty, or has nothing like a blueprint's configuration.
pub(super) fn find(text: &str) -> Result<Found> {
    let mut found = Found::default();
    let documents = parse(text);
    match &documents {
        Ok(documents) if documents.iter().all(Value::is_null) => {
            bail!("the text is empty; pass the config.yaml of the blueprint's router controller")
        }
        Ok(documents) => documents.iter().for_each(|document| found.search(document, &Place::default())),
        Err(_) => {}
    }
    if found.blueprints.is_empty() {
        found.search_blocks(text, &Place::default());
    }
    if !found.blueprints.is_empty() {
        return Ok(found);
    }
    match documents {
        Err(error) => bail!("the text is neither YAML nor JSON: {error}{}", template_hint(text)),
        Ok(_) if !found.problems.is_empty() => bail!("{}", found.problems.join("; ")),
        Ok(documents) => found.blueprints.extend(documents.iter().filter_map(without_llms)),
    }
    if found.blueprints.is_empty() {
        bail!(
            "is not a blueprint's configuration: nothing in it has policies with llms; pass the config.yaml of the \
             router controller, or the ConfigMap or Helm values that contain it"
        );
    }
    Ok(found)
}

/// Parse errors must not quote the text: it has keys.
fn parse(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| secrets::masked(&error.to_string()))
}

/// A document with a list of policies without LLMs: each is reported.
fn without_llms(document: &Value) -> Option<Blueprint> {
    let policies = document.get("policies")?.as_array()?;
    Some(Blueprint {
        place: String::new(),
        default_policy: None,
        policies: policies.iter().map(|policy| Policy::read(policy, None)).collect(),
    })
}

/// Where a value is.
#[derive(Clone, Default)]
struct Place {
    /// The path of keys to it, after the Kubernetes object's kind and name.
    path: String,
    texts: usize,
    default_policy: Option<String>,
}

impl Place {
    fn key(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{key}", self.path), ..self.clone() }
    }

    fn index(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), ..self.clone() }
    }

    fn blueprint(&self, policies: Vec<Policy>) -> Blueprint {
        Blueprint { place: self.path.clone(), default_policy: self.default_policy.clone(), policies }
    }
}

impl Found {
    fn search(&mut self, value: &Value, place: &Place) {
        match value {
            Value::Object(members) => self.search_object(value, members, place),
            Value::Array(items) if items.iter().any(is_policy) => {
                let policies = items.iter().map(|item| Policy::read(item, None)).collect();
                self.blueprints.push(place.blueprint(policies));
            }
            Value::Array(items) => match text_of_lines(items) {
                Some(text) => self.search_text(&text, place),
                None => {
                    for (index, item) in items.iter().enumerate() {
                        self.search(item, &place.index(index));
                    }
                }
            },
            Value::String(text) => self.search_text(text, place),
            _ => {}
        }
    }

    fn search_object(&mut self, value: &Value, members: &Map<String, Value>, place: &Place) {
        let mut place = Place {
            default_policy: members
                .get("default_policy")
                .and_then(Value::as_str)
                .map(|name| name.trim().to_owned()),
            ..place.clone()
        };
        if let Some(object) = kubernetes::name(members) {
            place.path = object;
        }
        // Other software has lists of LLMs, too, but not with a name and the URL of a classifier beside them.
        if is_policy(value) && ["name", "url", "policy"].iter().any(|field| members.contains_key(*field)) {
            self.blueprints.push(place.blueprint(vec![Policy::read(value, None)]));
            return;
        }
        match chart::policies(members) {
            Some(Ok(policies)) => self.blueprints.push(place.blueprint(policies)),
            Some(Err(problem)) => self.problems.push(format!("{}: {problem}", place.path)),
            None => {}
        }
        let encoded = encoded_member(members);
        for (key, member) in members.iter().filter(|(key, _)| *key != kubernetes::LAST_APPLIED) {
            let place = place.key(key);
            match member {
                Value::Object(files) if Some(key.as_str()) == encoded => self.search_encoded(files, &place),
                Value::Object(policies) if key == "policies" && policies.values().any(is_policy) => {
                    let policies = policies.iter().map(|(name, policy)| Policy::read(policy, Some(name)));
                    self.blueprints.push(place.blueprint(policies.collect()));
                }
                _ => self.search(member, &place),
            }
        }
    }

    fn search_encoded(&mut self, files: &Map<String, Value>, place: &Place) {
        for (key, file) in files {
            let bytes = file.as_str().and_then(|text| BASE64.decode(text.trim()).ok());
            if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                self.search_text(&text, &place.key(key));
            }
        }
    }

    /// A whole file in a string.
    fn search_text(&mut self, text: &str, place: &Place) {
        if !text.contains("llms") || place.texts >= MAX_TEXTS || self.texts > MAX_PARSED {
            return;
        }
        self.texts += 1;
        if self.texts > MAX_PARSED {
            self.problems.push(format!("more than {MAX_PARSED} strings may contain a configuration"));
            return;
        }
        let place = Place { texts: place.texts + 1, ..place.clone() };
        let before = (self.blueprints.len(), self.problems.len());
        let parsed = parse(text);
        for document in parsed.iter().flatten().filter(|document| !document.is_string()) {
            self.search(document, &place);
        }
        if (self.blueprints.len(), self.problems.len()) == before {
            self.search_blocks(text, &place);
        }
        if let (Err(error), true) = (parsed, self.blueprints.len() == before.0) {
            self.problems.push(format!("{} is not YAML: {error}{}", place.path, template_hint(text)));
        }
    }

    /// The parts of another text that are a configuration, as in a Helm template or a document with examples.
    fn search_blocks(&mut self, text: &str, place: &Place) {
        for block in blocks(text) {
            for document in parse(&block).iter().flatten() {
                self.search(document, place);
            }
        }
    }
}

/// The lines from each `policies:` on to the end of its list.
fn blocks(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| is_start(line));
    let block = |(start, line): (usize, &&str)| {
        let indent = indent(line);
        let inside = |line: &&&str| {
            line.trim().is_empty() || self::indent(line) > indent || line.get(indent..).is_some_and(is_item)
        };
        let rest = lines.iter().skip(start + 1).take_while(inside);
        std::iter::once(line).chain(rest).fold(String::new(), |block, line| block + line + "\n")
    };
    starts.map(block).collect()
}

fn is_start(line: &str) -> bool {
    let after = line.trim().strip_prefix("policies:").map(str::trim);
    after.is_some_and(|after| after.is_empty() || after.starts_with('#'))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn is_item(line: &str) -> bool {
    line == "-" || line.starts_with("- ")
}

fn template_hint(text: &str) -> &'static str {
    if text.contains("{{") { "; render a template first, as with `helm template`" } else { "" }
}

/// A notebook has a text as a list of its lines.
fn text_of_lines(items: &[Value]) -> Option<String> {
    let lines: Option<Vec<_>> = items.iter().map(Value::as_str).collect();
    lines
        .filter(|lines| lines.len() > 1 && lines.iter().any(|line| line.ends_with('\n')))
        .map(|lines| lines.concat())
}

/// The member of a Kubernetes object whose values are in Base64.
fn encoded_member(members: &Map<String, Value>) -> Option<&'static str> {
    match members.get("kind")?.as_str()? {
        "Secret" => Some("data"),
        "ConfigMap" => Some("binaryData"),
        _ => None,
    }
}
