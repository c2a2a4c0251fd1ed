//! `bench`, on the model in its own process and on a running sidecar.

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{output, sidecar_command};
use crate::sidecar::{Sidecar, minilm};

/// What `bench` prints, or the error that it fails with.
async fn bench(arguments: &[&str]) -> Result<Value, String> {
    let mut command = sidecar_command();
    command.args(["bench", "--json", "--warmup", "100ms", "--duration", "400ms"]).args(arguments);
    let output = output(&mut command).await;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[tokio::test]
async fn the_model_in_process_is_measured_and_drawn() {
    let folder = TempDir::new().unwrap();
    let (model, plot) = (minilm(), folder.path().join("plot.svg"));
    let (model, plot_path) = (model.to_str().unwrap(), plot.to_str().unwrap());
    let arguments = [
        "--model",
        model,
        "--concurrency",
        "1,2",
        "--tokens",
        "32",
        "--want",
        "embedding",
        "--plot",
        plot_path,
    ];
    let report = bench(&arguments).await.unwrap();
    for (step, callers) in report["steps"].as_array().unwrap().iter().zip([1, 2]) {
        assert_eq!(step["callers"], callers);
        let latency = &step["latency_ms"];
        let order = ["p50", "p90", "p99", "max"].map(|name| number(&latency[name]));
        assert!(order[0] > 0.0 && order.is_sorted(), "{latency}");
        assert!(number(&step["answered_per_second"]) > 0.0, "{step}");
        assert_eq!(step["errors"]["failed"], 0);
    }
    // The weights alone have 90 MB.
    assert!(number(&report["peak_resident_bytes"]) > 90e6, "{report}");
    // A point for each percentile of each load.
    assert_eq!(std::fs::read_to_string(plot).unwrap().matches("<circle").count(), 3 * 2);
}

#[tokio::test]
async fn rejected_calls_are_counted() {
    let model = minilm();
    let arguments =
        ["--model", model.to_str().unwrap(), "--queue", "1", "--workers", "1", "--concurrency", "16"];
    let report = bench(&arguments).await.unwrap();
    let step = &report["steps"][0];
    assert!(number(&step["errors"]["overloaded"]) > 0.0, "{step}");
    assert!(number(&step["answered_per_second"]) > 0.0, "{step}");
}

#[tokio::test]
async fn a_running_sidecar_is_measured_over_grpc() {
    let model = minilm();
    let arguments = ["--model", model.to_str().unwrap()];
    let sidecar = Sidecar::start(TempDir::new().unwrap(), &arguments, &[]).await;
    let address = format!("unix:{}", sidecar.folder.path().join("socket").display());
    let report = bench(&["--address", &address, "--rate", "20"]).await.unwrap();
    let step = &report["steps"][0];
    assert_eq!(number(&step["rate"]), 20.0);
    assert!(number(&step["offered_per_second"]) > 0.0, "{step}");
    assert!(number(&step["latency_ms"]["p50"]) > 0.0, "{step}");
    assert_eq!(step["errors"], serde_json::json!({"overloaded": 0, "deadline_exceeded": 0, "failed": 0}));
    assert_eq!(report["peak_resident_bytes"], Value::Null);
    assert!(!sidecar.metrics().await.contains("requests_total{outcome=\"classified\"} 0\n"));
}

#[tokio::test]
async fn an_unreachable_sidecar_is_an_error_and_not_a_measurement() {
    let error = bench(&["--address", "127.0.0.1:1"]).await.unwrap_err();
    assert!(error.contains("cannot connect to 127.0.0.1:1"), "{error}");
    let model = minilm();
    let error = bench(&["--model", model.to_str().unwrap(), "--tokens", "9999"]).await.unwrap_err();
    assert!(error.contains("--tokens 9999: the model reads"), "{error}");
}
