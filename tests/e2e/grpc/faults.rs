//! Workers and gateways that go away under gRPC: what was accepted is answered, and streams end cleanly.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use tokio::task::JoinSet;
use tonic::Code;
use weir_protocol::grpc::ModelInferRequest;
use weir_tests::{
    Fault, FaultProxy, Fleet, GrpcClient, Synthetic, WorkerSpec, eventually,
    grpc::{InferStream, metadata_of},
    infer,
};

/// Clients of a load, each with one request at a time.
const CLIENTS: u64 = 24;

/// Slow enough that requests are always in flight when something happens.
const MODEL: Synthetic = Synthetic {
    width: 4,
    base: Duration::from_millis(60),
    max_batch_size: 64,
    max_queue_size: 4096,
    versions: 1,
    load_time: Duration::ZERO,
};

fn nth(number: u64) -> ModelInferRequest {
    ModelInferRequest { id: number.to_string(), ..infer::message("m", 1, 4, number as f32) }
}

/// Clients that send one unary request after the other and repeat nothing.
struct Load {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    answered: AtomicU64,
    failed: std::sync::Mutex<Vec<String>>,
}

impl Load {
    /// Each client has a connection of its own.
    fn start(fleet: &Fleet) -> Self {
        let shared = Arc::new(Shared::default());
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (grpc, shared) = (fleet.gateway.grpc().unwrap(), shared.clone());
            clients.spawn(async move { shared.ask_on(&grpc, client).await });
        }
        Self { clients, shared }
    }

    /// Waits until `count` more requests were answered.
    async fn more(&self, count: u64) {
        let goal = self.shared.answered.load(Ordering::Relaxed) + count;
        eventually("more answers", async || {
            self.shared.check()?;
            let answered = self.shared.answered.load(Ordering::Relaxed);
            ensure!(answered >= goal, "{answered} of {goal}");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Ends the load; fails when a request got no answer.
    async fn finish(self) -> u64 {
        self.shared.over.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
        self.shared.check().unwrap();
        self.shared.answered.load(Ordering::Relaxed)
    }
}

impl Shared {
    async fn ask_on(&self, grpc: &GrpcClient, client: u64) {
        for number in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let request = nth(client * 1_000_000 + number);
            match grpc.infer(&request).await {
                Ok(answer) if answer.get_ref().id == request.id => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                other => self.failed.lock().unwrap().push(format!("{}: {other:?}", request.id)),
            }
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        let failed = self.failed.lock().unwrap();
        ensure!(failed.is_empty(), "{} requests failed, the first: {}", failed.len(), failed[0]);
        Ok(())
    }
}

async fn busy(fleet: &mut Fleet, worker: &str) {
    let worker = fleet.worker(worker).unwrap();
    eventually("requests in flight at the worker", async || {
        ensure!(worker.in_flight().await? > 0);
        Ok(())
    })
    .await
    .unwrap();
}

async fn again(fleet: &mut Fleet, name: &str) {
    let worker = fleet.worker(name).unwrap();
    worker.restart().unwrap();
    worker.ready().await.unwrap();
    fleet.ready().await.unwrap();
}

#[tokio::test]
async fn kills_under_load_lose_no_unary_call() {
    let mut fleet = Fleet::serving(&MODEL, &["a", "b", "c"]).await.unwrap();
    let load = Load::start(&fleet);
    for name in ["a", "b", "c"] {
        load.more(60).await;
        busy(&mut fleet, name).await;
        fleet.worker(name).unwrap().process().kill().unwrap();
        load.more(60).await;
        again(&mut fleet, name).await;
    }
    load.more(60).await;
    let answered = load.finish().await;
    println!("{answered} answered");
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_under_load_loses_no_unary_call() {
    let mut fleet = Fleet::serving(&MODEL, &["a", "b"]).await.unwrap();
    let load = Load::start(&fleet);
    for name in ["a", "b"] {
        load.more(60).await;
        busy(&mut fleet, name).await;
        let worker = fleet.worker(name).unwrap();
        worker.process().terminate().unwrap();
        let status = worker.process().ended().await.unwrap();
        assert!(status.success(), "{status}");
        load.more(60).await;
        again(&mut fleet, name).await;
    }
    load.finish().await;
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_gateway_that_is_asked_to_stop_answers_what_it_has() {
    let slow = Synthetic { base: Duration::from_secs(1), ..MODEL };
    let mut fleet = Fleet::serving(&slow, &["a"]).await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..16 {
        let grpc = fleet.gateway.grpc().unwrap();
        calls.spawn(async move { grpc.infer(&nth(number)).await.map(|answer| answer.into_inner().id) });
    }
    let mut stream = fleet.gateway.grpc().unwrap().stream(&[nth(100)]);
    let worker = fleet.worker("a").unwrap();
    eventually("all of them at the worker", async || {
        ensure!(worker.in_flight().await? == 17);
        Ok(())
    })
    .await
    .unwrap();
    fleet.gateway.process().terminate().unwrap();
    let mut ids: Vec<u64> =
        calls.join_all().await.into_iter().map(|id| id.unwrap().parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..16).collect::<Vec<_>>());
    assert_eq!(stream.next().await.unwrap().unwrap().infer_response.unwrap().id, "100");
    stream.finish();
    assert_eq!(stream.next().await.unwrap(), None);
    let status = fleet.gateway.process().ended().await.unwrap();
    assert!(status.success(), "{status}");
}

/// Reads on to the end of a stream: the ids that were answered, and the status at the end.
async fn rest(stream: &mut InferStream) -> (Vec<u64>, tonic::Status) {
    let mut ids = Vec::new();
    loop {
        match stream.next().await {
            Ok(Some(answer)) => {
                assert_eq!(answer.error_message, "");
                ids.push(answer.infer_response.unwrap().id.parse().unwrap());
            }
            Ok(None) => panic!("the stream ended well after {ids:?}"),
            Err(status) => return (ids, status),
        }
    }
}

#[tokio::test]
async fn a_stream_whose_worker_is_killed_ends_unavailable_and_can_be_opened_again() {
    let mut fleet = Fleet::serving(&MODEL, &["a", "b"]).await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    let mut stream = grpc.stream(&[nth(0)]);
    assert_eq!(stream.next().await.unwrap().unwrap().infer_response.unwrap().id, "0");
    let served = metadata_of(stream.metadata(), "weir-served");
    let name = served.rsplit(';').next().unwrap().to_owned();
    stream.send(&nth(1)).await.unwrap();
    busy(&mut fleet, &name).await;
    fleet.worker(&name).unwrap().process().kill().unwrap();
    let (_, status) = rest(&mut stream).await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(metadata_of(status.metadata(), "weir-reason"), "worker-failed", "{status:?}");
    let mut stream = grpc.stream(&[nth(2)]);
    assert_eq!(stream.next().await.unwrap().unwrap().infer_response.unwrap().id, "2");
    drop(stream);
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_stream_whose_worker_drains_is_answered_what_was_read_and_told_to_open_again() {
    let slow = Synthetic { base: Duration::from_millis(500), ..MODEL };
    let mut fleet = Fleet::serving(&slow, &["a", "b"]).await.unwrap();
    for by_gateway in [false, true] {
        let grpc = match by_gateway {
            true => fleet.gateway.grpc().unwrap(),
            false => fleet.worker("a").unwrap().grpc().unwrap(),
        };
        let mut stream = grpc.stream(&[nth(0)]);
        assert_eq!(stream.next().await.unwrap().unwrap().infer_response.unwrap().id, "0");
        let served = metadata_of(stream.metadata(), "weir-served");
        let name = if by_gateway { served.rsplit(';').next().unwrap() } else { "a" }.to_owned();
        for number in 1..=5 {
            stream.send(&nth(number)).await.unwrap();
        }
        let worker = fleet.worker(&name).unwrap();
        eventually("the five at the worker", async || {
            ensure!(worker.in_flight().await? == 5);
            Ok(())
        })
        .await
        .unwrap();
        worker.process().terminate().unwrap();
        let (ids, status) = rest(&mut stream).await;
        assert_eq!(ids, [1, 2, 3, 4, 5]);
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert_eq!(metadata_of(status.metadata(), "weir-reason"), "draining", "{status:?}");
        assert!(status.message().contains("again"), "{status:?}");
        let exit = fleet.worker(&name).unwrap().process().ended().await.unwrap();
        assert!(exit.success(), "{exit}");
        if by_gateway {
            let mut stream = grpc.stream(&[nth(6)]);
            assert_eq!(stream.next().await.unwrap().unwrap().infer_response.unwrap().id, "6");
        }
        again(&mut fleet, &name).await;
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_swallows_calls_is_a_deadline_and_one_that_hangs_up_is_unavailable() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    let a = WorkerSpec::named("a").unwrap();
    let proxy = FaultProxy::before(a.listen).await.unwrap();
    builder.worker(WorkerSpec { at: proxy.address(), ..a });
    builder.gateway.timeouts += "\nrequest = \"1s\"";
    let mut fleet = builder.start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    grpc.infer(&nth(0)).await.unwrap();
    proxy.set(Fault::Stall);
    super::is("swallowed", &grpc.infer(&nth(1)).await, Code::DeadlineExceeded, "worker-timeout");
    let struck = proxy.struck();
    let mut stream = grpc.stream(&[nth(2)]);
    eventually("the stream at the proxy", async || {
        ensure!(proxy.struck() > struck);
        Ok(())
    })
    .await
    .unwrap();
    proxy.set(Fault::Reset);
    proxy.cut_stalled();
    let status = stream.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(metadata_of(status.metadata(), "weir-reason"), "worker-failed", "{status:?}");
    proxy.set(Fault::None);
    eventually("answers again", async || {
        grpc.infer(&nth(3)).await?;
        Ok(())
    })
    .await
    .unwrap();
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_stream_outlives_reloads_of_the_gateway() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a", "b"]).await.unwrap();
    let mut stream = fleet.gateway.grpc().unwrap().stream(&[nth(0)]);
    assert_eq!(stream.next().await.unwrap().unwrap().infer_response.unwrap().id, "0");
    for (number, policy) in ["round_robin", "least_connections", "round_robin"].into_iter().enumerate() {
        let generation = fleet.gateway.generation().await.unwrap();
        let mut toml = fleet.gateway.toml().clone();
        toml.rules = format!("[[model]]\nname = \"m\"\npolicy = \"{policy}\"\n");
        fleet.gateway.write(toml).unwrap();
        eventually("the new configuration in use", async || {
            ensure!(fleet.gateway.generation().await? > generation);
            Ok(())
        })
        .await
        .unwrap();
        let id = number as u64 + 1;
        stream.send(&nth(id)).await.unwrap();
        let answer = stream.next().await.unwrap().unwrap();
        assert_eq!(answer.infer_response.unwrap().id, id.to_string());
    }
    stream.finish();
    assert_eq!(stream.next().await.unwrap(), None);
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_model_without_a_worker_is_unavailable_and_says_so() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    fleet.worker("a").unwrap().process().kill().unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    eventually("the gateway to notice", async || {
        let status = grpc.infer(&nth(0)).await.map(|_| ()).err();
        let reason = status.as_ref().map(|status| metadata_of(status.metadata(), "weir-reason"));
        ensure!(reason.as_deref() == Some("not-ready"), "{status:?}");
        ensure!(status.is_some_and(|status| status.code() == Code::Unavailable));
        Ok(())
    })
    .await
    .unwrap();
    let mut stream = grpc.stream(&[nth(0)]);
    super::is("stream", &stream.next().await, Code::Unavailable, "not-ready");
    fleet.idle().await.unwrap();
}
