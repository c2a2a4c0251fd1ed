//! Searches documents for policies, also in strings that contain a document.
//!
//! The search has limits: strings in strings, each repeated by aliases, would take practically forever to parse.

use std::cell::Cell;
use std::mem;
use std::rc::Rc;

use serde_json::{Map, Value};
use serde_saphyr::budget::{BudgetBreach, BudgetReport};

use super::{DocumentError, kubernetes};

/// The maximum number of strings around a policy: a ConfigMap contains a bootstrap as text, and that a policy as text.
pub(super) const MAX_DEPTH: usize = 2;

/// The maximum number of strings that are parsed.
pub(super) const MAX_STRINGS: usize = 1000;

/// The maximum size of all strings that are parsed, with their aliases expanded: a byte of text counts one, and so does each value.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// The maximum number of aliases in each string that is parsed.
pub(super) const MAX_ALIASES: usize = 100;

/// The maximum length of the path to a policy, in characters. The rest is not reported.
const MAX_PLACE: usize = 200;

/// Keys at the top level of a policy. A map with three of them counts as a policy, so that a missing or misspelt key is
/// reported.
const KEYS: [&str; 4] = ["sidecar", "default_policy", "models", "policies"];

/// A policy before it is validated, or why its text cannot be parsed.
pub(super) struct Located {
    /// The path of keys to it.
    pub(super) place: String,
    pub(super) policy: Result<Value, DocumentError>,
}

/// The state of a search.
#[derive(Default)]
pub(super) struct Search {
    /// In the order of the documents.
    pub(super) found: Vec<Located>,
    /// A limit ended the search. Its error is the last of `found`.
    pub(super) is_over: bool,
    /// The path of keys to the current value.
    place: String,
    /// The number of strings around the current value.
    depth: usize,
    strings: ParsedStrings,
}

impl Search {
    /// Searches one of the documents.
    pub(super) fn document(&mut self, document: &Value) {
        // A document with only one of the keys counts, too: the user may have just begun to write the policy.
        if has_keys(document, 1) && !self.is_over {
            self.record(Ok(document.clone()));
        } else {
            self.value(document);
        }
    }

    fn value(&mut self, value: &Value) {
        if self.is_over {
            return;
        }
        match value {
            Value::Object(_) if has_keys(value, 3) => self.record(Ok(value.clone())),
            Value::Object(members) => self.members(members),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.below(&format!("[{index}]"), item);
                }
            }
            // A StringValue holds the policy as text; a ConfigMap a whole file.
            Value::String(text) if text.contains("default_policy") && text.contains("policies") => {
                self.string(text);
            }
            _ => {}
        }
    }

    fn members(&mut self, members: &Map<String, Value>) {
        let around = kubernetes::name(members).map(|object| mem::replace(&mut self.place, object));
        for (key, value) in members.iter().filter(|(key, _)| *key != kubernetes::LAST_APPLIED) {
            let dot = if self.place.is_empty() { "" } else { "." };
            self.below(&format!("{dot}{key}"), value);
        }
        if let Some(around) = around {
            self.place = around;
        }
    }

    /// Searches a value one step below the current one.
    fn below(&mut self, step: &str, value: &Value) {
        let length = self.place.len();
        self.place.push_str(step);
        self.value(value);
        self.place.truncate(length);
    }

    fn string(&mut self, text: &str) {
        let parsed = match self.depth {
            MAX_DEPTH => Err(DocumentError::NestedTooDeep),
            _ => self.strings.parse(text),
        };
        match parsed {
            Ok(documents) => {
                self.depth += 1;
                for document in documents.iter().filter(|document| !document.is_string()) {
                    self.value(document);
                }
                self.depth -= 1;
            }
            Err(error) => {
                self.is_over = matches!(error, DocumentError::NestedTooDeep | DocumentError::NestedTooLarge);
                self.record(Err(error));
            }
        }
    }

    fn record(&mut self, policy: Result<Value, DocumentError>) {
        let place = self.place.chars().take(MAX_PLACE).collect();
        self.found.push(Located { place, policy });
    }
}

/// The strings that a search has parsed.
#[derive(Default)]
struct ParsedStrings {
    count: usize,
    bytes: usize,
}

impl ParsedStrings {
    /// Parses a string within what is left of the limits.
    fn parse(&mut self, text: &str) -> Result<Vec<Value>, DocumentError> {
        let left = MAX_BYTES.saturating_sub(self.bytes);
        if self.count == MAX_STRINGS || text.len() > left {
            return Err(DocumentError::NestedTooLarge);
        }
        let usage = Rc::new(Cell::new((text.len(), false)));
        let reported = Rc::clone(&usage);
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_aliases: MAX_ALIASES,
                max_total_scalar_bytes: left,
            },
        };
        let options = options.with_budget_report(move |report: BudgetReport| {
            let size = report.total_scalar_bytes.saturating_add(report.nodes);
            let is_over = report.breached.as_ref().is_some_and(is_limit);
            reported.set((reported.get().0.max(size), is_over));
        });
        let parsed = serde_saphyr::from_multiple_with_options(text, options);
        let (bytes, is_over) = usage.get();
        self.count += 1;
        self.bytes += bytes;
        parsed.map_err(|error| match is_over {
            true => DocumentError::NestedTooLarge,
            false => DocumentError::Syntax(error.to_string()),
        })
    }
}

/// Whether a limit of this search ended the parser, not one of its own.
fn is_limit(breach: &BudgetBreach) -> bool {
    matches!(
        breach,
        BudgetBreach::Aliases { .. }
            | BudgetBreach::AliasAnchorRatio { .. }
            | BudgetBreach::ScalarBytes { .. }
    )
}

fn has_keys(value: &Value, at_least: usize) -> bool {
    let Value::Object(members) = value else { return false };
    KEYS.iter().filter(|key| members.contains_key(**key)).count() >= at_least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{find_one, parse};

    const POLICY: &str = "sidecar: {cluster: c}\ndefault_policy: p\nmodels: {m: {cluster: c, model: m}}\n\
                          policies: {p: {classifier: task, routes: {}, default: m}}\n";

    /// A document that contains another as text.
    fn with_text(inner: &str, more: &str) -> String {
        format!("text: &text |\n  {}\n{more}", inner.replace('\n', "\n  "))
    }

    /// Documents in documents, each repeated 99 times.
    fn bomb(levels: usize) -> String {
        let more = format!("more: [{}]\n", ["*text"; 98].join(", "));
        (0..levels).fold("default_policy: policies\n".to_owned(), |inner, _| with_text(&inner, &more))
    }

    fn search(text: &str) -> Search {
        let mut search = Search::default();
        parse(text).unwrap().iter().for_each(|document| search.document(document));
        search
    }

    #[test]
    fn a_policy_in_two_strings_is_found() {
        let text = with_text(&with_text(POLICY, ""), "");
        assert_eq!(find_one(&text).unwrap()["default_policy"], "p");
        assert_eq!(find_one(&with_text(&text, "")), Err(DocumentError::NestedTooDeep));
    }

    #[test]
    fn documents_that_repeat_documents_are_parsed_a_limited_number_of_times() {
        for (levels, parsed) in [(1, 99), (2, MAX_STRINGS), (3, 2), (6, 2)] {
            let search = search(&bomb(levels));
            assert_eq!((search.strings.count, search.is_over), (parsed, levels > 1), "{levels} levels");
        }
        assert!(bomb(6).len() < 5000);
        assert_eq!(find_one(&bomb(6)), Err(DocumentError::NestedTooDeep));
        assert_eq!(find_one(&bomb(2)), Err(DocumentError::NestedTooLarge));
        assert_eq!(find_one(&bomb(1)), Err(DocumentError::NoPolicy));
        let several = format!("{POLICY}---\n{}", bomb(6));
        assert_eq!(find_one(&several), Err(DocumentError::NestedTooDeep));
    }

    #[test]
    fn the_size_of_strings_is_limited_with_their_aliases_expanded() {
        let repeated = |size: usize, aliases: usize| {
            let aliases = vec!["*long"; aliases].join(", ");
            let long = "x".repeat(size);
            with_text(&format!("{POLICY}---\nlong: &long {long}\nmore: [{aliases}]\n"), "")
        };
        assert!(find_one(&repeated(1000, 90)).is_ok());
        for text in [repeated(50_000, 90), repeated(1, 101), repeated(MAX_BYTES, 0)] {
            assert_eq!(find_one(&text), Err(DocumentError::NestedTooLarge));
        }
        let policies = (0..50).map(|_| with_text(&format!("{POLICY}# {}\n", "x".repeat(100_000)), ""));
        let many: Vec<String> = policies.collect();
        let search = search(&many.join("---\n"));
        assert!(search.is_over && search.strings.bytes <= MAX_BYTES);
    }

    #[test]
    fn the_copy_of_an_object_that_kubectl_keeps_is_ignored() {
        let map = format!(
            "kind: ConfigMap\nmetadata:\n  name: llm\n  annotations:\n    {}: {}\ndata:\n  policy: {}\n",
            kubernetes::LAST_APPLIED,
            serde_json::json!(serde_json::json!({"data": {"policy": POLICY}}).to_string()),
            serde_json::json!(POLICY),
        );
        let search = search(&map);
        let places: Vec<_> = search.found.iter().map(|found| found.place.as_str()).collect();
        assert_eq!(places, ["ConfigMap/llm.data.policy"]);
    }

    #[test]
    fn a_long_path_is_shortened() {
        let search = search(&format!("{}:\n- |\n  {}\n", "k".repeat(1000), POLICY.replace('\n', "\n  ")));
        assert_eq!(search.found[0].place, "k".repeat(MAX_PLACE));
    }
}
