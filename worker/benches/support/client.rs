//! A keep-alive connection that sends the same request again and again: prebuilt bytes, answers of a known length, no
//! parsing, so that it is cheap enough to share two cores with the worker.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weir_protocol::codec::Encoded;

/// A connection whose first request was answered.
pub(crate) struct Client {
    stream: TcpStream,
    request: Bytes,
    /// Room for a whole answer: all are alike.
    answer: Vec<u8>,
}

impl Client {
    /// Connects, asks once and learns how long an answer is.
    pub(crate) async fn connect(address: SocketAddr, model: &str, encoded: &Encoded) -> Result<Self> {
        let json_part =
            encoded.json_len.map(|length| format!("inference-header-content-length: {length}\r\n"));
        let head = format!(
            "POST /v2/models/{model}/infer HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n{}\r\n",
            encoded.body.len(),
            json_part.unwrap_or_default(),
        );
        let request = Bytes::from([head.as_bytes(), &encoded.body].concat());
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let length = first_answer(&mut stream, &request).await?;
        Ok(Self { stream, request, answer: vec![0; length] })
    }

    /// Sends the request and reads the answer.
    pub(crate) async fn ask(&mut self) -> Result<()> {
        self.stream.write_all(&self.request).await?;
        self.stream.read_exact(&mut self.answer).await?;
        ensure!(self.answer.starts_with(b"HTTP/1.1 200"), "not a result");
        Ok(())
    }
}

async fn first_answer(stream: &mut TcpStream, request: &[u8]) -> Result<usize> {
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    loop {
        ensure!(stream.read_buf(&mut answer).await? > 0, "the worker closed the connection");
        let text = String::from_utf8_lossy(&answer);
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body: usize = length.context("an answer with a length")?.parse()?;
        ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
        let whole = head + 4 + body;
        while answer.len() < whole {
            ensure!(stream.read_buf(&mut answer).await? > 0, "the worker closed the connection");
        }
        return Ok(whole);
    }
}
