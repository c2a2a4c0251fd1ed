//! Errors in one part of a configuration, with their paths.

use serde_json::json;

use super::{error_of, error_with, load, valid};
use crate::config::Config;
use crate::context::{Attribute, ContextKeys};

const MODEL: &str = "/models/nemotron";
const POLICY: &str = "/policies/task_router";

#[test]
fn a_model_says_what_is_wrong_with_it() {
    for (field, value, expected) in [
        ("cluster", json!("a\nb"), "cluster: the name must be one or more printable ASCII"),
        ("api", json!("azure"), "api: unknown variant `azure`, expected `openai` or `anthropic`"),
        (
            "capabilities",
            json!(["tools", "vision"]),
            "capabilities[1]: unknown variant `vision`, expected one of",
        ),
        ("context", json!("128 kilo"), "context: \"128 kilo\" is not a number of tokens like \"128k\""),
        ("context", json!(1.5), "context: 1.5 is not a number of tokens"),
        ("context", json!(0), "context: must be above 0"),
        ("cost", json!({"input": 1}), "cost: missing field `output`"),
        ("cost", json!({"input": -1, "output": 1}), "cost.input: must be dollars per million tokens"),
        (
            "cost",
            json!({"input": 1, "output": 1, "cached_input": -1}),
            "cost.cached_input: must be dollars per million tokens",
        ),
        ("cost", json!({"input": 1, "output": "NaN"}), "cost.output: must be dollars per million tokens"),
        ("cost", json!({"input": 1, "output": "much"}), "cost.output: \"much\" is not a number"),
        ("base_path", json!("openai/v1"), "base_path: \"openai/v1\" must be empty, or start with /"),
        (
            "base_path",
            json!("/v1/"),
            "base_path: \"/v1/\" must be empty, or start with / and not end with it",
        ),
        ("base_path", json!("/v1?key=1"), "base_path: \"/v1?key=1\" must be"),
        ("host", json!("a b\r\nx: 1"), "host: the name must be one or more printable ASCII"),
    ] {
        let error = error_of(MODEL, field, value);
        assert!(error.starts_with(&format!("models.nemotron.{expected}")), "{error}");
    }
}

/// Otherwise Prometheus would extract wrong labels.
#[test]
fn a_name_that_stats_would_be_read_wrongly_by_is_an_error() {
    let with = |name: &str| {
        let mut config = valid();
        config["models"][name] = json!({ "cluster": "c", "model": "m" });
        load(&config).err()
    };
    for name in ["a.model.b", "model.x", "x.reason", "a.b.label.c", "outcome.mode"] {
        let error = with(name).unwrap_or_else(|| panic!("{name} is accepted"));
        assert!(error.contains("between dots") && error.starts_with("models."), "{error}");
    }
    for name in ["gpt-4.1", "model", "a.models.b", "llama-3.1-8b.q4", "my.policy", "code.x"] {
        assert_eq!(with(name), None, "{name}");
    }
    let mut config = valid();
    config["policies"]["p.model.q"] = json!({ "classifier": "task", "routes": {}, "default": "nemotron" });
    let error = load(&config).unwrap_err();
    assert!(error.starts_with("policies.\"p.model.q\": the name must not have \"model\""), "{error}");
}

#[test]
fn a_candidate_must_be_another_policy_that_one_call_can_serve() {
    let examples = |text: &str| json!({ "classifier": "examples", "routes": { "a": { "model": "nemotron", "examples": [text] } }, "default": "nemotron" });
    let mut config = valid();
    config["policies"] = json!({
        "one": examples("x"), "same": examples("x"), "other": examples("y"),
        "task": { "classifier": "task", "routes": {}, "default": "nemotron" },
    });
    config["default_policy"] = json!("one");
    let mut with = |candidate: &str| {
        config["policies"]["one"]["candidate"] = json!(candidate);
        load(&config).err()
    };
    assert_eq!(with("task"), None);
    assert_eq!(with("same"), None);
    let at = |error: Option<String>, expected: &str| {
        let error = error.expect("accepted");
        assert!(error.starts_with("policies.one.candidate: ") && error.contains(expected), "{error}");
    };
    at(with("other"), "a call carries only one set");
    at(with("one"), "is the policy itself");
    at(with("none"), "no policy \"none\"; configured: one, other, same, task");
}

#[test]
fn an_edit_of_the_body_says_what_is_wrong_with_it() {
    let body = "models.nemotron.body";
    for (edits, expected) in [
        (json!({"set": {"model": "x"}}), ".set.model: cannot be edited here: set the model's field `model`"),
        (json!({"set": {"MODEL": "x"}}), ".set.MODEL: cannot be edited"),
        (json!({"default": {"messages": []}}), ".default.messages: cannot be edited: it is the prompt"),
        (json!({"remove": ["input"]}), ".remove.input: cannot be edited: it is the prompt"),
        (json!({"set": {"prompt.id": "x"}}), ".set.prompt.id: cannot be edited: it is the prompt"),
        (json!({"set": {"Tools": []}}), ".set.Tools: cannot be edited: it could be mistaken for \"tools\""),
        (json!({"remove": ["nim-llm-router"]}), ".remove.nim-llm-router: cannot be edited: it never reaches"),
        (json!({"set": {"": 1}}), ".set.\"\": must name a member"),
        (json!({"remove": ["a."]}), ".remove.a.\"\": must name a member"),
        (json!({"default": {".b": 1}}), ".default.\"\".b: must name a member"),
        (json!({"set": {"a.b.c": 1}}), ".set.a.\"b.c\": is too deep"),
        (
            json!({"set": {"a": 1}, "default": {"a": 2}}),
            ".default.a: is edited by models.nemotron.body.set.a too",
        ),
        (
            json!({"set": {"a.b": 1}, "remove": ["a.B"]}),
            ".remove.a.B: is edited by models.nemotron.body.set.a.b too",
        ),
        (
            json!({"default": {"a.b": 1}, "remove": ["a"]}),
            ".remove.a: is edited by models.nemotron.body.default.a.b",
        ),
        (
            json!({"set": {"k": 1}, "remove": ["\u{212a}"]}),
            ".remove.\"\u{212a}\": is edited by models.nemotron.body.set.k too",
        ),
        (json!({"remove": ["a", "a"]}), ".remove.a: is edited by models.nemotron.body.remove.a too"),
        (json!({"set": {"a": "x".repeat(16 << 10)}}), ": must have at most 16384 bytes"),
        (json!({"set": ["a"]}), ".set: invalid type"),
        (json!({"add": {}}), ".add: unknown field `add`, expected one of `set`, `default`, `remove`"),
    ] {
        let error = error_of(MODEL, "body", edits);
        assert!(error.starts_with(&format!("{body}{expected}")), "{error}");
    }
}

#[test]
fn edits_of_the_body_make_it_longer_by_no_more_than_is_said() {
    let mut config = valid();
    let before = load(&config).unwrap().body_growth();
    config["models"]["llama-8b"]["body"] = json!({
        "set": {"reasoning_effort": "high", "chat_template_kwargs.enable_thinking": true},
        "default": {"temperature": 0.3},
        "remove": ["logprobs"],
    });
    let config = load(&config).unwrap();
    let edited = config.models().find(|model| !model.body.is_empty()).unwrap();
    assert_eq!(
        edited.body.to_string(),
        "set chat_template_kwargs.enable_thinking to true, set reasoning_effort to \"high\", \
         default temperature to 0.3, remove logprobs"
    );
    let added =
        r#""reasoning_effort":"high","chat_template_kwargs":{"enable_thinking":true,},"temperature":0.3,"#;
    assert_eq!(config.body_growth(), before + added.len());
}

#[test]
fn a_policy_has_either_routes_or_bands() {
    let policy = "policies.task_router";
    let both = error_of(POLICY, "bands", json!([{"model": "nemotron"}]));
    assert_eq!(both, format!("{policy}: has both routes and bands; remove one"));
    let neither = error_with(POLICY, json!({"classifier": "task", "default": "nemotron"}));
    assert!(neither.starts_with(&format!("{policy}: needs routes")), "{neither}");
    let no_default = error_with(POLICY, json!({"classifier": "task", "routes": {}}));
    assert!(no_default.starts_with(&format!("{policy}.default: is missing")), "{no_default}");
    let unclassified = error_with(POLICY, json!({"routes": {}, "default": "nemotron"}));
    assert_eq!(unclassified, format!("{policy}: missing field `classifier`"));
}

#[test]
fn a_class_selects_its_model_before_a_label_of_the_same_name() {
    let mut config = valid();
    let policy = config.pointer_mut(POLICY).unwrap();
    policy["classes"] = json!({"Few-Shot": "nemotron", "Code Generation": "llama-8b"});
    let config = load(&config).unwrap();
    let policy = config.policy("task_router").unwrap();
    assert_eq!(policy.class("Few-Shot").unwrap().name.as_str(), "nemotron");
    assert_eq!(policy.class("Code Generation").unwrap().name.as_str(), "llama-8b");
    assert_eq!(policy.label_index("Few-Shot"), None, "the classifier does not use it");
    let unknown = error_of(POLICY, "classes", json!({"Few-Shot": "gpt"}));
    assert!(unknown.starts_with("policies.task_router.classes.Few-Shot: no model \"gpt\""), "{unknown}");
}

#[test]
fn bands_rise_and_end_open() {
    for (bands, expected) in [
        (json!([]), ": the last band must have no up_to"),
        (json!([{"up_to": 0.5, "model": "nemotron"}]), ": the last band must have no up_to"),
        (
            json!([{"model": "nemotron"}, {"up_to": 0.5, "model": "nemotron"}]),
            "[1]: comes after a band without up_to",
        ),
        (
            json!([{"up_to": 0.6, "model": "nemotron"}, {"up_to": 0.3, "model": "nemotron"}, {"model": "nemotron"}]),
            "[1].up_to: 0.3 must be above 0.6, the up_to of the previous band",
        ),
        (
            json!([{"up_to": 30, "model": "nemotron"}, {"model": "nemotron"}]),
            "[0].up_to: 30 must be between 0 and 1",
        ),
        (json!([{"up_to": "NaN", "model": "nemotron"}, {"model": "nemotron"}]), "[0].up_to: NaN must be"),
        (json!([{"model": "gpt-5"}]), "[0].model: no model \"gpt-5\"; configured: llama-8b, nemotron"),
        (
            json!([{"upto": 0.5, "model": "nemotron"}]),
            "[0].upto: unknown field `upto`, expected `up_to` or `model`",
        ),
    ] {
        let error = error_with(POLICY, json!({"classifier": "complexity", "bands": bands}));
        assert!(error.starts_with(&format!("policies.task_router.bands{expected}")), "{error}");
    }
    let bands = json!({"classifier": "complexity", "min_confidence": 0.5, "bands": [{"model": "nemotron"}]});
    let error = error_with(POLICY, bands);
    assert!(error.starts_with("policies.task_router.min_confidence: has no meaning with bands"), "{error}");
}

#[test]
fn a_target_says_where_in_its_list_the_error_is() {
    let route = "/policies/task_router/routes/Code Generation";
    for (target, expected) in [
        (json!(8), ": invalid type: integer `8`, expected a model's name, or a list like"),
        (json!({"model": "nemotron"}), ": missing field `examples`"),
        (json!([]), ": needs at least one model with a weight above 0"),
        (json!([{"model": "nemotron", "weight": 0}]), ": needs at least one model with a weight above 0"),
        (
            json!([{"model": "nemotron", "weight": 1}, {"model": "llama", "weight": 1}]),
            "[1].model: no model \"llama\"",
        ),
        (
            json!([{"model": "nemotron", "weight": -1}]),
            "[0].weight: invalid value: integer `-1`, expected u32",
        ),
        (json!([{"model": "nemotron"}]), "[0]: missing field `weight`"),
        (
            json!([{"model": "nemotron", "weight": 1}, {"model": "nemotron", "wieght": 1}]),
            "[1].wieght: unknown field `wieght`, expected `model` or `weight`",
        ),
    ] {
        let error = error_with(route, target);
        assert!(
            error.starts_with(&format!("policies.task_router.routes.\"Code Generation\"{expected}")),
            "{error}"
        );
    }
}

#[test]
fn the_models_of_a_fallback_are_configured() {
    let error = error_of(POLICY, "fallback", json!(["nemotron", "gpt-5"]));
    assert!(error.starts_with("policies.task_router.fallback[1]: no model \"gpt-5\""), "{error}");
}

#[test]
fn a_rule_has_conditions_and_one_outcome() {
    let tools = json!({"has_tools": true});
    for (rule, expected) in [
        (json!({"when": tools}), ": needs one of policy, model and reject"),
        (
            json!({"when": tools, "policy": "task_router", "model": "nemotron"}),
            ": can have only one of policy, model and reject",
        ),
        (
            json!({"when": tools, "policy": "nemotron"}),
            ".policy: no policy \"nemotron\"; configured: task_router",
        ),
        (json!({"when": tools, "model": "gpt-5"}), ".model: no model \"gpt-5\""),
        (json!({"model": "nemotron"}), ": missing field `when`"),
        (json!({"when": {}, "model": "nemotron"}), ".when: must have a condition"),
        (
            json!({"when": {"has_tool": true}, "model": "nemotron"}),
            ".when.has_tool: invalid type: boolean `true`, expected one of the conditions all, any,",
        ),
        (
            json!({"when": {"text_match": "(?i)bomb"}, "model": "nemotron"}),
            ".when.text_match: is neither a condition nor a head; did you mean text_matches?",
        ),
        (
            json!({"when": {"path": "/x"}, "model": "nemotron"}),
            ".when.path: is neither a condition nor a head",
        ),
        (json!({"when": {"safety": ""}, "model": "nemotron"}), ".when.safety: must name a label"),
        (
            json!({"when": {"path_prefix": "/a%20b"}, "model": "nemotron"}),
            ".when.path_prefix: \"/a%20b\" must be a decoded path",
        ),
        (
            json!({"when": {"header": {"X-Tenant": "a"}}, "model": "nemotron"}),
            ".when.header: \"X-Tenant\" must be",
        ),
        (
            json!({"when": {"path_prefix": "v1"}, "model": "nemotron"}),
            ".when.path_prefix: \"v1\" must start with /",
        ),
        (json!({"when": {"text_matches": "(sql"}, "model": "nemotron"}), ".when.text_matches: \"(sql\": "),
        (json!({"when": {"text_matches": "(?=a)"}, "model": "nemotron"}), ".when.text_matches: \"(?=a)\": "),
        (
            json!({"when": {"text_matches": "a{999}{999}"}, "model": "nemotron"}),
            ".when.text_matches: \"a{999}{999}\": ",
        ),
        (
            json!({"when": {"min_tokens": "2k", "max_tokens": 1000}, "model": "nemotron"}),
            ".when.min_tokens: 2000 is above max_tokens, 1000: no request could match",
        ),
    ] {
        let mut config = valid();
        config["rules"] = json!([{"when": tools, "model": "nemotron"}, rule]);
        let error = load(&config).unwrap_err();
        assert!(error.starts_with(&format!("rules[1]{expected}")), "{error}");
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    for (field, value, expected) in [
        ("cache", json!({"entries": 2_000_000}), "cache.entries: 2000000 must be between 0 and 1000000"),
        ("cache", json!({"ttl": "0s"}), "cache.ttl: 0ns must be between 1s and 86400s"),
        ("cache", json!({"ttl": 300}), "cache.ttl: invalid type: integer `300`, expected a string"),
        ("stickiness", json!({"ttl": "8days"}), "stickiness.ttl: 691200s must be between"),
        ("stickiness", json!({"header": "Session Id"}), "stickiness.header: \"Session Id\" must be"),
    ] {
        let error = error_of("", field, value);
        assert!(error.starts_with(expected), "{error}");
    }
    let mut config = valid();
    config["cache"] = json!({"entries": 0});
    config["stickiness"] = json!({"entries": 0});
    let config = load(&config).unwrap();
    assert!(config.cache.is_none() && config.stickiness.is_none());
}

#[test]
fn a_name_that_comes_twice_is_an_error() {
    let twice = valid().to_string().replace(r#""Code Generation":"#, r#""Chatbot":"llama-8b","Chatbot":"#);
    let error = Config::from_json(twice.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, r#"policies.task_router.routes: duplicate key "Chatbot""#);
}

#[test]
fn errors_of_whole_json_name_no_line_and_those_of_broken_json_do() {
    let error = error_of("", "mode", json!("shadows"));
    assert_eq!(error, "mode: unknown variant `shadows`, expected `enforce` or `shadow`");
    let broken = Config::from_json(b"{\n").unwrap_err().to_string();
    assert!(broken.contains("line 2"), "{broken}");
}

#[test]
fn a_condition_is_one_of_the_requests_or_of_a_head() {
    for (when, expected) in [
        (json!({"all": []}), ".when.all: must have at least one condition"),
        (json!({"any": [{}]}), ".when.any[0]: must have a condition"),
        (json!({"not": {}}), ".when.not: must have a condition"),
        (json!({"all": [{"header": {"X": "a"}}]}), ".when.all[0].header: \"X\" must be"),
        (json!({"safety": []}), ".when.safety: must name at least one label"),
        (json!({"safety": {}}), ".when.safety: needs above, below, or both"),
        (json!({"safety": {"above": 1}}), ".when.safety: no number is above 1"),
        (json!({"safety": {"above": 1.5}}), ".when.safety.above: 1.5 must be between 0 and 1"),
        (
            json!({"safety": {"above": 0.5, "below": 0.5}}),
            ".when.safety: no number is above 0.5 and below 0.5",
        ),
        (json!({"safety": {"over": 0.5}}), ".when.safety.over: unknown field `over`"),
        (json!({"examples": "billing"}), ".when.examples: is the classifier of a policy's own examples"),
        (json!({"min_tokens": 5, "max_tokens": 1}), ".when.min_tokens: 5 is above max_tokens, 1"),
        (
            json!({"attribute": {"xds.route": "a"}}),
            ".when.attribute.\"xds.route\": unknown attribute; supported: xds.route_name, source.address, ",
        ),
        (json!({"attribute": "a"}), ".when.attribute: invalid type: string \"a\", expected a map"),
        (
            json!({"attributes": {"xds.route_name": "a"}}),
            ".when.attributes.\"xds.route_name\": unknown field",
        ),
        (
            json!({"metadatas": ["a"]}),
            ".when.metadatas: is neither a condition nor a head; did you mean metadata?",
        ),
        (
            json!({"attribute": {"xds.route_name": null}}),
            ".when.attribute.\"xds.route_name\": invalid type: null, expected a text, a number,",
        ),
        (
            json!({"attribute": {"xds.route_name": []}}),
            ".when.attribute.\"xds.route_name\": must have at least one",
        ),
        (
            json!({"attribute": {"xds.route_name": 1}}),
            ".when.attribute.\"xds.route_name\": must be a text that",
        ),
        (
            json!({"attribute": {"xds.route_name": ""}}),
            ".when.attribute.\"xds.route_name\": must be a text that",
        ),
        (
            json!({"attribute": {"xds.route_name": {"prefix": ""}}}),
            ".when.attribute.\"xds.route_name\": must be a text, a list of texts, or {prefix: TEXT}",
        ),
        (
            json!({"attribute": {"xds.route_name": {"suffix": "a"}}}),
            ".when.attribute.\"xds.route_name\": must be a text, a list of texts, or {prefix: TEXT}",
        ),
        (json!({"attribute": {"source.port": "443"}}), ".when.attribute.\"source.port\": must be a port"),
        (
            json!({"attribute": {"source.port": [443, 70000]}}),
            ".when.attribute.\"source.port\": must be a port",
        ),
        (
            json!({"attribute": {"source.port": {"prefix": "4"}}}),
            ".when.attribute.\"source.port\": must be a port",
        ),
        (
            json!({"attribute": {"connection.mtls": "true"}}),
            ".when.attribute.\"connection.mtls\": must be true or",
        ),
        (
            json!({"attribute": {"source.address": "10."}}),
            ".when.attribute.\"source.address\": \"10.\" must be an IP address or a network like 10.0.0.0/8",
        ),
        (
            json!({"attribute": {"source.address": ["10.0.0.0/8", "10.1.0.0/8"]}}),
            ".when.attribute.\"source.address\": \"10.1.0.0/8\" has bits beyond its prefix; did you mean 10.0.0.0/8?",
        ),
        (
            json!({"attribute": {"source.address": "::ffff:10.0.0.1/104"}}),
            ".when.attribute.\"source.address\": \"::ffff:10.0.0.1/104\" has bits beyond its prefix; did you mean ::ffff:10.0.0.0/104",
        ),
        (
            json!({"metadata": {"jwt": {"payload": {"sub": {"prefix": "spiffe://corp/"}}}}}),
            ".when.metadata.jwt.payload.sub: metadata has no prefix matching",
        ),
        (
            json!({"metadata": {"jwt": {"prefix": "a"}}}),
            ".when.metadata.jwt: metadata has no prefix matching",
        ),
        (json!({"metadata": {"jwt": "a"}}), ".when.metadata.jwt: must be a map of the namespace's members"),
        (json!({"metadata": {"": {"a": "b"}}}), ".when.metadata.\"\": must not be empty"),
        (json!({"metadata": {"jwt": {}}}), ".when.metadata.jwt: must name at least one member"),
        (json!({"metadata": {"jwt": {"payload": {}}}}), ".when.metadata.jwt.payload: must name at least one"),
        (
            json!({"metadata": {"jwt": {"payload": {"groups": []}}}}),
            ".when.metadata.jwt.payload.groups: must have",
        ),
        (
            json!({"metadata": {"jwt": {"payload": {"groups": ["a", ["b"]]}}}}),
            ".when.metadata.jwt.payload.groups[1]: invalid type: sequence, expected a text, a number, true or false",
        ),
        (json!({"attribute": {}}), ".when: must have a condition"),
        (json!({"metadata": {}}), ".when: must have a condition"),
    ] {
        let mut config = valid();
        config["rules"] = json!([{"when": when, "model": "nemotron"}]);
        let error = load(&config).unwrap_err();
        assert!(error.starts_with(&format!("rules[0]{expected}")), "{error}");
    }
    let mut deep = json!({"has_tools": true});
    for _ in 0..10 {
        deep = json!({"not": deep});
    }
    let mut config = valid();
    config["rules"] = json!([{"when": deep, "model": "nemotron"}]);
    assert!(load(&config).unwrap_err().contains("nested more than 8 levels deep"));
}

#[test]
fn a_rule_that_rejects_says_how() {
    let tools = json!({"has_tools": true});
    for (reject, expected) in [
        (json!({"status": 200, "message": "no"}), "rules[0].reject.status: 200 must be between 400 and 599"),
        (json!({"message": ""}), "rules[0].reject.message: must have 1 to 300 bytes"),
        (json!({"status": 403}), "rules[0].reject: missing field `message`"),
    ] {
        let error = error_of("", "rules", json!([{"when": tools, "reject": reject}]));
        assert!(error.starts_with(expected), "{error}");
    }
    let same = json!({"name": "a", "when": tools, "reject": {"message": "no"}});
    let error = error_of("", "rules", json!([same, same]));
    assert!(error.starts_with("rules[1].name: another rule has this name"), "{error}");
}

#[test]
fn what_identifies_a_conversation_is_known() {
    for (stickiness, expected) in [
        (json!({"mode": "last"}), "stickiness.mode: unknown variant `last`"),
        (json!({"identity": []}), "stickiness.identity: needs at least one entry"),
        (json!({"identity": ["agents"]}), "stickiness.identity[0]: invalid value: string \"agents\""),
        (json!({"identity": [{}]}), "stickiness.identity[0]: needs either a header or a body field"),
        (json!({"identity": [{"header": "X"}]}), "stickiness.identity[0].header: \"X\" must be"),
        (
            json!({"identity": [{"body": "user"}]}),
            "stickiness.identity[0].body: \"user\" must be prompt_cache_key",
        ),
        (json!({"identity": ["fingerprint"], "header": "x"}), "stickiness: has both header and identity"),
        (json!({"mode": "strongest"}), "stickiness.mode: compares models by price"),
    ] {
        let error = error_of("", "stickiness", stickiness);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_agents_add_is_named_within_bounds() {
    for (prompt, expected) in [
        (json!({"context_messages": 3}), "prompt.context_messages: 3 must be between 0 and 2"),
        (json!({"remove_elements": ["<a>"]}), "prompt.remove_elements: \"<a>\" must be an element's name"),
        (json!({"agent_texts": ["*"]}), "prompt.agent_texts: \"*\" would match everything"),
        (json!({"agent_texts": ["known-agents"]}), "prompt.agent_texts: \"known-agents\" is unknown"),
        (json!({"remove_elements": [" x"]}), "prompt.remove_elements: \" x\" has white space"),
        (json!({"tool_results": vec!["x"; 201]}), "prompt.tool_results: has 201 entries; the maximum is 200"),
    ] {
        let error = error_of("", "prompt", prompt);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_hosts_have_to_find_out_is_what_conditions_read() {
    let mut config = valid();
    assert_eq!(load(&config).unwrap().context_keys, ContextKeys::default());
    config["rules"] = json!([
        {"when": {"any": [
            {"attribute": {"source.port": 443, "xds.route_name": ["a", "b"]}},
            {"not": {"metadata": {"z": {"b": {"c": 1}, "a": true}}}},
        ]}, "model": "nemotron"},
        {"when": {"all": [{"attribute": {"xds.route_name": "c"}}, {"metadata": {"y": {"b": "x"}, "z": {"a": false}}}]},
            "model": "nemotron"},
    ]);
    let keys = load(&config).unwrap().context_keys;
    assert_eq!(keys.attributes, [Attribute::SourcePort, Attribute::RouteName]);
    let named: Vec<_> =
        keys.metadata.iter().map(|key| (key.namespace.as_str(), key.path.join("."))).collect();
    assert_eq!(named, [("y", "b".to_owned()), ("z", "a".to_owned()), ("z", "b.c".to_owned())]);
}

#[test]
fn metadata_that_is_nested_too_deep_is_an_error() {
    let nested = |levels: usize| (0..levels).fold(json!("x"), |inner, _| json!({"a": inner}));
    let mut config = valid();
    config["rules"] = json!([{"when": {"metadata": {"jwt": nested(8)}}, "model": "nemotron"}]);
    assert!(load(&config).is_ok());
    config["rules"] = json!([{"when": {"metadata": {"jwt": nested(9)}}, "model": "nemotron"}]);
    let error = load(&config).unwrap_err();
    assert_eq!(error, "rules[0].when.metadata.jwt.a.a.a.a.a.a.a.a: is nested more than 8 levels deep");
}
