//! The load: blocking threads with one keep-alive connection each, as cheap as a client can be, so that the proxy
//! and not the client is measured.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

/// Threads of the open loop: enough that a slow answer does not delay the next request.
const OPEN_LOOP_THREADS: usize = 16;
/// Longest wait for an answer; a benchmark that hangs is a failed benchmark.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_types, reason = "a benchmark measures real time")]
type Clock = std::time::Instant;

/// A request, and where it goes.
pub(crate) struct Load {
    port: u16,
    request: Vec<u8>,
}

impl Load {
    /// An infer request with a body of the given size.
    pub(crate) fn new(port: u16, body_bytes: usize) -> Self {
        let head = format!(
            "POST /v2/models/bench/infer HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/octet-stream\r\n\
             content-length: {body_bytes}\r\n\r\n"
        );
        let mut request = head.into_bytes();
        request.resize(request.len() + body_bytes, b'x');
        Self { port, request }
    }

    /// Sends `requests` over `connections`, each sending the next as soon as it was answered. Answers the time it took.
    pub(crate) fn closed_loop(&self, connections: usize, requests: usize) -> Result<Duration> {
        let left = AtomicUsize::new(requests);
        let begin = Clock::now();
        let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
        thread::scope(|scope| {
            let spawn = |_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(self.port)?;
                    while take() {
                        connection.exchange(&self.request)?;
                    }
                    Ok(())
                })
            };
            let threads: Vec<_> = (0..connections).map(spawn).collect();
            threads.into_iter().try_for_each(join)
        })?;
        Ok(begin.elapsed())
    }

    /// Sends at a constant rate and answers p50 and p99 in microseconds, counted from when each request was due.
    pub(crate) fn open_loop(&self, rate: f64, time: Duration) -> Result<(f64, f64)> {
        let interval = Duration::from_secs_f64(OPEN_LOOP_THREADS as f64 / rate);
        let begin = Clock::now() + Duration::from_millis(20);
        let mut latencies = thread::scope(|scope| {
            let spawn = |index: usize| {
                let first = begin + interval.mul_f64(index as f64 / OPEN_LOOP_THREADS as f64);
                scope.spawn(move || self.paced(first, interval, begin + time))
            };
            let threads: Vec<_> = (0..OPEN_LOOP_THREADS).map(spawn).collect();
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?
        .concat();
        latencies.sort_unstable();
        let at = |share: f64| {
            let index = (latencies.len() as f64 * share) as usize;
            latencies.get(index.min(latencies.len().saturating_sub(1))).map(|nanos| *nanos as f64 / 1_000.0)
        };
        at(0.5).zip(at(0.99)).context("no request was sent")
    }

    fn paced(&self, first: Clock, interval: Duration, end: Clock) -> Result<Vec<u64>> {
        let mut connection = Connection::open(self.port)?;
        let mut latencies = Vec::new();
        let mut due = first;
        while due < end {
            let wait = due.saturating_duration_since(Clock::now());
            if !wait.is_zero() {
                #[expect(clippy::disallowed_methods, reason = "pacing: there is no event to wait for")]
                thread::sleep(wait);
            }
            // The timer's own lateness is the client's, not the proxy's: count from the send unless it fell behind.
            let sent = if wait.is_zero() { due } else { Clock::now() };
            connection.exchange(&self.request)?;
            latencies.push(u64::try_from(sent.elapsed().as_nanos())?);
            due += interval;
        }
        Ok(latencies)
    }
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a client thread panicked"))
}

/// One keep-alive connection.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { stream, buffer: vec![0; 16 * 1024] })
    }

    /// Sends a request and reads its answer, which must be a 200 with a Content-Length.
    fn exchange(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(self.buffer.get_mut(filled..).unwrap_or_default())?;
            ensure!(read > 0, "the connection was closed before an answer was complete");
            filled += read;
            if complete(self.buffer.get(..filled).unwrap_or_default())? {
                return Ok(());
            }
        }
    }
}

/// Whether a whole answer is in the buffer.
fn complete(answer: &[u8]) -> Result<bool> {
    let Some(head_end) = find(answer, b"\r\n\r\n") else { return Ok(false) };
    let head = String::from_utf8_lossy(answer.get(..head_end).unwrap_or_default()).to_ascii_lowercase();
    ensure!(head.starts_with("http/1.1 200"), "not a 200: {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.context("no Content-Length in the answer")?.trim().parse()?;
    Ok(answer.len() >= head_end + 4 + length)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
