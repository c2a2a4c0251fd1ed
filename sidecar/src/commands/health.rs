//! `health`: asks a running sidecar whether it is ready, for containers without a shell.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

/// The probe's own time limit is about this.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Options of `health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The admin address of the sidecar, as it was given to `serve`.
    #[arg(long, env = "LLM_ROUTER_ADMIN", value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    admin: SocketAddr,
}

/// Returns if it is ready.
///
/// # Errors
/// It is not ready, or does not answer.
pub fn run(args: &HealthArgs) -> Result<()> {
    let answer = ask(args.admin).with_context(|| args.admin.to_string())?;
    let status = answer.split(' ').nth(1);
    ensure!(status == Some("200"), "not ready: {}", answer.lines().next().unwrap_or("no answer"));
    Ok(())
}

fn ask(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn of(answer: &'static [u8]) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; "GET /readyz HTTP/1.0\r\n\r\n".len()]).unwrap();
            stream.write_all(answer).unwrap();
        });
        let found = run(&HealthArgs { admin });
        server.join().unwrap();
        found
    }

    #[test]
    fn a_sidecar_that_says_so_is_ready() {
        of(b"HTTP/1.0 200 OK\r\n\r\nready\n").unwrap();
    }

    #[test]
    fn one_that_is_starting_or_leaving_or_says_nothing_is_not() {
        let error = of(b"HTTP/1.0 503 Service Unavailable\r\n\r\nnot ready\n").unwrap_err();
        assert_eq!(error.to_string(), "not ready: HTTP/1.0 503 Service Unavailable");
        assert_eq!(of(b"").unwrap_err().to_string(), "not ready: no answer");
    }

    #[test]
    fn nobody_there_is_an_error_with_the_address() {
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(run(&HealthArgs { admin }).unwrap_err().to_string(), admin.to_string());
    }
}
