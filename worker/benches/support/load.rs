//! A closed loop of keep-alive connections that is cheap enough to share two cores with the worker: prebuilt request
//! bytes, answers of a known length, no parsing.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weir_protocol::codec::Encoded;
use weir_worker::tasks::Tasks;

/// Connections that send and await in turn until stopped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    tasks: Tasks,
}

#[derive(Default)]
struct Shared {
    answered: AtomicU64,
    failed: AtomicBool,
    stopped: AtomicBool,
}

impl Load {
    pub(crate) async fn start(
        address: SocketAddr,
        model: &str,
        encoded: &Encoded,
        connections: usize,
    ) -> Result<Self> {
        let json_part =
            encoded.json_len.map(|length| format!("inference-header-content-length: {length}\r\n"));
        let head = format!(
            "POST /v2/models/{model}/infer HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n{}\r\n",
            encoded.body.len(),
            json_part.unwrap_or_default(),
        );
        let request = Bytes::from([head.as_bytes(), &encoded.body].concat());
        let (shared, tasks) = (Arc::new(Shared::default()), Tasks::default());
        for _ in 0..connections {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (request, shared) = (request.clone(), Arc::clone(&shared));
            let length = first_answer(&mut stream, &request).await?;
            tasks.spawn("connection", async move {
                if converse(stream, &request, length, &shared).await.is_err() {
                    shared.failed.store(true, Ordering::Relaxed);
                }
            });
        }
        Ok(Self { shared, tasks })
    }

    /// Answers so far.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Lets every connection finish its request.
    pub(crate) async fn stop(self) -> Result<()> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        ensure!(self.tasks.wait(std::time::Duration::from_secs(30)).await, "a connection does not end");
        ensure!(!self.shared.failed.load(Ordering::Relaxed), "a request was not answered with 200");
        Ok(())
    }
}

/// Sends the first request and finds out how long every answer is: all are alike.
async fn first_answer(stream: &mut TcpStream, request: &[u8]) -> Result<usize> {
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    loop {
        stream.read_buf(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer);
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body: usize = length.context("an answer with a length")?.parse()?;
        ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
        let whole = head + 4 + body;
        while answer.len() < whole {
            stream.read_buf(&mut answer).await?;
        }
        return Ok(whole);
    }
}

async fn converse(mut stream: TcpStream, request: &[u8], length: usize, shared: &Shared) -> Result<()> {
    let mut answer = vec![0; length];
    while !shared.stopped.load(Ordering::Relaxed) {
        stream.write_all(request).await?;
        stream.read_exact(&mut answer).await?;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "not a result");
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
