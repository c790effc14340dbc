//! A socket without manners: sends exactly the bytes it is told, for framing that no client library would write.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// For a response to come, or the connection to be closed.
const LIMIT: Duration = Duration::from_secs(30);

/// One connection.
#[derive(Debug)]
pub struct RawConnection {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A response as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawReply {
    /// The status code.
    pub status: u16,
    /// The head, status line included, in lower case.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl RawConnection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody accepts.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.write_all(bytes.as_ref()).await?)
    }

    /// Reads one response, whose body has a Content-Length or none.
    ///
    /// # Errors
    /// None came whole within 30 seconds.
    pub async fn reply(&mut self) -> Result<RawReply> {
        timeout(LIMIT, self.read_reply()).await.context("no whole response in time")?
    }

    async fn read_reply(&mut self) -> Result<RawReply> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(&self.unread.drain(..end).collect::<Vec<u8>>()).to_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length: usize = field("content-length:").map_or(Ok(0), str::parse)?;
        while self.unread.len() < length {
            self.read_more().await?;
        }
        let status = head.split_whitespace().nth(1).context("no status line")?.parse()?;
        Ok(RawReply { status, body: self.unread.drain(..length).collect(), head })
    }

    async fn read_more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.unread).await? == 0 {
            bail!("closed after {:?}", String::from_utf8_lossy(&self.unread));
        }
        Ok(())
    }

    /// Waits until the server has closed, and gives what came before.
    ///
    /// # Errors
    /// It is still open after 30 seconds.
    pub async fn closed(&mut self) -> Result<Vec<u8>> {
        let read = timeout(LIMIT, self.stream.read_to_end(&mut self.unread)).await;
        match read.context("the connection stays open")? {
            // A reset closes as well.
            Ok(_) | Err(_) => Ok(std::mem::take(&mut self.unread)),
        }
    }
}
