//! Limits on connections: their number, and how long they may be idle. Otherwise, idle ones could take all file descriptors, which
//! a reload needs, too.

use std::fs;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tonic::transport::server::Connected;

/// A connection on which nothing is read or written for this long is closed. In use, gRPC connections have keepalive pings
/// every 30 s, and a request to the admin API takes less.
const IDLE: Duration = Duration::from_secs(60);

/// The limits of one address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// The maximum number of connections at a time.
    connections: usize,
    /// They take at most one of this number of the process's file descriptors.
    part: usize,
    /// How long a connection may be idle.
    idle: Duration,
    /// Whether a peer that sends bit by bit is idle, too, until it gets a response.
    wants_responses: bool,
}

impl Limit {
    /// For Envoys, which need a few connections each.
    pub(super) const GRPC: Self = Self { connections: 10_000, part: 2, idle: IDLE, wants_responses: false };

    /// For operators, probes and Prometheus.
    pub(super) const ADMIN: Self = Self { connections: 1000, part: 8, idle: IDLE, wants_responses: true };

    /// The maximum number of connections, if the process may open this many files.
    fn within(self, files: Option<usize>) -> usize {
        files.map_or(self.connections, |files| self.connections.min(files / self.part)).max(1)
    }
}

/// The number of files that this process may open, if the system reports a limit.
fn file_limit() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Accepts connections only while fewer than the limit are open. Further ones wait in the system's queue.
pub(super) fn limited<C: Send>(
    accepted: impl Stream<Item = C> + Send,
    limit: Limit,
) -> impl Stream<Item = Connection<C>> + Send {
    let room = Room::new(limit.within(file_limit()));
    stream::unfold((Box::pin(accepted), room), move |(mut accepted, mut room)| async move {
        let permit = room.acquire().await?;
        let inner = accepted.next().await?;
        Some((Connection::new(inner, permit, limit), (accepted, room)))
    })
}

/// Permits for connections. Reports once when none are left.
struct Room {
    permits: Arc<Semaphore>,
    maximum: usize,
    is_reported: bool,
}

impl Room {
    fn new(maximum: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(maximum)), maximum, is_reported: false }
    }

    /// Waits for a permit; none never happens, because the semaphore is not closed.
    async fn acquire(&mut self) -> Option<OwnedSemaphorePermit> {
        let free = self.permits.available_permits();
        if free == 0 && !self.is_reported {
            tracing::warn!(
                maximum = self.maximum,
                "the maximum number of connections is open; new ones wait"
            );
        }
        self.is_reported = free <= self.maximum / 2 && (self.is_reported || free == 0);
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}

/// A connection that counts until it is dropped, and that fails once it has been idle for too long.
pub struct Connection<C> {
    inner: C,
    limit: Limit,
    last_use: Instant,
    /// Whether something was read after the last write.
    is_reading: bool,
    /// Wakes the reader when the connection may have been idle for too long.
    timer: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl<C> Connection<C> {
    fn new(inner: C, permit: OwnedSemaphorePermit, limit: Limit) -> Self {
        let timer = Box::pin(sleep(limit.idle));
        Self { inner, limit, last_use: Instant::now(), is_reading: false, timer, _permit: permit }
    }

    /// Records that something was read.
    fn has_read(&mut self) {
        if !(self.is_reading && self.limit.wants_responses) {
            self.last_use = Instant::now();
        }
        self.is_reading = true;
    }

    /// Records whether something was written.
    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.last_use = Instant::now();
            self.is_reading = false;
        }
        written
    }

    /// Fails once the connection has been idle for too long.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.timer.as_mut().poll(context).is_ready() {
            let end = self.last_use + self.limit.idle;
            if end <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Connection<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Pending => this.poll_idle(context),
            read @ Poll::Ready(_) => {
                this.has_read();
                read
            }
        }
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Connection<C> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.written(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(context, parts);
        this.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

impl<C: Connected> Connected for Connection<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Connections with these limits, and the clients' ends.
    fn connections(
        limit: Limit,
        count: usize,
    ) -> (impl Stream<Item = Connection<DuplexStream>> + Send + Unpin, Vec<DuplexStream>) {
        let (clients, servers): (Vec<_>, Vec<_>) = (0..count).map(|_| duplex(64)).unzip();
        (Box::pin(limited(stream::iter(servers), limit)), clients)
    }

    const FEW: Limit = Limit { connections: 2, part: 1, idle: IDLE, wants_responses: false };

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_until_others_end() {
        let (mut connections, _clients) = connections(FEW, 3);
        let first = connections.next().await.unwrap();
        let _second = connections.next().await.unwrap();
        assert!(connections.next().now_or_never().is_none());
        drop(first);
        assert!(connections.next().await.is_some());
    }

    #[tokio::test]
    async fn an_idle_connection_fails_and_one_in_use_does_not() {
        let limit = Limit { idle: Duration::from_millis(20), ..FEW };
        let (mut connections, mut clients) = connections(limit, 1);
        let mut connection = connections.next().await.unwrap();
        let start = Instant::now();
        let mut byte = [0];
        while start.elapsed() < 5 * limit.idle {
            clients[0].write_all(b"x").await.unwrap();
            connection.read_exact(&mut byte).await.unwrap();
        }
        let error = connection.read(&mut byte).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_request_that_comes_bit_by_bit_fails_and_a_series_of_requests_does_not() {
        let limit = Limit { idle: Duration::from_millis(20), wants_responses: true, ..FEW };
        let (mut connections, mut clients) = connections(limit, 1);
        let mut connection = connections.next().await.unwrap();
        let mut byte = [0];
        let start = Instant::now();
        while start.elapsed() < 5 * limit.idle {
            clients[0].write_all(b"x").await.unwrap();
            connection.read_exact(&mut byte).await.unwrap();
            assert!(connection.read(&mut byte).now_or_never().is_none());
            connection.write_all(b"y").await.unwrap();
            clients[0].read_exact(&mut byte).await.unwrap();
        }
        let error = loop {
            clients[0].write_all(b"x").await.unwrap();
            connection.read_exact(&mut byte).await.unwrap();
            if let Some(read) = connection.read(&mut byte).now_or_never() {
                break read.unwrap_err();
            }
            // The timer needs the runtime.
            tokio::task::yield_now().await;
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_part_of_the_file_descriptors_is_left_for_files() {
        assert_eq!(Limit::GRPC.within(Some(1024)), 512);
        assert_eq!(Limit::GRPC.within(Some(1 << 20)), 10_000);
        assert_eq!(Limit::ADMIN.within(Some(1024)), 128);
        assert_eq!(Limit::ADMIN.within(None), 1000);
        assert_eq!(Limit::ADMIN.within(Some(1)), 1);
        assert!(file_limit().is_none_or(|files| files > 0));
    }
}
