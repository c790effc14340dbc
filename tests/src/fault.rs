//! A TCP proxy in front of a worker that breaks inferences on purpose, so that a test can see them repeated.
//!
//! Only connections whose latest request is a POST, and those of HTTP/2, which carry gRPC, are touched: health probes
//! pass, so the worker stays in service.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::TaskTracker;

/// What happens to an inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection is reset when the request comes.
    Reset,
    /// The connection is closed without an answer when the request comes.
    Close,
    /// The request is swallowed and never answered.
    Stall,
    /// The connection is closed after so many bytes of the answer.
    CutAfter(usize),
}

/// The proxy. It lives as long as the runtime.
#[derive(Debug, Clone)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    worker: SocketAddr,
    fault: Mutex<Fault>,
    struck: AtomicU64,
    /// Counts calls of [`FaultProxy::cut_stalled`].
    cuts: watch::Sender<u64>,
}

impl FaultProxy {
    /// Listens on a free port in front of `worker`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn before(worker: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(crate::port::free()?).await?;
        let shared = Arc::new(Shared {
            worker,
            fault: Mutex::new(Fault::None),
            struck: AtomicU64::new(0),
            cuts: watch::Sender::new(0),
        });
        let proxy = Self { address: listener.local_addr()?, shared: shared.clone() };
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = shared.clone();
                tasks.spawn(async move {
                    // Either side's end is the end of both.
                    let _ = shared.carry(client).await;
                });
            }
        });
        Ok(proxy)
    }

    /// Where the gateway finds the worker.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happens to inferences from now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Closes the connections of inferences that are stalled.
    pub fn cut_stalled(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many inferences were broken.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// The fault for an inference that begins now, counted.
    fn strike(&self) -> Fault {
        let fault = *self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        self.struck.fetch_add(u64::from(fault != Fault::None), Ordering::Relaxed);
        fault
    }

    async fn carry(&self, mut client: TcpStream) -> Result<()> {
        let mut worker = TcpStream::connect(self.worker).await?;
        client.set_nodelay(true)?;
        worker.set_nodelay(true)?;
        let (mut from_client, mut from_worker) = (vec![0; 65_536], vec![0; 65_536]);
        let (mut fault, mut is_http2, mut cut) = (Fault::None, false, self.cuts.subscribe());
        loop {
            tokio::select! {
                _ = cut.changed() => {
                    if fault == Fault::Stall {
                        return Ok(());
                    }
                }
                read = client.read(&mut from_client) => {
                    let bytes = from_client.get(..read?).filter(|bytes| !bytes.is_empty());
                    let Some(bytes) = bytes else { return Ok(()) };
                    // Where a request begins within HTTP/2 does not show: anything that comes is struck.
                    is_http2 |= bytes.starts_with(b"PRI ");
                    if is_http2 || bytes.starts_with(b"POST ") {
                        fault = self.strike();
                    }
                    match fault {
                        Fault::Reset => return Ok(client.set_zero_linger()?),
                        Fault::Close => return Ok(()),
                        Fault::Stall => {}
                        Fault::None | Fault::CutAfter(_) => worker.write_all(bytes).await?,
                    }
                }
                read = worker.read(&mut from_worker) => {
                    let bytes = from_worker.get(..read?).filter(|bytes| !bytes.is_empty());
                    let Some(bytes) = bytes else { return Ok(()) };
                    if let Fault::CutAfter(most) = fault {
                        return Ok(client.write_all(bytes.get(..most).unwrap_or(bytes)).await?);
                    }
                    client.write_all(bytes).await?;
                }
            }
        }
    }
}
