//! Writes log lines in a separate thread, so that neither a log that nobody reads nor a full disk blocks the
//! sidecar. Lines that cannot be written are lost, and counted.
//!
//! tracing-appender's writer does not count lines that cannot be written, and prints to standard output when it ends late, which may be
//! the same pipe that nobody reads.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use tracing_subscriber::fmt::MakeWriter;

/// The maximum number of lines in the queue. Further ones are lost.
const WAITING_LINES: usize = 1024;

/// How long the process waits at its end for the lines in the queue.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Lost lines of all writers together.
static LOST: AtomicU64 = AtomicU64::new(0);

enum Message {
    Line(Vec<u8>),
    /// Dropped once all earlier lines are written.
    End(SyncSender<()>),
}

/// Queues log lines, and never waits.
#[derive(Clone)]
pub(super) struct LogWriter(SyncSender<Message>);

/// Waits on drop until the lines so far are written, for at most a second.
pub struct WrittenLogs(SyncSender<Message>);

impl LogWriter {
    /// Starts the thread.
    pub(super) fn start(writer: impl Write + Send + 'static) -> io::Result<(Self, WrittenLogs)> {
        let (lines, waiting) = sync_channel(WAITING_LINES);
        thread::Builder::new().name("logs".to_owned()).spawn(move || write_all(writer, &waiting))?;
        Ok((Self(lines.clone()), WrittenLogs(lines)))
    }
}

fn write_all(mut writer: impl Write, lines: &Receiver<Message>) {
    for message in lines {
        match message {
            Message::Line(line) => {
                if writer.write_all(&line).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
            Message::End(written) => drop(written),
        }
    }
}

/// The subscriber writes each line with a single call.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Message::Line(line.to_vec())).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Drop for WrittenLogs {
    fn drop(&mut self) {
        let (end, ended) = sync_channel(0);
        // If the queue is full, nobody reads the log, so waiting is useless.
        if self.0.try_send(Message::End(end)).is_ok() {
            let _ = ended.recv_timeout(LAST_LINES);
        }
    }
}

/// How many log lines were lost, as a metric.
#[derive(Debug)]
pub(super) struct LostLines;

impl Collector for LostLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Log lines that could not be written";
        let metric = encoder.encode_descriptor("lost_log_lines", help, None, MetricType::Counter)?;
        ConstCounter::new(LOST.load(Ordering::Relaxed)).encode(metric)
    }
}
