//! A closed loop of keep-alive connections: each sends when it has its answer, or at a pace.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use weir_protocol::codec::Encoded;
use weir_worker::tasks::Tasks;

use crate::client::Client;

/// How long a connection may take to finish its last request.
const END: Duration = Duration::from_secs(30);

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
    /// Opens the connections. Each sends after every `gap`, or without one as soon as it has its answer.
    pub(crate) async fn start(
        address: SocketAddr,
        model: &str,
        encoded: &Encoded,
        connections: usize,
        gap: Option<Duration>,
    ) -> Result<Self> {
        let (shared, tasks) = (Arc::new(Shared::default()), Tasks::default());
        for _ in 0..connections {
            let client = Client::connect(address, model, encoded).await?;
            let shared = Arc::clone(&shared);
            tasks.spawn("connection", async move {
                if converse(client, gap, &shared).await.is_err() {
                    shared.failed.store(true, Ordering::Relaxed);
                }
            });
        }
        Ok(Self { shared, tasks })
    }

    /// Answers so far, the first of every connection left out.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Lets every connection finish its request.
    pub(crate) async fn stop(self) -> Result<()> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        ensure!(self.tasks.wait(END).await, "a connection does not end");
        ensure!(!self.shared.failed.load(Ordering::Relaxed), "a request was not answered with 200");
        Ok(())
    }
}

async fn converse(mut client: Client, gap: Option<Duration>, shared: &Shared) -> Result<()> {
    let mut pace = gap.map(tokio::time::interval);
    while !shared.stopped.load(Ordering::Relaxed) {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        client.ask().await?;
        shared.answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
