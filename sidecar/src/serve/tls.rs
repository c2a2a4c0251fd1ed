//! TLS for the gRPC service, mutual if a client CA is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// How long a client may take over its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The files; none of them without TLS.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsArgs {
    /// Certificate chain of the gRPC service, PEM: it is served with TLS then.
    #[arg(long, env = "LLM_ROUTER_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, env = "LLM_ROUTER_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// CA certificates, PEM: only clients with a certificate by one of them are served.
    #[arg(long, env = "LLM_ROUTER_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// The server's TLS, if it is wanted.
    ///
    /// # Errors
    /// If a file cannot be read, or one is missing that another needs.
    pub fn load(&self) -> Result<Option<ServerTlsConfig>> {
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Identity::from_pem(read(certificate)?, read(key)?),
            (None, None) if self.tls_client_ca.is_none() => return Ok(None),
            (None, None) => bail!("--tls-client-ca needs --tls-cert and --tls-key"),
            _ => bail!("--tls-cert and --tls-key need each other"),
        };
        let tls = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE);
        Ok(Some(match &self.tls_client_ca {
            Some(ca) => tls.client_ca_root(Certificate::from_pem(read(ca)?)),
            None => tls,
        }))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_files_there_is_no_tls() {
        assert!(TlsArgs::default().load().unwrap().is_none());
    }

    #[test]
    fn a_file_that_lacks_its_companion_is_refused() {
        let some = || Some(PathBuf::from("some.pem"));
        for args in [
            TlsArgs { tls_cert: some(), ..TlsArgs::default() },
            TlsArgs { tls_key: some(), ..TlsArgs::default() },
            TlsArgs { tls_client_ca: some(), ..TlsArgs::default() },
        ] {
            assert!(args.load().unwrap_err().to_string().contains("--tls-cert"), "{args:?}");
        }
    }
}
