//! TLS for the gRPC service, mutual if a client CA is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// Time limit for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The files for TLS. Without them, the service is plaintext.
#[derive(Debug, Clone, Default, Args)]
pub struct TlsArgs {
    /// Certificate chain of the gRPC service, PEM. Enables TLS.
    #[arg(long, env = "LLM_ROUTER_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, env = "LLM_ROUTER_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// CA certificates, PEM. Only clients with a certificate from one of them are accepted.
    #[arg(long, env = "LLM_ROUTER_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// The TLS configuration of the server. None without TLS.
    ///
    /// # Errors
    /// If a file cannot be read, or one is missing that another needs.
    pub fn load(&self) -> Result<Option<ServerTlsConfig>> {
        let identity = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Identity::from_pem(read(certificate)?, read(key)?),
            (None, None) if self.tls_client_ca.is_none() => return Ok(None),
            (None, None) => bail!("--tls-client-ca needs --tls-cert and --tls-key"),
            _ => bail!("--tls-cert and --tls-key must be set together"),
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
    fn a_file_that_lacks_its_companion_is_rejected() {
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
