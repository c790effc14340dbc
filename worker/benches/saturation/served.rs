//! The real worker as a process, and what it and the system say of it between two moments.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use weir_worker::clock::Clock;

use crate::{load::Load, models::Model};

/// A running worker. Killed on drop.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: SocketAddr,
    clock: Clock,
    _folder: tempfile::TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// Starts a worker with one front thread and waits until it is ready.
    pub(crate) async fn start(binary: &Path, repository: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("worker.toml");
        let repository = repository.display();
        fs::write(
            &config,
            format!(
                "version = 1\n[worker]\nname = \"bench\"\nlisten = \"127.0.0.1:0\"\nthreads = 1\n\
                 repository = \"{repository}\"\n"
            ),
        )?;
        let mut command = Command::new(binary);
        let mut child = command.arg("--config").arg(&config).stderr(Stdio::piped()).spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("the worker's log")?);
        let address = listening(&mut log).context("the worker does not listen")?;
        // The worker must never wait for its log to be read.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let served = Self { child, address, clock: Clock::start(), _folder: folder };
        while !served.get("/v2/health/ready").await?.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(served)
    }

    /// What happens within a stretch of time under `load`.
    pub(crate) async fn window(&self, model: &Model, load: &Load, length: Duration) -> Result<Window> {
        let before = self.sample(model, load).await?;
        tokio::time::sleep(length).await;
        let after = self.sample(model, load).await?;
        Ok(Window { before, after })
    }

    async fn sample(&self, model: &Model, load: &Load) -> Result<Sample> {
        let text = self.get("/metrics").await?;
        let value = |name: &str| -> Result<f64> {
            let start = format!("weir_worker_{name}{{model=\"{}\"", model.name);
            let line = text.lines().find(|line| line.starts_with(&start)).context(start)?;
            Ok(line.rsplit(' ').next().context("a value")?.parse()?)
        };
        Ok(Sample {
            at: self.clock.now(),
            answered: load.answered(),
            batches: value("batch_rows_count")?,
            rows: value("batch_rows_sum")?,
            forward: value("forward_seconds_sum")?,
            busy: value("batch_seconds_sum")?,
            overhead: (value("overhead_seconds_sum")?, value("overhead_seconds_count")?),
            cpu: cpu_seconds(&format!("/proc/{}/stat", self.child.id()))?,
            lane_cpu: self.lane_cpu(&format!("{}-0", model.name))?,
        })
    }

    /// CPU seconds of the lane's thread.
    fn lane_cpu(&self, name: &str) -> Result<f64> {
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let path = thread?.path();
            if fs::read_to_string(path.join("comm"))?.trim() == name {
                return cpu_seconds(&path.join("stat").display().to_string());
            }
        }
        anyhow::bail!("the worker has no lane thread named {name}")
    }

    async fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

/// CPU seconds, user and system, from a `stat` file.
pub(crate) fn cpu_seconds(file: &str) -> Result<f64> {
    let text = fs::read_to_string(file)?;
    // Fields 14 and 15; the name before them is in brackets and may hold spaces.
    let fields = text.rsplit(") ").next().context("a stat file")?.split(' ');
    let ticks: u32 = fields.skip(11).take(2).map(str::parse::<u32>).sum::<Result<_, _>>()?;
    // Linux counts these in hundredths of a second for every program.
    Ok(f64::from(ticks) / 100.0)
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

struct Sample {
    at: Duration,
    answered: u64,
    batches: f64,
    rows: f64,
    forward: f64,
    busy: f64,
    /// Sum in seconds, and count.
    overhead: (f64, f64),
    cpu: f64,
    lane_cpu: f64,
}

/// What happened between two samples.
pub(crate) struct Window {
    before: Sample,
    after: Sample,
}

impl Window {
    fn delta(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        of(&self.after) - of(&self.before)
    }

    fn seconds(&self) -> f64 {
        self.delta(|sample| sample.at.as_secs_f64())
    }

    fn requests(&self) -> f64 {
        f64::from(u32::try_from(self.after.answered - self.before.answered).unwrap_or(u32::MAX))
    }

    /// Rows answered per second; a request has one row.
    pub(crate) fn rows_per_second(&self) -> f64 {
        self.requests() / self.seconds()
    }

    /// Rows answered per second of CPU time of the lane's thread.
    pub(crate) fn rows_per_lane_cpu_second(&self) -> f64 {
        self.requests() / self.delta(|s| s.lane_cpu)
    }

    /// Mean rows of a batch.
    pub(crate) fn batch_rows(&self) -> f64 {
        self.delta(|s| s.rows) / self.delta(|s| s.batches)
    }

    /// Mean time of a forward pass, tensors in and out included.
    pub(crate) fn forward_seconds(&self) -> f64 {
        self.delta(|s| s.forward) / self.delta(|s| s.batches)
    }

    /// Share of the time that the lane had a batch in hand.
    pub(crate) fn lane_busy_ratio(&self) -> f64 {
        self.delta(|s| s.busy) / self.seconds()
    }

    /// CPU seconds per 100,000 requests that were not the forward pass. Of the lane thread's own CPU time the forward
    /// has the share that it has of the lane's busy time: wall times alone would count waiting for a core.
    pub(crate) fn cpu_outside_forward(&self) -> f64 {
        let forward = self.delta(|s| s.lane_cpu) * self.delta(|s| s.forward) / self.delta(|s| s.busy);
        (self.delta(|s| s.cpu) - forward) / self.requests() * 1e5
    }

    /// Mean of the worker's own time for a request.
    pub(crate) fn overhead(&self) -> Duration {
        let mean = self.delta(|s| s.overhead.0) / self.delta(|s| s.overhead.1);
        Duration::from_secs_f64(mean.max(0.0))
    }
}
