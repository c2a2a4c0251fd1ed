//! Loops of coding agents. A loop is classified once, however long it is and whatever the harness adds to the human's words.
//!
//! The gateways have one worker, since in the Wasm filter each worker has its own cache.

use std::collections::HashSet;

use llm_router_tests::agents::{AGENTS, Agent, Conversation};
use llm_router_tests::client::Response;
use llm_router_tests::fakes::scripted_gateway::ScriptedGateway;
use llm_router_tests::fakes::scripted_sidecar::{as_read, labelled};
use llm_router_tests::for_each_host;
use llm_router_tests::host::{Host, PerHost};
use macro_rules_attribute::apply;
use serde_json::{Value, json};

use crate::support::{route_both_apis, without_sidecar};

/// The requests of a loop.
const STEPS: usize = 10;

/// Enough for both models to get some of them, at equal weights.
const CONVERSATIONS: usize = 24;

/// Poetry goes to one of two models.
async fn gateway(host: Host) -> &'static ScriptedGateway {
    static SHARED: PerHost<ScriptedGateway> = PerHost::new();
    let policy = |it: &mut Value| {
        route_both_apis(it);
        let halves =
            |one: &str, other: &str| json!([{ "model": one, "weight": 1 }, { "model": other, "weight": 1 }]);
        it["policies"]["task_router"]["routes"]["Poetry"] = halves("llama-8b", "nemotron");
        it["policies"]["claude"]["routes"]["Poetry"] = halves("claude-fast", "claude-deep");
        it["cache"] = json!({ "entries": 1000 });
    };
    SHARED.get_or_start(host, || ScriptedGateway::start(without_sidecar(host).policy(policy), 1)).await
}

#[apply(for_each_host!)]
async fn a_loop_of_ten_steps_is_classified_once_and_decided_ten_times_alike(host: Host) {
    let gateway = gateway(host).await;
    let mut faults = Vec::new();
    for agent in AGENTS {
        let prompt = labelled("Code Generation");
        let mut conversation = Conversation::new(&prompt);
        for step in 1..=STEPS {
            let response = gateway.send(agent.request(&conversation)).await;
            // If the client sends the model's reasoning back, the reasoning alone decides.
            let reasons: &[_] = if step == 1 { &["classified"] } else { &["cached", "sticky"] };
            if !is_decided(&response, strong(&agent), reasons) {
                faults.push(format!("{}, step {step}: {}", agent.name, decision(&response)));
            }
            conversation = conversation.step(response.header("x-served-by"));
        }
        let read = gateway.sidecar.classified(&prompt);
        if read != [as_read(&prompt)] {
            faults.push(format!(
                "{}: {} classifications, the first of {:?}",
                agent.name,
                read.len(),
                read.first()
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[apply(for_each_host!)]
async fn what_the_human_says_next_is_classified_unless_the_models_reasoning_decides(host: Host) {
    let gateway = gateway(host).await;
    let mut faults = Vec::new();
    for agent in AGENTS {
        let next = labelled("Chatbot");
        let mut conversation = Conversation::new(&labelled("Code Generation"));
        for _ in 0..3 {
            let response = gateway.send(agent.request(&conversation)).await;
            conversation = conversation.step(response.header("x-served-by"));
        }
        conversation = conversation.ask(&next);
        let (model, reasons, classifications) = match (agent.keeps_reasoning, agent.speaks_anthropic) {
            (true, _) => (strong(&agent), ["sticky", "sticky"], 0),
            (false, true) => ("claude-fast", ["classified", "cached"], 1),
            (false, false) => ("llama-8b", ["classified", "cached"], 1),
        };
        for reason in reasons {
            let response = gateway.send(agent.request(&conversation)).await;
            if !is_decided(&response, model, &[reason]) {
                faults.push(format!("{}, {reason}: {}", agent.name, decision(&response)));
            }
            conversation = conversation.step(response.header("x-served-by"));
        }
        if gateway.sidecar.times_classified(&next) != classifications {
            faults.push(format!("{}: {:?}", agent.name, gateway.sidecar.classified(&next)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[apply(for_each_host!)]
async fn conversations_that_begin_alike_draw_models_by_the_names_that_agents_give_them(host: Host) {
    let gateway = gateway(host).await;
    for agent in AGENTS {
        let prompt = labelled("Poetry");
        let mut models = HashSet::new();
        for _ in 0..CONVERSATIONS {
            let conversation = Conversation::new(&prompt);
            let first = gateway.send(agent.request(&conversation)).await;
            let model = first.header("x-llm-router-model").to_owned();
            let conversation = conversation.step(first.header("x-served-by"));
            let second = gateway.send(agent.request(&conversation)).await;
            assert!(
                is_decided(&second, &model, &["cached", "sticky"]),
                "{}: {}",
                agent.name,
                decision(&second)
            );
            models.insert(model);
        }
        let expected = if agent.names_conversation { 2 } else { 1 };
        assert_eq!(models.len(), expected, "{}: {models:?}", agent.name);
    }
}

/// The model for code.
fn strong(agent: &Agent) -> &'static str {
    if agent.speaks_anthropic { "claude-deep" } else { "nemotron" }
}

fn is_decided(response: &Response, model: &str, reasons: &[&str]) -> bool {
    response.status == 200
        && response.header("x-llm-router-model") == model
        && reasons.contains(&response.header("x-llm-router-reason"))
}

fn decision(response: &Response) -> String {
    let header = |name| response.header(name);
    format!("{} {} {}", response.status, header("x-llm-router-model"), header("x-llm-router-reason"))
}
