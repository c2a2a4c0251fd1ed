//! What real JSON libraries read of the bodies that the fuzzer starts with, as clients send them and as they are rewritten: the
//! fuzzer's models of these libraries say the same, and the model that was chosen is what they find.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, io};

use llm_router_routing::request::{Endpoint, Request};
use llm_router_routing::rewrite::BodyEdits;
use servers::{Server, count, members};

#[path = "../fuzz/src/servers.rs"]
mod servers;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");
const CHOSEN: &str = "chosen";
/// As the programs in `fuzz/servers` have them.
const FIELDS: [&str; 7] =
    ["model", "nim-llm-router", "messages", "system", "prompt", "input", "instructions"];

#[test]
fn go_and_python_read_what_their_models_in_the_fuzzer_read() {
    let bodies = bodies();
    for (server, program, arguments) in [
        (Server::Go, "go", &["run", "servers/read.go"][..]),
        (Server::Python, "python3", &["servers/read.py"]),
    ] {
        let Some(said) = run(program, arguments, &questions(server, &bodies)) else {
            eprintln!("{program} is not installed: not compared");
            continue;
        };
        let said: Vec<_> = said.lines().collect();
        assert_eq!(said.len(), bodies.len(), "{program}");
        for (said, body) in said.iter().zip(&bodies) {
            let is_right = *said == "refuses" || *said == "same" && members(body).is_some();
            assert!(is_right, "{program} {said}: {}", body.escape_ascii());
        }
        let read = said.iter().filter(|said| **said == "same").count();
        assert!(read * 2 > bodies.len(), "{program} reads {read} of {} bodies", bodies.len());
    }
}

/// The seeds, and what each endpoint makes of them.
fn bodies() -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for seed in fs::read_dir(Path::new(FUZZ).join("seeds/parse")).unwrap() {
        let body = fs::read(seed.unwrap().path()).unwrap();
        if body.is_empty() {
            continue;
        }
        for endpoint in Endpoint::ALL {
            let Ok(request) = Request::parse(endpoint, &body) else { continue };
            let rewritten =
                request.into_rewrite().for_model(CHOSEN, &BodyEdits::default(), &body).apply(&body);
            if members(&body).is_some() {
                let members = members(&rewritten).unwrap();
                let model = Server::ALL.map(|server| server.reads(&members, "model").unwrap());
                assert_eq!(model, [format!("{CHOSEN:?}").as_bytes(); 2]);
                assert!(FIELDS.iter().all(|field| !is_read(endpoint, field) || count(&members, field) <= 1));
            }
            bodies.push(rewritten);
        }
        bodies.push(body);
    }
    bodies
}

fn is_read(endpoint: Endpoint, field: &str) -> bool {
    Request::known_members(endpoint).any(|name| name == field)
}

fn questions(server: Server, bodies: &[Vec<u8>]) -> String {
    let question = |body: &Vec<u8>| {
        let members = members(body).unwrap_or_default();
        let expected = FIELDS.map(|field| server.reads(&members, field).map_or("-".to_owned(), hex));
        format!("{} {}\n", hex(body), expected.join(" "))
    };
    bodies.iter().map(question).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a program prints; none if there is no such program.
fn run(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(FUZZ).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        spawned => spawned.unwrap(),
    };
    // It prints less than a pipe holds.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", output.status);
    Some(String::from_utf8(output.stdout).unwrap())
}
