//! A policy and its candidate: one call for both, and nothing changes for the client.

use super::*;
use crate::decision::Decision;

/// `task_router`, with `by_score` as its candidate.
fn with_candidate(more: Value) -> CachingRouter {
    let mut config = json!({
        "models": {
            "small": {"cluster": "s", "model": "s", "capabilities": []},
            "large": {"cluster": "l", "model": "l"},
        },
        "policies": {
            "task_router": {
                "classifier": "task", "routes": {"Code Generation": "large"}, "default": "small", "candidate": "by_score",
            },
            "by_score": {"classifier": "win-rate", "bands": [{"up_to": 0.5, "model": "large"}, {"model": "small"}]},
        },
        "cache": {"ttl": "60s"},
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    router(config)
}

fn names(wanted: &Wanted) -> Vec<&str> {
    wanted.classifiers.iter().map(|classifier| classifier.as_str()).collect()
}

/// The decision with these predictions: a label of `task`, and a score of `win-rate`.
fn decided(
    router: &CachingRouter,
    asked: (Pending, Wanted),
    label: Option<&str>,
    score: Option<f32>,
) -> Decision {
    let (mut pending, wanted) = asked;
    for classifier in &wanted.classifiers {
        let prediction = match classifier.as_str() {
            "task" => label.map(|label| Classification::Label(Label::new(label, 0.9).unwrap())),
            _ => score.map(|score| Classification::Score(Score::new(score, []).unwrap())),
        };
        router.learn(&mut pending, &wanted, classifier, prediction.map(Prediction::from), Duration::ZERO);
    }
    decision(router.decide(pending, Duration::ZERO, &mut |_| ()).unwrap())
}

fn decision(plan: Plan) -> Decision {
    match plan {
        Plan::Done(Outcome::Route(decision)) => decision,
        other => panic!("not routed: {other:?}"),
    }
}

/// The model that was chosen, and that of the candidate.
fn models(decision: &Decision) -> (&str, Option<&str>) {
    let comparison = decision.comparison.as_ref().expect("not compared");
    assert_eq!(comparison.policy.name.as_str(), "task_router");
    (decision.model.name.as_str(), comparison.model.as_ref().map(|model| model.name.as_str()))
}

#[test]
fn one_call_predicts_for_the_policy_and_its_candidate() {
    let router = with_candidate(json!({}));
    let asked = asked(plan_at(&router, 0, &say(&["hi"]), None));
    assert_eq!(names(&asked.1), ["task", "win-rate"]);
    let decision = decided(&router, asked, Some("Code Generation"), Some(0.9));
    assert_eq!(models(&decision), ("large", Some("small")));
    assert_eq!(decision.reason, Reason::Classified);
}

#[test]
fn a_missing_prediction_of_the_candidate_changes_nothing_for_the_client() {
    for on_failure in ["default", "reject"] {
        let router = with_candidate(json!({"sidecar": {"cluster": "sidecar", "on_failure": on_failure}}));
        let asked = asked(plan_at(&router, 0, &say(&["hi"]), None));
        let decision = decided(&router, asked, Some("Code Generation"), None);
        assert_eq!(models(&decision), ("large", None));
        assert_eq!(decision.reason, Reason::Classified);
    }
}

#[test]
fn the_candidate_alone_is_no_reason_for_a_call() {
    let router = with_candidate(json!({}));
    let first = asked(plan_at(&router, 0, &say(&["hi"]), None));
    decided(&router, first, Some("Code Generation"), None);
    let again = decision(plan_at(&router, 1, &say(&["hi"]), None));
    assert_eq!((models(&again), again.reason), (("large", None), Reason::Cached));
}

#[test]
fn cached_predictions_serve_both() {
    let router = with_candidate(json!({}));
    let first = asked(plan_at(&router, 0, &say(&["hi"]), None));
    decided(&router, first, Some("Chatbot"), Some(0.1));
    let again = decision(plan_at(&router, 1, &say(&["hi"]), None));
    assert_eq!((models(&again), again.reason), (("small", Some("large")), Reason::Default));
}

#[test]
fn a_candidate_meets_the_requirements_of_the_request_like_a_policy() {
    let router = with_candidate(json!({}));
    let mut body = say(&["hi"]);
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    let asked = asked(plan_at(&router, 0, &body, None));
    let decision = decided(&router, asked, Some("Code Generation"), Some(0.9));
    // Its band says `small`, which takes no tools.
    assert_eq!(models(&decision), ("large", Some("large")));
}

#[test]
fn a_rule_that_chooses_the_policy_has_its_candidate_compared() {
    let rules = json!([{"when": {"header": {"x-session": "a"}}, "policy": "task_router"}]);
    let router = with_candidate(json!({"rules": rules, "default_policy": "by_score"}));
    let by_rule = asked(plan_at(&router, 0, &say(&["hi"]), Some("a")));
    assert_eq!(names(&by_rule.1), ["task", "win-rate"]);
    let decision = decided(&router, by_rule, Some("Code Generation"), Some(0.9));
    assert_eq!(models(&decision), ("large", Some("small")));
    let by_default = asked(plan_at(&router, 0, &say(&["hello"]), None));
    assert_eq!(names(&by_default.1), ["win-rate"]);
    assert_eq!(decided(&router, by_default, None, Some(0.9)).comparison, None, "it has no candidate");
}

#[test]
fn nothing_is_compared_where_the_client_decides() {
    let router = with_candidate(json!({}));
    let named = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(decision(plan_at(&router, 0, &named("large"), None)).comparison, None);
    let with_threshold = asked(plan_at(&router, 0, &named("task_router:0.95"), None));
    assert_eq!(names(&with_threshold.1), ["task"]);
    let decision = decided(&router, with_threshold, Some("Code Generation"), Some(0.9));
    assert_eq!((decision.model.name.as_str(), decision.comparison), ("small", None));
}

#[test]
fn in_a_sticky_conversation_both_go_by_the_same_message() {
    let router = with_candidate(json!({"stickiness": {}}));
    let asked = asked(plan_at(&router, 0, &say(&["write code", "thanks"]), None));
    let decision = decided(&router, asked, Some("Code Generation"), Some(0.9));
    assert_eq!((models(&decision), decision.reason), (("large", Some("small")), Reason::Sticky));
}

#[test]
fn two_policies_can_be_each_other_s_candidates() {
    let router = with_candidate(json!({"policies": {
        "task_router": {"classifier": "task", "routes": {}, "default": "small", "candidate": "by_score"},
        "by_score": {"classifier": "win-rate", "bands": [{"model": "large"}], "candidate": "task_router"},
    }}));
    let asked = asked(plan_at(&router, 0, &say(&["hi"]), None));
    assert_eq!(models(&decided(&router, asked, Some("Chatbot"), Some(0.9))), ("small", Some("large")));
}
