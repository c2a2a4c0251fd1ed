//! `bench --gateway`, on servers that respond as a test wants.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use llm_router_sidecar::bench::schedule::arrivals;
use llm_router_test_support::mock_llm::{self, RequestLog};
use llm_router_test_support::time::{TIMEOUT, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::command::{output, sidecar_command};
use crate::scripted_api::{Reply, Request, ScriptedApi, completion, response, stream};

const RATE: f64 = 100.0;

/// How many requests a load of [`RATE`] has in each run, however slow the machine is.
fn requests_in_half_a_second(targets: usize) -> usize {
    let half = Duration::from_millis(500);
    arrivals(RATE * targets as f64).take_while(|at| *at < half).count()
}

/// What `bench` prints for half a second of [`RATE`], or the error that it fails with.
async fn bench(url: &str, arguments: &[&str]) -> Result<Value, String> {
    let mut command = sidecar_command();
    command.args(["bench", "--json", "--warmup", "0s", "--duration", "500ms", "--gateway", url]);
    command.args(["--rate", &RATE.to_string()]).args(arguments).env_remove("OPENAI_API_KEY");
    let output = output(&mut command).await;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// The results of the only load.
async fn measure(url: &str, arguments: &[&str]) -> Value {
    bench(url, arguments).await.unwrap()["steps"][0].take()
}

/// A file of prompts, one a line.
fn prompts(lines: &[&str]) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("prompts.txt");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// A mock LLM in this process.
async fn mock_llm() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(mock_llm::serve(listener, "llm".to_owned(), Arc::new(RequestLog::default())));
    url
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[tokio::test]
async fn figures_are_split_by_model_and_reason() {
    let decide = |request: &Request| match request.prompt.as_str() {
        "easy" => completion("x-llm-router-model: small\r\nx-llm-router-reason: cached\r\n"),
        _ => completion("x-llm-router-model: large\r\nx-llm-router-reason: classified\r\n"),
    };
    let api = ScriptedApi::start(move |request| Reply::Send(decide(request))).await;
    let (_folder, path) = prompts(&["easy", "hard", "harder"]);
    let step = measure(&api.url(), &["--prompts", &path]).await;
    let sent = requests_in_half_a_second(1);
    assert_eq!(step["gateway"]["requests"], sent);
    assert_eq!(step["gateway"]["errors"], json!({}));
    // Prompts take turns: every third one is easy.
    let easy = sent.div_ceil(3);
    for (groups, names) in [("models", ["large", "small"]), ("reasons", ["classified", "cached"])] {
        for (group, (name, requests)) in
            [0, 1].map(|index| &step[groups][index]).iter().zip([(names[0], sent - easy), (names[1], easy)])
        {
            assert_eq!((&group["name"], &group["requests"]), (&json!(name), &json!(requests)), "{step}");
            assert!(number(&group["latency_ms"]["p50"]) > 0.0, "{step}");
        }
    }
}

#[tokio::test]
async fn each_kind_of_failure_is_counted_as_such() {
    let whole = |request: &Request| match request.prompt.as_str() {
        _ if request.number == 0 => Reply::Send(completion("")),
        "rejected" => Reply::Send(response("503 Service Unavailable", "", "overloaded")),
        "no json" => Reply::Send(response("200 OK", "", "<html>")),
        "no choices" => Reply::Send(response("200 OK", "", r#"{"object": "error"}"#)),
        "short" => Reply::SendAndClose("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned()),
        other => panic!("{other}"),
    };
    let streamed = |request: &Request| match request.prompt.as_str() {
        _ if request.number == 0 => Reply::Send(stream(&["{}", "[DONE]"])),
        "rejected" => Reply::Send(response("429 Too Many Requests", "", "slow down")),
        "error event" => Reply::Send(stream(&["{}", r#"{"error": {"message": "no GPU"}}"#, "[DONE]"])),
        "no done" => Reply::Send(stream(&["{}", "{}"])),
        "no stream" => Reply::Send(completion("")),
        "short" => Reply::SendAndClose(stream(&["{}"]).replace("content-length: ", "content-length: 9")),
        other => panic!("{other}"),
    };
    let cases = [
        (
            ScriptedApi::start(whole).await,
            "never",
            vec!["rejected", "no json", "no choices", "short"],
            [("status_503", 1), ("not_a_completion", 2), ("broken_off", 1)],
        ),
        (
            ScriptedApi::start(streamed).await,
            "always",
            vec!["rejected", "error event", "no stream", "no done", "short"],
            [("status_429", 1), ("not_a_completion", 2), ("broken_off", 2)],
        ),
    ];
    for (api, streaming, lines, expected) in cases {
        let (_folder, path) = prompts(&lines);
        let step = measure(&api.url(), &["--prompts", &path, "--stream", streaming]).await;
        let errors = &step["gateway"]["errors"];
        let sent = requests_in_half_a_second(1);
        for (kind, of_each_round) in expected {
            let rounds = sent as f64 / lines.len() as f64;
            let about = f64::from(of_each_round) * rounds;
            assert!((number(&errors[kind]) - about).abs() < 2.0, "{kind} of {sent}: {errors}");
        }
        let counts = errors.as_object().unwrap().values();
        assert_eq!(counts.map(|count| count.as_u64().unwrap()).sum::<u64>(), sent as u64);
        assert_eq!(step["gateway"]["latency_ms"], Value::Null);
        let examples = step["failures"].to_string();
        assert!(examples.contains("overloaded") || examples.contains("slow down"), "{examples}");
    }
}

#[tokio::test]
async fn a_gateway_that_goes_away_or_hangs_is_counted_as_such() {
    let leaves =
        ScriptedApi::start(|_: &Request| Reply::SendAndEnd(completion("connection: close\r\n"))).await;
    let hangs = ScriptedApi::start(|request: &Request| match request.number {
        0 => Reply::Send(completion("")),
        _ => Reply::Nothing,
    })
    .await;
    let sent = requests_in_half_a_second(1);
    for (api, kind) in [(leaves, "connect"), (hangs, "timeout")] {
        let step = measure(&api.url(), &["--deadline", "2s"]).await;
        assert_eq!(step["gateway"]["errors"], json!({ kind: sent }));
    }
}

#[tokio::test]
async fn an_endless_response_is_given_up_as_too_large() {
    for (streaming, headers) in
        [("never", ""), ("always", ""), ("always", "content-type: text/event-stream\r\n")]
    {
        let endless = format!("HTTP/1.1 200 OK\r\n{headers}\r\ndata: ");
        let first = match streaming {
            "never" => completion(""),
            _ => stream(&["{}", "[DONE]"]),
        };
        let api = ScriptedApi::start(move |request: &Request| match request.number {
            0 => Reply::Send(first.clone()),
            _ => Reply::SendEndlessly(endless.clone(), "x".repeat(1 << 20)),
        })
        .await;
        let step = measure(&api.url(), &["--stream", streaming]).await;
        assert_eq!(
            step["gateway"]["errors"],
            json!({"too_large": requests_in_half_a_second(1)}),
            "{streaming} {headers}"
        );
    }
}

#[tokio::test]
async fn requests_on_schedule_do_not_wait_for_a_gateway_that_stalls() {
    let sent = requests_in_half_a_second(1);
    let script = move |request: &Request| match request.number {
        0 => Reply::Send(completion("")),
        // The whole load arrives before the first response.
        _ => Reply::SendAfter(1 + sent, completion("")),
    };
    let api = ScriptedApi::start(script).await;
    let step = measure(&api.url(), &[]).await;
    assert_eq!((&step["gateway"]["requests"], &step["gateway"]["errors"]), (&json!(sent), &json!({})));
}

#[tokio::test]
async fn requests_beyond_the_limit_in_flight_are_dropped() {
    let script = |request: &Request| match request.number {
        0 => Reply::Send(completion("")),
        _ => Reply::Nothing,
    };
    let api = ScriptedApi::start(script).await;
    let step = measure(&api.url(), &["--in-flight", "3", "--deadline", "2s"]).await;
    let errors = &step["gateway"]["errors"];
    assert!(number(&errors["dropped"]) > 0.0, "{errors}");
    let all = number(&errors["dropped"]) + number(&errors["timeout"]);
    assert_eq!(all, requests_in_half_a_second(1) as f64, "{errors}");
}

#[tokio::test]
async fn the_llm_itself_is_measured_in_the_same_run() {
    let (gateway, direct) = (mock_llm().await, mock_llm().await);
    let sent = requests_in_half_a_second(2) as u64;
    let step = measure(&gateway, &["--direct", &direct]).await;
    let p50 = &step["comparison"]["added_ms"]["p50"];
    assert!(number(&p50["low"]) <= number(&p50["ms"]) && number(&p50["ms"]) <= number(&p50["high"]), "{p50}");
    assert_eq!(step["comparison"]["added_to_first_event_ms"], Value::Null);

    let step = measure(&gateway, &["--direct", &direct, "--stream", "half"]).await;
    let comparison = &step["comparison"];
    let requests = number(&step["gateway"]["requests"]) + number(&comparison["direct"]["requests"]);
    assert_eq!(requests, sent as f64, "{step}");
    // The last request may have no partner.
    let pairs = |name: &str| comparison[name]["pairs"].as_u64().unwrap_or_else(|| panic!("{comparison}"));
    assert_eq!(pairs("added_ms") + pairs("added_to_streams_ms"), sent / 2);
    assert_eq!(pairs("added_to_first_event_ms"), pairs("added_to_streams_ms"));
    for figures in [&step["gateway"], &comparison["direct"]] {
        let streams = &figures["streams"];
        let completions = number(&streams["completions"]);
        assert!(completions > 0.0 && completions < number(&figures["requests"]), "{figures}");
        // The mock LLM sends several events, so the first one arrives before the last byte.
        assert!(
            number(&streams["first_event_ms"]["p50"]) < number(&streams["latency_ms"]["p50"]),
            "{figures}"
        );
    }
}

#[tokio::test]
async fn one_connection_of_http2_carries_all_requests() {
    let step = measure(&mock_llm().await, &["--http2", "--stream", "always"]).await;
    let figures = &step["gateway"];
    assert_eq!(figures["errors"], json!({}));
    assert_eq!(figures["streams"]["completions"], figures["requests"]);
    // No response header names the model.
    assert_eq!(step["models"][0]["name"], Value::Null);
}

#[tokio::test]
async fn the_first_request_says_what_is_wrong() {
    let cases = [
        (
            response("404 Not Found", "", "no such path"),
            "status 404: no such path\nThe base URL of most APIs ends in /v1",
        ),
        (
            response("401 Unauthorized", "", "bad key sk-secret"),
            "bad key <key>\nPut the API's key into an environment variable",
        ),
        (
            response("301 Moved Permanently", "location: https://h/v1\r\n", ""),
            "redirected to https://h/v1\nUse the URL",
        ),
        (
            response("200 OK", "", "<html>\x1b[31mHi</html>"),
            "in <html> [31mHi</html>\nIs it the base URL of an OpenAI-compatible",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned(), "the URL begins with https://"),
        ("nonsense\r\n\r\n".to_owned(), "the URL begins with https://"),
    ];
    for (sent, expected) in cases {
        let api = ScriptedApi::start(move |request: &Request| {
            assert!(request.head.contains("authorization: bearer sk-secret"), "{}", request.head);
            Reply::SendAndClose(sent.clone())
        })
        .await;
        let error = bench_with_key(&api.url(), &["--key-env", "THE_KEY"]).await.unwrap_err();
        let url = format!("no completion from {}/chat/completions: ", api.url());
        assert!(error.contains(&url) && error.contains(expected), "{error}");
        assert!(!error.contains("sk-secret"), "{error}");
    }
}

async fn bench_with_key(url: &str, arguments: &[&str]) -> Result<Value, String> {
    let mut command = sidecar_command();
    command.args(["bench", "--json", "--gateway", url]).args(arguments).env("THE_KEY", "sk-secret");
    let output = output(&mut command).await;
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

#[tokio::test]
async fn wrong_options_are_errors() {
    let api = ScriptedApi::start(|_: &Request| Reply::Send(completion(""))).await;
    let https = api.url().replace("http:", "https:");
    let this = format!("this={}", std::process::id());
    for (url, arguments, expected) in [
        ("http://127.0.0.1:1/v1", vec![], "Is the API running, and is the address right?"),
        (&*https, vec![], "If the port does not speak TLS, the URL begins with http://"),
        ("127.0.0.1:10000", vec![], "127.0.0.1:10000 is not a URL like http://127.0.0.1:10000/v1"),
        (&*api.url(), vec!["--key-env", "NO_SUCH_KEY"], "the environment variable NO_SUCH_KEY has no key"),
        (&*api.url(), vec!["--watch", "it=999999999"], "cannot watch it, process 999999999"),
        (&*api.url(), vec!["--watch", &this, "--rate", "1,2"], "--watch and --series are for a single load"),
        (&*api.url(), vec!["--header", "authorization: Bearer x"], "name it with --key-env"),
        (&*api.url(), vec!["--address", "127.0.0.1:1"], "cannot be used with"),
        (
            &*api.url(),
            vec!["--direct", "http://127.0.0.1:1"],
            "no completion from http://127.0.0.1:1/chat/completions",
        ),
    ] {
        let error = bench_with_key(url, &arguments).await.unwrap_err();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn model_and_headers_of_requests_are_options() {
    let script = |request: &Request| {
        assert!(request.head.contains("x-llm-policy: support"), "{}", request.head);
        assert!(!request.head.contains("authorization"), "{}", request.head);
        Reply::Send(completion(""))
    };
    let api = ScriptedApi::start(script).await;
    let step = measure(&api.url(), &["--header", "x-llm-policy: support"]).await;
    assert_eq!(step["gateway"]["errors"], json!({}));
}

#[tokio::test]
async fn processes_are_watched_and_everything_is_drawn_over_time() {
    let api = ScriptedApi::start(|_: &Request| Reply::Send(completion(""))).await;
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (csv, svg, this) = (path("load.csv"), path("load.svg"), format!("this={}", std::process::id()));
    let arguments = ["--watch", &this, "--sample", "100ms", "--series", &csv, "--plot", &svg];
    let report = bench(&api.url(), &arguments).await.unwrap();
    let process = &report["processes"][0];
    assert_eq!((&process["name"], &process["has_ended"]), (&json!("this"), &json!(false)));
    for figure in ["resident_mb", "open_files", "threads"] {
        assert!(number(&process[figure]["first"]) > 0.0, "{process}");
        assert!(number(&process[figure]["max"]) >= number(&process[figure]["last"]), "{process}");
    }
    let series = std::fs::read_to_string(csv).unwrap();
    let rows: Vec<Vec<_>> = series.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][7..], ["this_resident_bytes", "this_open_files", "this_threads", "this_cpu_seconds"]);
    // One before the load, and one after it at the least.
    assert!(rows.len() > 2 && rows.iter().all(|row| row.len() == 11), "{series}");
    let drawing = std::fs::read_to_string(svg).unwrap();
    for text in ["latency in ms", "memory in MB", "open files"] {
        assert!(drawing.contains(text), "no {text} in {drawing}");
    }
}

#[tokio::test]
async fn an_interrupted_load_is_reported() {
    let mut api = ScriptedApi::start(|_: &Request| Reply::Send(completion(""))).await;
    let mut command = sidecar_command();
    command.args(["bench", "--warmup", "0s", "--duration", "1h", "--gateway", &api.url()]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    within(TIMEOUT, api.received(5)).await;
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = within(TIMEOUT, child.wait_with_output()).await.unwrap();
    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).unwrap();
    let row = table.lines().find_map(|line| line.strip_prefix("gateway  ")).unwrap();
    let requests: usize = row.split_whitespace().next().unwrap().parse().unwrap();
    assert!(requests >= 4, "{table}");
}
