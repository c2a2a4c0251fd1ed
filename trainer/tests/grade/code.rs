//! Rows whose tests run the code of completions.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::provider::{MockProvider, Reply};
use crate::{Run, grades};

/// An interpreter that the user of the tested code can run. If the tests run as root, that is the user
/// nobody.
fn python() -> &'static str {
    let usable = |path: &&str| {
        let output = Command::new(path).args(["-c", "import sys; print(sys.executable)"]).output();
        output.is_ok_and(|output| !output.stdout.starts_with(b"/root") && output.status.success())
    };
    ["python3", "/usr/bin/python3", "/usr/local/bin/python3"].into_iter().find(usable).unwrap()
}

/// Grades one row whose tests check `double(2) == 4`, with this code from the weak model and correct code from the strong one.
fn grade(code: &'static str) -> Value {
    let provider = MockProvider::start(move |request| match request.model.as_str() {
        "small" => Reply::text(code),
        _ => Reply::text("Here:\n```python\ndef double(x):\n    return 2 * x\n```\nDone."),
    });
    let run = Run::new(
        &provider,
        &[r#"{"text": "Write double(x).", "tests": "assert double(2) == 4\nassert double(0) == 0"}"#],
    );
    run.succeed(&["--run-code", "--python", python(), "--code-timeout", "6s"]);
    let graded = run.graded().remove(0);
    assert_eq!((graded["strong"].as_f64(), &graded["method"]), (Some(1.0), &"tests".into()), "{graded}");
    assert_eq!(graded["test_results"]["strong"], "passed");
    graded
}

fn assert_fails(code: &'static str, why: &str) {
    let graded = grade(code);
    assert_eq!(graded["weak"].as_f64(), Some(0.0), "{graded}");
    let detail = graded["test_results"]["weak"].as_str().unwrap();
    assert!(detail.contains(why), "{detail:?}");
}

#[test]
fn code_passes_or_fails_its_tests() {
    assert_eq!(
        grade("```python\ndouble = lambda x: x + x\nprint('x' * 100_000)\n```")["weak"].as_f64(),
        Some(1.0)
    );
    assert_fails("```python\ndef double(x):\n    return 4\n```", "AssertionError");
    assert_fails("```python\ndef double(x)\n```", "SyntaxError");
    assert_fails("It is x + x.", "no fenced block of Python");
}

#[test]
fn code_that_ends_the_process_does_not_pass() {
    assert_fails("```python\nimport sys\nsys.exit(0)\n```", "ended before the end of the tests");
    assert_fails("```python\nimport os\nos._exit(0)\n```", "ended before the end of the tests");
}

#[test]
fn code_cannot_use_more_than_its_limits() {
    assert_fails("```python\nwhile True:\n    pass\n```", "timed out after 6s");
    assert_fails("```python\nx = bytearray(8 << 30)\n```", "MemoryError");
    assert_fails("```python\nopen('x', 'wb').write(bytes(64 << 20))\n```", "too large");
    // A fork bomb cannot start one process.
    assert_fails("```python\nimport os\nwhile True:\n    os.fork()\n```", "BlockingIOError");
    assert_fails("```python\nimport subprocess\nsubprocess.run(['true'])\n```", "BlockingIOError");
}

#[test]
fn code_sees_neither_the_environment_nor_the_network() {
    // The variables of grade's own process are not there.
    let code = "```python\nimport os\ndef double(x):\n    assert 'PATH' not in os.environ and 'CARGO_PKG_NAME' not in os.environ\n    return 2 * x\n```";
    assert_eq!(grade(code)["weak"].as_f64(), Some(1.0));
    assert_fails("```python\nimport socket\nsocket.create_connection(('127.0.0.1', 22), 1)\n```", "Error");
}

#[test]
fn code_is_not_run_without_permission() {
    let provider = MockProvider::start(|_| Reply::text("x"));
    let run =
        Run::new(&provider, &[r#"{"text": "a", "answer": "x"}"#, r#"{"text": "b", "tests": "assert True"}"#]);
    let error = run.fail(&[]);
    assert!(
        error.contains("line 2: the field \"tests\" runs code") && error.contains("use --run-code"),
        "{error}"
    );
    let error = run.fail(&["--run-code", "--python", "/bin/true"]);
    assert!(error.contains("/bin/true is not a Python interpreter"), "{error}");
    assert_eq!(provider.count(), 0);
}

#[test]
fn tests_run_once() {
    let provider = MockProvider::start(|_| Reply::text("```python\nx = 1\n```"));
    let run = Run::new(&provider, &[r#"{"text": "Set x.", "tests": "assert x == 1"}"#]);
    run.succeed(&["--run-code", "--python", python()]);
    let length = || Path::new(&run.path("graded.jsonl.journal.jsonl")).metadata().unwrap().len();
    let before = length();
    run.succeed(&["--run-code", "--python", python()]);
    assert_eq!((length(), grades(&run.graded())), (before, vec![(1.0, 1.0)]));
}

#[test]
fn a_key_that_code_has_found_is_not_written() {
    let provider = MockProvider::start(|_| Reply::text("```python\nraise ValueError('sk-' + 'secret')\n```"));
    let run = Run::new(&provider, &[r#"{"text": "Set x.", "tests": "assert x == 1"}"#]);
    let mut command = run.command(&["--run-code", "--python", python()]);
    assert!(command.env("OPENAI_API_KEY", "sk-secret").output().unwrap().status.success());
    assert_eq!(run.graded()[0]["test_results"]["weak"], "ValueError: [key]");
    for name in ["graded.jsonl", "graded.jsonl.journal.jsonl"] {
        assert!(!std::fs::read_to_string(run.path(name)).unwrap().contains("sk-secret"), "{name}");
    }
}

#[test]
fn code_reads_no_other_process() {
    let code = "```python\nimport os\nopen(f'/proc/{os.getppid()}/environ', 'rb').read()\n```";
    assert_fails(code, "PermissionError");
}
