//! The responses to `GET /v1/models` and `GET /v1/models/NAME`: the names that a client may send.

use serde::Serialize;

use crate::config::{AUTO, Config};
use crate::requirements::Api;

// The APIs want a time of creation; names in a configuration have none.

#[derive(Serialize)]
struct OpenaiList<'a> {
    object: &'a str,
    data: Vec<OpenaiModel<'a>>,
}

#[derive(Serialize)]
struct OpenaiModel<'a> {
    id: &'a str,
    object: &'a str,
    created: u32,
    owned_by: &'a str,
}

impl<'a> OpenaiModel<'a> {
    fn new(id: &'a str) -> Self {
        Self { id, object: "model", created: 0, owned_by: "llm-router" }
    }
}

#[derive(Serialize)]
struct AnthropicList<'a> {
    data: Vec<AnthropicModel<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

#[derive(Serialize)]
struct AnthropicModel<'a> {
    r#type: &'a str,
    id: &'a str,
    display_name: &'a str,
    created_at: &'a str,
}

impl<'a> AnthropicModel<'a> {
    fn new(id: &'a str) -> Self {
        Self { r#type: "model", id, display_name: id, created_at: "1970-01-01T00:00:00Z" }
    }
}

/// The list as this API has it: `auto`, the policies, the models and the aliases. It contains
/// nothing that only operators should see: no cluster, no upstream name.
pub fn list(config: &Config, api: Api) -> Vec<u8> {
    let mut aliases: Vec<_> = config.aliases().map(|(name, _)| name).collect();
    aliases.sort_unstable();
    let policies = config.policies().map(|policy| policy.name.as_str());
    let models = config.models().map(|model| model.name.as_str());
    let names = [AUTO].into_iter().chain(policies).chain(models).chain(aliases);
    match api {
        Api::Openai => to_json(&OpenaiList { object: "list", data: names.map(OpenaiModel::new).collect() }),
        Api::Anthropic => {
            let data: Vec<_> = names.map(AnthropicModel::new).collect();
            let (first_id, last_id) = (data.first().map(|it| it.id), data.last().map(|it| it.id));
            to_json(&AnthropicList { data, has_more: false, first_id, last_id })
        }
    }
}

/// One name of the list as this API has it; none if it is not in the list.
pub fn model(config: &Config, name: &str, api: Api) -> Option<Vec<u8>> {
    config.name(name)?;
    Some(match api {
        Api::Openai => to_json(&OpenaiModel::new(name)),
        Api::Anthropic => to_json(&AnthropicModel::new(name)),
    })
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Texts always serialize.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config() -> Config {
        let config = br#"{"sidecar": {"cluster": "c"}, "default_policy": "p",
            "models": {"small": {"cluster": "secret", "model": "secret"}}, "aliases": {"gpt": "small"},
            "policies": {"p": {"classifier": "task", "routes": {}, "default": "small"}}}"#;
        Config::from_json(config).unwrap()
    }

    fn read(json: &[u8]) -> Value {
        serde_json::from_slice(json).unwrap()
    }

    #[test]
    fn all_names_are_listed_and_nothing_else() {
        for api in [Api::Openai, Api::Anthropic] {
            let json = list(&config(), api);
            assert!(!String::from_utf8_lossy(&json).contains("secret"));
            let list = read(&json);
            let models = list["data"].as_array().unwrap();
            let ids: Vec<_> = models.iter().map(|entry| entry["id"].as_str().unwrap()).collect();
            assert_eq!(ids, ["auto", "p", "small", "gpt"]);
            for entry in models {
                assert_eq!(
                    model(&config(), entry["id"].as_str().unwrap(), api).map(|it| read(&it)).as_ref(),
                    Some(entry)
                );
            }
        }
        assert_eq!(model(&config(), "Small", Api::Openai), None);
    }

    #[test]
    fn each_api_has_its_shape() {
        let openai = json!({"id": "gpt", "object": "model", "created": 0, "owned_by": "llm-router"});
        assert_eq!(read(&model(&config(), "gpt", Api::Openai).unwrap()), openai);
        assert_eq!(read(&list(&config(), Api::Openai))["object"], "list");
        let anthropic = json!({"type": "model", "id": "gpt", "display_name": "gpt", "created_at": "1970-01-01T00:00:00Z"});
        assert_eq!(read(&model(&config(), "gpt", Api::Anthropic).unwrap()), anthropic);
        let mut list = read(&list(&config(), Api::Anthropic));
        list["data"].take();
        assert_eq!(list, json!({"data": null, "has_more": false, "first_id": "auto", "last_id": "gpt"}));
    }
}
