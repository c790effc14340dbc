//! What one client, or all together, can make a fleet hold: queues, requests at once, headers, memory.

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use prost::Message;
use tokio::task::JoinSet;
use tonic::{Code, Request, metadata::MetadataValue};
use weir_protocol::grpc::{ModelInferRequest, ModelInferResponse};
use weir_tests::{
    Fleet, Synthetic, WorkerSpec, eventually,
    grpc::{
        path,
        services::{
            HEALTH_WATCH, HealthRequest, HealthResponse, REFLECTION, ReflectionRequest, ReflectionResponse,
            Serving,
        },
        wire,
    },
    infer, metrics,
};

use super::{both, is, unlike};

/// Rows beyond the running one that wait.
const QUEUE: u32 = 4;

/// A forward pass that no test waits for the end of.
const BUSY: Synthetic = Synthetic {
    width: 4,
    base: Duration::from_secs(5),
    max_batch_size: 1,
    max_queue_size: QUEUE,
    versions: 1,
    load_time: Duration::ZERO,
};

fn request(id: &str) -> ModelInferRequest {
    ModelInferRequest { id: id.to_owned(), ..infer::message("m", 1, 4, 0.0) }
}

/// Fills the worker's lane and queue through a stream of its own, which is to be kept.
async fn fill(fleet: &mut Fleet) -> weir_tests::grpc::InferStream {
    let worker = fleet.worker("a").unwrap();
    let stream = worker.grpc().unwrap().stream(&[request("running")]);
    eventually("a busy lane", async || {
        let (in_flight, queued) = (worker.in_flight().await?, worker.queued().await?);
        ensure!(in_flight == 1 && queued == 0, "{in_flight} in flight, {queued} rows queued");
        Ok(())
    })
    .await
    .unwrap();
    for _ in 0..QUEUE {
        stream.send(&request("waiting")).await.unwrap();
    }
    eventually("a full queue", async || {
        let queued = worker.queued().await?;
        ensure!(queued == u64::from(QUEUE), "{queued} rows");
        Ok(())
    })
    .await
    .unwrap();
    stream
}

#[tokio::test]
async fn a_full_queue_is_unavailable_and_within_a_stream_an_error_of_that_request() {
    let mut fleet = Fleet::serving(&BUSY, &["a"]).await.unwrap();
    let filling = fill(&mut fleet).await;
    for (place, grpc) in both(&mut fleet) {
        is(place, &grpc.infer(&request("one")).await, Code::Unavailable, "queue-full");
        let mut stream = grpc.stream(&[request("one too many")]);
        let answer = stream.next().await.unwrap().unwrap();
        assert!(answer.error_message.contains("queue"), "{place}: {answer:?}");
        assert_eq!(answer.infer_response.unwrap().id, "one too many", "{place}");
        stream.finish();
        assert_eq!(stream.next().await.unwrap(), None, "{place}");
    }
    drop(filling);
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn more_requests_than_the_gateway_may_have_in_flight_are_unavailable() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &BUSY).unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.gateway.limits = "in_flight = 2".to_owned();
    let mut fleet = builder.start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    let streams = [grpc.stream(&[request("1")]), grpc.stream(&[request("2")])];
    eventually("both at the worker", async || {
        ensure!(fleet.worker("a")?.in_flight().await? == 2);
        Ok(())
    })
    .await
    .unwrap();
    is("unary", &grpc.infer(&request("3")).await, Code::Unavailable, "overloaded");
    is("stream", &grpc.stream(&[request("3")]).next().await, Code::Unavailable, "overloaded");
    drop(streams);
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn watches_have_a_limit_of_their_own_and_take_no_place_of_inferences() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.gateway.limits = "in_flight = 1\nwatches = 2".to_owned();
    let mut fleet = builder.start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    let model = HealthRequest { service: "m".to_owned() };
    let watch = async || grpc.watch::<HealthResponse>(HEALTH_WATCH, &model).await.map(|_| ());
    let mut watches = Vec::new();
    for _ in 0..2 {
        let mut watch = grpc.watch::<HealthResponse>(HEALTH_WATCH, &model).await.unwrap();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), Serving::Serving);
        watches.push(watch);
    }
    is("a third watch", &watch().await, Code::Unavailable, "overloaded");
    let list = ReflectionRequest { list_services: Some("*".to_owned()), ..Default::default() };
    for path in REFLECTION {
        let answer = grpc.call_at::<ReflectionResponse>(path, &list).await;
        is(path, &answer, Code::Unavailable, "overloaded");
    }
    grpc.infer(&request("")).await.unwrap();
    drop(watches);
    eventually("room for a watch", async || Ok(watch().await?)).await.unwrap();
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn two_hundred_calls_at_once_share_a_connection() {
    let model = Synthetic { base: Duration::from_millis(100), ..Synthetic::default() };
    let mut fleet = Fleet::serving(&model, &["a"]).await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        let mut calls = JoinSet::new();
        for number in 0..200 {
            let grpc = grpc.clone();
            let request =
                ModelInferRequest { id: number.to_string(), ..infer::message("m", 1, 4, number as f32) };
            calls.spawn(async move { (number, grpc.infer(&request).await) });
        }
        for (number, answer) in calls.join_all().await {
            let answer = answer.unwrap_or_else(|error| panic!("{place}, {number}: {error:?}")).into_inner();
            let first = f32::from_le_bytes(answer.raw_output_contents[0][..4].try_into().unwrap());
            assert_eq!((answer.id, first), (number.to_string(), number as f32), "{place}");
        }
    }
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn headers_above_the_limit_are_the_callers_fault() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    builder.gateway.limits = "header_bytes = \"4 KiB\"\nheader_fields = 20".to_owned();
    let fleet = builder.start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    let message = || Bytes::from(request("").encode_to_vec());
    let long = |length: usize| {
        let mut long = Request::new(message());
        long.metadata_mut().insert("x-long", MetadataValue::try_from("a".repeat(length)).unwrap());
        long
    };
    let mut many = Request::new(message());
    for number in 0..30 {
        let name: tonic::metadata::AsciiMetadataKey = format!("x-{number}").parse().unwrap();
        many.metadata_mut().insert(name, "1".parse().unwrap());
    }
    for (what, request) in [("long", long(4_000)), ("many", many)] {
        let answer = grpc.send::<ModelInferResponse>(&path("ModelInfer"), request).await;
        is(what, &answer, Code::ResourceExhausted, "headers-too-large");
    }
    // HTTP/2 itself refuses what is far above, before it is a request: with an HTTP status and no more.
    grpc.send::<ModelInferResponse>(&path("ModelInfer"), long(40_000)).await.unwrap_err();
    grpc.infer(&request("")).await.unwrap();
}

#[tokio::test]
async fn sequences_are_refused_and_priorities_taken_in_every_form() {
    use weir_protocol::grpc::{InferParameter, infer_parameter::ParameterChoice as Choice};
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    let mut problems = Vec::new();
    for (place, grpc) in both(&mut fleet) {
        let ask = async |name: &str, choice: Choice| {
            let mut request = request("");
            let parameter = InferParameter { parameter_choice: Some(choice) };
            request.parameters.insert(name.to_owned(), parameter);
            grpc.infer(&request).await.map(|_| ())
        };
        for (name, choice) in [
            ("sequence_id", Choice::Int64Param(7)),
            ("sequence_id", Choice::Uint64Param(7)),
            ("sequence_id", Choice::StringParam("seven".to_owned())),
            ("sequence_start", Choice::BoolParam(true)),
            ("sequence_end", Choice::BoolParam(true)),
            ("timeout", Choice::StringParam("soon".to_owned())),
            ("timeout", Choice::Int64Param(-1)),
            ("priority", Choice::Uint64Param(1 << 32)),
        ] {
            let answer = ask(name, choice.clone()).await;
            let word = name.split('_').next().unwrap();
            let problem = unlike(&answer, Code::InvalidArgument, "bad-request", &[word]);
            problems.extend(problem.map(|problem| format!("{place}, {name} {choice:?}: {problem}")));
        }
        for (name, choice) in [
            ("sequence_id", Choice::Int64Param(0)),
            ("sequence_start", Choice::BoolParam(false)),
            ("priority", Choice::Uint64Param(1)),
            ("priority", Choice::StringParam("2".to_owned())),
            ("timeout", Choice::Int64Param(0)),
            ("triton_anything", Choice::BoolParam(true)),
            ("unknown", Choice::DoubleParam(0.5)),
        ] {
            let problem = ask(name, choice.clone()).await.err();
            problems.extend(problem.map(|problem| format!("{place}, {name} {choice:?}: {problem:?}")));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// 100 MiB in one message.
const LARGE: usize = 100 << 20;
/// How much the gateway's memory may grow: a replay limit's worth and buffers, far below one message.
const GROWTH: u64 = 24 << 20;

#[tokio::test]
async fn a_message_of_100_mib_streams_through_with_bounded_memory() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_echo("m").unwrap();
    builder.gateway.limits = "replay_bytes = \"4 MiB\"".to_owned();
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut fleet = builder.start().await.unwrap();
    let before = fleet.gateway.process().memory().unwrap().resident;
    let address = fleet.client().address();
    let frame = wire::frame(&infer::bytes("m", vec![7; LARGE]).encode_to_vec());
    let request = wire::request(address, &path("ModelInfer"), frame).unwrap();
    let reply = wire::send(address, request).await.unwrap();
    assert_eq!(reply.status().unwrap(), 0, "{:?} {:?}", reply.headers, reply.trailers);
    assert!(reply.body.len() > LARGE, "{} bytes", reply.body.len());
    let growth = fleet.gateway.process().memory().unwrap().peak.saturating_sub(before);
    println!("gateway memory: {before} B before, {growth} B more at its highest");
    assert!(growth < GROWTH, "grew by {growth} bytes");
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn calls_are_counted_by_model_and_outcome_at_both() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    for _ in 0..3 {
        grpc.infer(&request("")).await.unwrap();
    }
    grpc.infer(&infer::message("m", 1, 5, 0.0)).await.unwrap_err();
    grpc.infer(&infer::message("nope", 1, 4, 0.0)).await.unwrap_err();
    let admin = fleet.gateway.admin();
    eventually("all five in the gateway's metrics", async || {
        for (labels, expected) in [
            (&["model=\"m\"", "code=\"200\""][..], 3.0),
            (&["model=\"m\"", "code=\"400\""], 1.0),
            (&["model=\"-\"", "code=\"404\""], 1.0),
        ] {
            let value = metrics::value(admin, "weir_gateway_requests_total", labels).await?;
            ensure!(value == expected, "{labels:?} {value}");
        }
        Ok(())
    })
    .await
    .unwrap();
    let worker = fleet.worker("a").unwrap().client();
    let labels = ["model=\"m\"", "version=\"1\"", "outcome=\"ok\""];
    let ok = metrics::value(worker, "weir_worker_requests_total", &labels).await.unwrap();
    assert_eq!(ok, 3.0);
}

/// Requests of a client that reads no answer, 1 MiB each.
const UNREAD: usize = 300;

#[tokio::test]
async fn a_client_that_reads_no_answers_is_read_from_no_more() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_echo("m").unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut fleet = builder.start().await.unwrap();
    for (place, grpc) in both(&mut fleet) {
        let worker = fleet.worker("a").unwrap();
        let (resident, before) =
            (worker.process().memory().unwrap().resident, worker.arrivals().await.unwrap());
        let frame = wire::frame(&infer::bytes("m", vec![7; 1 << 20]).encode_to_vec());
        let path = path("ModelStreamInfer");
        let unread = wire::send_unread(grpc.address(), &path, vec![frame; UNREAD]).await.unwrap();
        // Stands still: forty looks in a row, 10 ms each, that saw no new request.
        let (mut last, mut same) = (0, 0);
        eventually("the worker to stop reading", async || {
            let arrivals = worker.arrivals().await? - before;
            same = if arrivals == last && arrivals > 0 { same + 1 } else { 0 };
            last = arrivals;
            ensure!(same >= 40, "{arrivals} requests, the same {same} times");
            Ok(())
        })
        .await
        .unwrap();
        let growth = worker.process().memory().unwrap().resident.saturating_sub(resident);
        println!("{place}: {last} requests read, the worker's memory grew by {growth} B");
        assert!(last < UNREAD as u64 / 2, "{place}: {last} of {UNREAD} requests read");
        drop(unread);
        fleet.idle().await.unwrap();
    }
    let peak = fleet.gateway.process().memory().unwrap().peak;
    assert!(peak < 150 << 20, "the gateway's memory grew to {peak} B");
}

/// Clients that read nothing of an answer of this size: more than the transport keeps on its way to them.
const SILENT_READERS: usize = 8;
/// Echoed to each of them.
const UNREAD_ANSWER: usize = 6 << 20;

#[tokio::test]
async fn clients_that_read_no_answers_hold_up_nobody_else() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_echo("m").unwrap();
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut fleet = builder.start().await.unwrap();
    let grpc = fleet.gateway.grpc().unwrap();
    let frame = wire::frame(&infer::bytes("m", vec![7; UNREAD_ANSWER]).encode_to_vec());
    let mut unread = Vec::new();
    for _ in 0..SILENT_READERS {
        let frames = vec![frame.clone()];
        unread.push(wire::send_unread(grpc.address(), &path("ModelInfer"), frames).await.unwrap());
    }
    // All of them share the gateway's one connection to the worker with what follows.
    let worker = fleet.worker("a").unwrap();
    eventually("all of them answered by the worker", async || {
        let (arrivals, in_flight) = (worker.arrivals().await?, worker.in_flight().await?);
        ensure!(arrivals == SILENT_READERS as u64 && in_flight == 0, "{arrivals}, {in_flight} in flight");
        Ok(())
    })
    .await
    .unwrap();
    for _ in 0..3 {
        let mut request = Request::new(Bytes::from(infer::bytes("m", vec![1; 100_000]).encode_to_vec()));
        request.set_timeout(Duration::from_secs(10));
        grpc.send::<ModelInferResponse>(&path("ModelInfer"), request).await.unwrap();
    }
    drop(unread);
    fleet.idle().await.unwrap();
}

#[tokio::test]
async fn a_later_message_of_a_stream_that_is_too_large_ends_it_at_once() {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_echo("m").unwrap();
    builder.gateway.limits = "body_bytes = \"1 MiB\"".to_owned();
    builder.worker(WorkerSpec::named("a").unwrap());
    let mut fleet = builder.start().await.unwrap();
    let mut stream = fleet.gateway.grpc().unwrap().stream(&[infer::bytes("m", vec![7; 100])]);
    assert!(stream.next().await.unwrap().is_some());
    // From here on the gateway passes on what comes; the worker, which would take it, waits for the rest.
    stream.send(&infer::bytes("m", vec![7; 2 << 20])).await.unwrap();
    is("a later message", &stream.next().await, Code::ResourceExhausted, "body-too-large");
    fleet.idle().await.unwrap();
}
