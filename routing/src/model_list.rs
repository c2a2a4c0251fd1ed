//! The answer to `GET /v1/models`: all names that a client may send.

use serde::Serialize;

use crate::config::{AUTO, Config};

#[derive(Serialize)]
struct List<'a> {
    object: &'a str,
    data: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    object: &'a str,
    created: u32,
    owned_by: &'a str,
}

/// OpenAI's list of models as JSON: `auto`, the policies, the models and the aliases. Nothing that only operators should
/// know is in it: no cluster, no upstream name.
pub fn to_json(config: &Config) -> Vec<u8> {
    let mut aliases: Vec<_> = config.aliases().map(|(name, _)| name).collect();
    aliases.sort_unstable();
    let policies = config.policies().map(|policy| policy.name.as_str());
    let models = config.models().map(|model| model.name.as_str());
    let data = [AUTO].into_iter().chain(policies).chain(models).chain(aliases);
    // OpenAI's type wants a time of creation; names in a configuration have none.
    let data = data.map(|id| Entry { id, object: "model", created: 0, owned_by: "llm-router" }).collect();
    serde_json::to_vec(&List { object: "list", data }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_are_listed_and_nothing_else() {
        let config = br#"{"sidecar": {"cluster": "c"}, "default_policy": "p",
            "models": {"small": {"cluster": "secret", "model": "secret"}}, "aliases": {"gpt": "small"},
            "policies": {"p": {"classifier": "task", "routes": {}, "default": "small"}}}"#;
        let json = to_json(&Config::from_json(config).unwrap());
        let list: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let ids: Vec<_> =
            list["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["auto", "p", "small", "gpt"]);
        assert!(!String::from_utf8(json).unwrap().contains("secret"));
    }
}
