//! A run that is interrupted continues, and pays for nothing twice.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::provider::{MockProvider, Reply};
use crate::{Ended, Run};

/// Requests that get a completion before the provider holds them back.
const SERVED: usize = 10;

/// A provider that holds back all requests after the first ones, until it is opened.
fn provider() -> MockProvider {
    let served = std::sync::atomic::AtomicUsize::new(0);
    MockProvider::start(move |_| match served.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        ..SERVED => Reply::text("yes"),
        _ => Reply::Held("yes".to_owned()),
    })
}

/// Starts a run with four requests at a time, and waits until the provider holds back four.
fn start(run: &Run<'_>, arguments: &[&str]) -> Child {
    let mut command = run.command(&[&["--concurrency", "4"], arguments].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    run.provider.wait_for(SERVED + 4);
    child
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Reads lines up to one with this text, and returns that one.
fn read_to(lines: &mut impl BufRead, text: &str) -> String {
    let found = lines.lines().map(Result::unwrap).find(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("no line with {text:?}"))
}

#[test]
fn ctrl_c_waits_for_requests_in_flight_and_the_next_run_continues() {
    let provider = provider();
    let run = Run::on_prompts(&provider, 20);
    let mut child = start(&run, &[]);
    signal(&child, "INT");
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    // The run has noticed the signal before any request in flight ends.
    read_to(&mut errors, "stopping");
    provider.open();
    let error = read_to(&mut errors, "run the same command again");
    assert!(error.contains("of 20 prompts are graded"), "{error}");
    assert!(!child.wait().unwrap().success());
    assert_eq!(provider.count(), SERVED + 4, "nothing is sent after Ctrl-C");
    let graded = run.graded().len();
    assert!((5..=7).contains(&graded), "{graded}");
    run.succeed(&["--concurrency", "4"]);
    assert_eq!(run.graded().len(), 20);
    assert_eq!(provider.count(), 40);
    assert!(provider.counts().into_values().all(|count| count == 1), "{:?}", provider.counts());
    // All is done: another run sends nothing and writes the same.
    let before = run.graded();
    run.succeed(&[]);
    assert_eq!((provider.count(), run.graded()), (40, before));
}

#[test]
fn ctrl_c_does_not_wait_for_long() {
    let provider = provider();
    let run = Run::on_prompts(&provider, 20);
    let child = start(&run, &["--max-requests", "100"]);
    signal(&child, "TERM");
    // The provider never responds to the requests in flight.
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert!(ended.errors.contains("interrupted: "), "{}", ended.errors);
    assert!((3..=5).contains(&run.graded().len()), "{}", run.graded().len());
    provider.open();
    run.succeed(&[]);
    assert_eq!((provider.count(), run.graded().len()), (44, 20));
}

#[test]
fn a_second_ctrl_c_stops_at_once() {
    let provider = provider();
    let run = Run::on_prompts(&provider, 20);
    let mut child = start(&run, &[]);
    // The first signal may still be pending when the second one comes, so repeat it.
    let status = loop {
        signal(&child, "INT");
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_killed_run_continues_and_its_open_requests_count() {
    let provider = provider();
    let run = Run::on_prompts(&provider, 20);
    let mut child = start(&run, &[]);
    signal(&child, "KILL");
    child.wait().unwrap();
    assert!(!run.path("graded.jsonl").exists());
    // The partial last line of a killed process.
    let journal = run.path("graded.jsonl.journal.jsonl");
    let mut torn = std::fs::read(&journal).unwrap();
    torn.extend(br#"{"completion":{"numb"#);
    std::fs::write(&journal, torn).unwrap();
    provider.open();
    // 14 requests were sent; those without a result count.
    let ended = run.succeed(&["--max-requests", "20"]);
    assert!(ended.errors.contains("--max-requests 20 is used up"), "{}", ended.errors);
    assert_eq!(provider.count(), 20);
    run.succeed(&[]);
    assert_eq!(run.graded().len(), 20);
    let counts = provider.counts();
    let twice = counts.values().filter(|&&count| count > 1).count();
    assert!(twice <= 4 && counts.values().all(|&count| count <= 2), "{counts:?}");
    assert_eq!(provider.count(), 40 + twice);
}

#[test]
fn two_pairs_share_a_journal() {
    let provider = MockProvider::start(|_| Reply::text("yes"));
    let mut run = Run::on_prompts(&provider, 5);
    run.succeed(&["--journal", "all.jsonl"]);
    run.strong = "huge".to_owned();
    run.succeed(&["--journal", "all.jsonl"]);
    assert_eq!(provider.count(), 15);
    assert!(provider.received()[10..].iter().all(|request| request.model == "huge"));
}

#[test]
fn a_journal_is_used_by_one_run_at_a_time_and_other_files_are_kept() {
    let provider = provider();
    let run = Run::on_prompts(&provider, 20);
    let mut child = start(&run, &[]);
    assert!(run.fail(&[]).contains("another run uses the journal"));
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(run.path("mine.jsonl"), "{\"text\": \"mine\"}\n").unwrap();
    assert!(run.fail(&["--journal", "mine.jsonl"]).contains("is not a journal of `grade`"));
    assert_eq!(std::fs::read_to_string(run.path("mine.jsonl")).unwrap(), "{\"text\": \"mine\"}\n");
}
