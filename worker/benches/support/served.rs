//! The real worker as a process on loopback, for benchmarks: started and asked.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A running worker. Killed on drop.
pub(crate) struct Served {
    /// Its process.
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// Starts a worker with one front thread and one lane, and waits until it is ready.
    pub(crate) async fn start(repository: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("worker.toml");
        let repository = repository.display();
        fs::write(
            &config,
            format!(
                "version = 1\n[worker]\nname = \"bench\"\nlisten = \"127.0.0.1:0\"\nthreads = 1\n\
                 repository = \"{repository}\"\n[cpu]\nlanes = 1\n"
            ),
        )?;
        let mut command = Command::new(binary()?);
        let mut child = command.arg("--config").arg(&config).stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("the worker's log")?);
        let address = listening(&mut log).context("the worker does not listen")?;
        // The worker must never wait for its log to be read.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let served = Self { child, address, _folder: folder };
        while !served.get("/v2/health/ready").await?.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(served)
    }

    /// A whole answer.
    pub(crate) async fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

/// The worker to measure: `WEIR_BIN_DIR` if it is set, else the one that cargo built beside this.
fn binary() -> Result<PathBuf> {
    let built = || option_env!("CARGO_BIN_EXE_weir-worker").map(PathBuf::from);
    let given = std::env::var_os("WEIR_BIN_DIR").map(|folder| PathBuf::from(folder).join("weir-worker"));
    given.or_else(built).context("set WEIR_BIN_DIR to the folder of weir-worker")
}

/// Reads the log until it tells the address.
fn listening(log: &mut impl BufRead) -> Result<SocketAddr> {
    let mut line = String::new();
    loop {
        line.clear();
        ensure!(log.read_line(&mut line)? > 0, "it ended");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = event.get("address").and_then(|address| address.as_str()) {
            return Ok(address.parse()?);
        }
    }
}
