//! A sample of prompts is written to files, if operators want that.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::calls::{PROMPT, classify, route};
use crate::sidecar::{Sidecar, minilm};

const POLICY: &str = "sidecar: {cluster: c, timeout: 60s}\ndefault_policy: p\ncache: {entries: 0}\n\
                      models: {m: {cluster: c, model: m}}\n\
                      policies: {p: {classifier: task, routes: {Code Generation: m}, default: m}}\n";

async fn start(options: &[&str]) -> Sidecar {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    let model = minilm();
    let arguments = [&["--model", model.to_str().unwrap(), "--policy", "policy.yaml"], options].concat();
    Sidecar::start(folder, &arguments, &[]).await
}

/// All that was captured.
fn captured(folder: &Path) -> Vec<Value> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn prompts_of_both_hosts_are_captured_with_what_is_known_of_the_decision() {
    let sidecar = start(&["--capture", "captured", "--capture-fraction", "1"]).await;
    sidecar.logged("prompts are captured; remove --capture to stop").await;
    sidecar.metric("llm_router_sidecar_capture_enabled 1").await;
    route(sidecar.connect().await).await.unwrap();
    classify(sidecar.connect().await).await.unwrap();
    sidecar.metric("llm_router_sidecar_captured_total{outcome=\"written\"} 2").await;

    let records = captured(&sidecar.folder.path().join("captured"));
    let [routed, classified] = records.as_slice() else { panic!("{records:?}") };
    for record in &records {
        assert_eq!(record["text"], PROMPT);
        let task = &record["predictions"]["task"];
        assert!(task["label"].is_string() && task["confidence"].is_number(), "{record}");
    }
    assert_eq!((&routed["policy"], &routed["model"]), (&"p".into(), &"m".into()));
    assert!(["classified", "default"].contains(&routed["reason"].as_str().unwrap()), "{routed}");
    // Our filter makes its own decision, and this request names no policy.
    assert!(classified.get("model").is_none() && classified.get("policy").is_none(), "{classified}");
}

#[tokio::test]
async fn only_prompts_of_the_named_policies_are_captured() {
    let options = ["--capture", "captured", "--capture-fraction", "1", "--capture-policies", "q,p"];
    let sidecar = start(&options).await;
    classify(sidecar.connect().await).await.unwrap();
    route(sidecar.connect().await).await.unwrap();
    sidecar.metric("llm_router_sidecar_captured_total{outcome=\"written\"} 1").await;
    let records = captured(&sidecar.folder.path().join("captured"));
    assert!(records.len() == 1 && records[0]["policy"] == "p", "{records:?}");
}

#[tokio::test]
async fn nothing_is_captured_by_default() {
    let sidecar = start(&[]).await;
    let before = fs::read_dir(sidecar.folder.path()).unwrap().count();
    route(sidecar.connect().await).await.unwrap();
    sidecar.metric("llm_router_sidecar_capture_enabled 0").await;
    sidecar.metric("llm_router_sidecar_captured_total{outcome=\"written\"} 0").await;
    assert_eq!(fs::read_dir(sidecar.folder.path()).unwrap().count(), before);
    assert!(!sidecar.log().contains(PROMPT), "{}", sidecar.log());
}

#[tokio::test]
async fn a_folder_that_rejects_files_loses_records_but_no_request() {
    let sidecar = start(&["--capture", "captured", "--capture-fraction", "1"]).await;
    let folder = sidecar.folder.path().join("captured");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    route(sidecar.connect().await).await.unwrap();
    sidecar.metric("llm_router_sidecar_captured_total{outcome=\"failed\"} 1").await;
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    route(sidecar.connect().await).await.unwrap();
    sidecar.metric("llm_router_sidecar_captured_total{outcome=\"written\"} 1").await;
    assert_eq!(captured(&folder).len(), 1, "capturing resumes once the folder works");
}
