//! Policy and model are swapped while requests are in progress.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::calls::{classify, route};
use crate::sidecar::{Sidecar, model_with_head, swap_symlink};

fn policy(cluster: &str) -> String {
    format!(
        "sidecar: {{cluster: c, timeout: 60s}}\ndefault_policy: p\ncache: {{entries: 0}}\n\
         models: {{m: {{cluster: {cluster}, model: m}}}}\n\
         policies: {{p: {{classifier: task, routes: {{Code Generation: m}}, default: m}}}}\n"
    )
}

fn write_policy(folder: &Path, text: &str) {
    fs::write(folder.join("unfinished"), text).unwrap();
    fs::rename(folder.join("unfinished"), folder.join("policy.yaml")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_succeeds_while_policy_and_model_are_swapped_and_invalid_ones_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    model_with_head(&at("model-1"), "task");
    model_with_head(&at("model-2"), "topic");
    fs::create_dir(at("model-3")).unwrap();
    swap_symlink(&at("model-1"), &at("model"));
    write_policy(folder.path(), &policy("first"));

    let arguments = ["--model", "model", "--policy", "policy.yaml", "--reload-interval", "100ms"];
    let sidecar = Sidecar::start(folder, &arguments, &[]).await;
    let root = sidecar.folder.path();
    let at = |name: &str| root.join(name);

    let done = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for number in 0..4 {
        let (client, done) = (sidecar.connect().await, done.clone());
        callers.push(tokio::spawn(async move {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                let set = if number % 2 == 0 {
                    route(client.clone()).await
                } else {
                    classify(client.clone()).await
                };
                seen.extend(set.expect("every call succeeds"));
            }
            seen
        }));
    }

    write_policy(root, &policy("second"));
    sidecar.metric("reloads_total{what=\"policy\",outcome=\"applied\"} 1").await;
    write_policy(root, "policies: nonsense");
    sidecar.metric("reloads_total{what=\"policy\",outcome=\"rejected\"} 1").await;
    swap_symlink(&at("model-3"), &at("model"));
    sidecar.metric("reloads_total{what=\"model\",outcome=\"rejected\"} 1").await;
    let set = route(sidecar.connect().await).await.unwrap();
    assert!(
        set.contains(&("x-llm-cluster".to_owned(), "second".to_owned())),
        "the old policy is gone: {set:?}"
    );
    assert!(set.contains(&("x-llm-task".to_owned(), "Code Generation".to_owned())), "{set:?}");

    swap_symlink(&at("model-2"), &at("model"));
    sidecar.metric("reloads_total{what=\"model\",outcome=\"applied\"} 1").await;
    let set = classify(sidecar.connect().await).await.unwrap();
    assert!(set.contains(&("x-llm-topic".to_owned(), "Code Generation".to_owned())), "{set:?}");

    // Everything is loaded again at a signal, changed or not.
    write_policy(root, &policy("third"));
    sidecar.process.signal("HUP");
    sidecar.metric("reloads_total{what=\"model\",outcome=\"applied\"} 2").await;
    sidecar.metric("reloads_total{what=\"policy\",outcome=\"applied\"} 2").await;
    assert!(route(sidecar.connect().await).await.unwrap().iter().any(|(_, value)| value == "third"));

    done.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(!caller.await.unwrap().is_empty());
    }
    let refused = sidecar.log().lines().filter(|line| line.contains("the previous version stays")).count();
    assert_eq!(refused, 2, "{}", sidecar.log());
}
