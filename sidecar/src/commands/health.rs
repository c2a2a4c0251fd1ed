//! `health`: checks whether a running sidecar is ready, for containers without a shell.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

/// Time limit for the connection and for the response, about that of a Kubernetes probe.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Options of `health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The admin address of the sidecar, as passed to `serve`.
    #[arg(long, env = "LLM_ROUTER_ADMIN", value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    admin: SocketAddr,
}

/// Succeeds if the sidecar is ready.
///
/// # Errors
/// If it is not ready, or does not respond.
pub fn run(args: &HealthArgs) -> Result<()> {
    let response = ask(args.admin).with_context(|| args.admin.to_string())?;
    let status = response.split(' ').nth(1);
    ensure!(status == Some("200"), "not ready: {}", response.lines().next().unwrap_or("no response"));
    Ok(())
}

fn ask(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn health_of(response: &'static [u8]) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; "GET /readyz HTTP/1.0\r\n\r\n".len()]).unwrap();
            stream.write_all(response).unwrap();
        });
        let found = run(&HealthArgs { admin });
        server.join().unwrap();
        found
    }

    #[test]
    fn status_200_is_ready() {
        health_of(b"HTTP/1.0 200 OK\r\n\r\nready\n").unwrap();
    }

    #[test]
    fn another_status_or_no_response_is_not_ready() {
        let error = health_of(b"HTTP/1.0 503 Service Unavailable\r\n\r\nnot ready\n").unwrap_err();
        assert_eq!(error.to_string(), "not ready: HTTP/1.0 503 Service Unavailable");
        assert_eq!(health_of(b"").unwrap_err().to_string(), "not ready: no response");
    }

    #[test]
    fn an_error_to_connect_names_the_address() {
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(run(&HealthArgs { admin }).unwrap_err().to_string(), admin.to_string());
    }
}
