//! Listens on TCP or on a Unix socket, limits the connections, and survives failures to accept.

use std::fs::{self, Metadata, Permissions};
use std::future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::address::ListenAddress;
use super::connections::{Connection, Limit, limited};

/// How long to wait after a failure to accept, such as too many open files: an immediate retry would only fail again.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A bound address.
pub enum Listener {
    /// On TCP.
    Tcp(TcpListener),
    /// On a socket in the file system.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket, removed on drop unless another process has replaced it.
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl SocketFile {
    fn id(metadata: &Metadata) -> (u64, u64) {
        (metadata.dev(), metadata.ino())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // While this process finishes its requests, the next one may already listen at the same path.
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| Self::id(&metadata) == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Binds the address. A Unix socket gets the mode, and replaces one that nobody listens on any more.
    ///
    /// # Errors
    /// If the address is in use or not local, or the path exists and is not a stale socket.
    pub async fn bind(address: &ListenAddress, socket_mode: u32) -> Result<Self> {
        match address {
            ListenAddress::Tcp(address) => {
                TcpListener::bind(address).await.map(Self::Tcp).map_err(Into::into)
            }
            ListenAddress::Unix(path) => bind_unix(path, socket_mode),
        }
        .with_context(|| format!("cannot listen on {address}"))
    }

    /// The address, with the actual port if the configured one was 0.
    ///
    /// # Errors
    /// If the system does not report it.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Self::Unix(_, file) => Ok(ListenAddress::Unix(file.path.clone())),
        }
    }
}

/// Creates the socket under another name and then renames it, so that the path never has other permissions, and is never
/// absent while the socket replaces a stale one.
fn bind_unix(path: &Path, mode: u32) -> Result<Listener> {
    if let Ok(existing) = fs::symlink_metadata(path) {
        ensure!(existing.file_type().is_socket(), "the path exists and is not a socket");
        ensure!(StdUnixStream::connect(path).is_err(), "another process listens on it");
    }
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push("~");
    // Left over from a process that was killed at this point.
    let _ = fs::remove_file(&unfinished);
    let listener = UnixListener::bind(&unfinished)?;
    fs::set_permissions(&unfinished, Permissions::from_mode(mode))?;
    let id = SocketFile::id(&fs::symlink_metadata(&unfinished)?);
    fs::rename(&unfinished, path)?;
    Ok(Listener::Unix(listener, SocketFile { path: path.to_owned(), id }))
}

/// The connections to a TCP listener, limited in number and in idle time. None is an error: tonic would stop the server at it.
pub fn tcp(listener: TcpListener) -> impl Stream<Item = io::Result<Connection<TcpStream>>> + Send {
    limited_tcp(listener, Limit::GRPC).map(Ok)
}

/// The connections to a Unix socket, limited in number and in idle time. None is an error, either.
pub fn unix(listener: UnixListener) -> impl Stream<Item = io::Result<Connection<UnixStream>>> + Send {
    let accepted = stream::poll_fn(move |context| listener.poll_accept(context).map(Some));
    let connections = without_failures(accepted.map(|accepted| accepted.map(|(connection, _)| connection)));
    limited(connections, Limit::GRPC).map(Ok)
}

fn limited_tcp(listener: TcpListener, limit: Limit) -> impl Stream<Item = Connection<TcpStream>> + Send {
    let accepted = stream::poll_fn(move |context| listener.poll_accept(context).map(Some));
    let connections = without_failures(accepted.map(|accepted| {
        let (connection, _) = accepted?;
        // Responses are small, and nothing follows that they could be batched with.
        connection.set_nodelay(true)?;
        Ok(connection)
    }));
    limited(connections, limit)
}

/// Listens for operators, with limits of its own.
pub(super) struct AdminListener {
    connections: BoxStream<'static, Connection<TcpStream>>,
    address: SocketAddr,
}

impl AdminListener {
    /// Binds the address.
    ///
    /// # Errors
    /// If the address is in use or not local.
    pub(super) async fn bind(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        Ok(Self { connections: limited_tcp(listener, Limit::ADMIN).boxed(), address })
    }

    /// The address, with the actual port if the configured one was 0.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl axum::serve::Listener for AdminListener {
    type Io = Connection<TcpStream>;
    type Addr = ();

    async fn accept(&mut self) -> (Self::Io, ()) {
        match self.connections.next().await {
            Some(connection) => (connection, ()),
            // Never: the stream does not end.
            None => future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs and drops the failures.
fn without_failures<C: Send>(
    accepted: impl Stream<Item = io::Result<C>> + Send,
) -> impl Stream<Item = C> + Send {
    accepted.filter_map(|accepted| async {
        match accepted {
            Ok(connection) => Some(connection),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                None
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn bind(path: &Path) -> Result<Listener> {
        Listener::bind(&ListenAddress::Unix(path.to_owned()), 0o600).await
    }

    #[tokio::test]
    async fn a_socket_has_its_mode_replaces_a_stale_one_and_is_removed_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

        let listener = bind(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let Listener::Unix(listener, file) = listener else { panic!("not a Unix socket") };
        let mut connections = Box::pin(unix(listener));
        let _client = UnixStream::connect(&path).await.unwrap();
        assert!(connections.next().await.unwrap().is_ok());

        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_socket_of_the_next_process_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let Listener::Unix(old, old_file) = bind(&path).await.unwrap() else { panic!("not a Unix socket") };
        // While it finishes its requests, the old process accepts no connections.
        drop(old);
        let next = bind(&path).await.unwrap();
        drop(old_file);
        UnixStream::connect(&path).await.unwrap();
        drop(next);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_in_use_and_another_file_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (used, file) = (folder.path().join("used"), folder.path().join("file"));
        let _used = std::os::unix::net::UnixListener::bind(&used).unwrap();
        fs::write(&file, "data").unwrap();
        for (path, reason) in [(&used, "another process"), (&file, "not a socket")] {
            let error = format!("{:#}", bind(path).await.err().unwrap());
            assert!(error.contains(reason), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"data");
    }

    #[tokio::test]
    async fn a_failure_to_accept_does_not_stop_the_server() {
        let accepted = stream::iter([Err(io::Error::other("too many open files")), Ok(1)]);
        let connections: Vec<_> = without_failures(accepted).collect().await;
        assert_eq!(connections, [1]);
    }
}
