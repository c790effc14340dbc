//! Every kind of bad request is answered 4xx with words that help, at the worker and through the gateway, and
//! harms nobody else.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use weir_tests::{Chunks, Client, Fleet, Reply, Synthetic, WorkerSpec, raw::RawConnection};

use crate::load;

const LIMIT: &str = "body_bytes = \"1 MiB\"";

/// A request that must be refused.
struct Bad {
    name: &'static str,
    request: Request<Full<Bytes>>,
    status: u16,
    /// What the message must contain, `|` between alternatives: what was wrong, or what was expected.
    says: &'static [&'static str],
}

fn bad(name: &'static str, body: impl Into<Bytes>, says: &'static [&'static str]) -> Bad {
    let request = Request::post("/v2/models/digits/infer").body(Full::new(body.into())).unwrap();
    Bad { name, request, status: 400, says }
}

fn elsewhere(
    name: &'static str,
    method: Method,
    path: &str,
    status: u16,
    says: &'static [&'static str],
) -> Bad {
    let body = if method == Method::POST { good().to_string() } else { String::new() };
    let request = Request::builder().method(method).uri(path).body(Full::from(body)).unwrap();
    Bad { name, request, status, says }
}

/// A body with a JSON part of the stated length, and raw bytes behind it.
fn binary(
    name: &'static str,
    json: &Value,
    raw: usize,
    json_len: &str,
    says: &'static [&'static str],
) -> Bad {
    let mut body = json.to_string().into_bytes();
    body.resize(body.len() + raw, 0);
    let mut case = bad(name, body, says);
    case.request.headers_mut().insert("inference-header-content-length", json_len.parse().unwrap());
    case
}

fn image() -> Value {
    json!({ "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": vec![0.5; 64] })
}

fn good() -> Value {
    json!({ "inputs": [image()] })
}

/// The image with one field replaced.
fn with(field: &str, value: Value) -> String {
    let mut image = image();
    image[field] = value;
    json!({ "inputs": [image] }).to_string()
}

fn tensors() -> Vec<Bad> {
    let other = json!({ "name": "other", "datatype": "FP32", "shape": [1], "data": [1.0] });
    let other_type = json!({ "inputs": [{ "name": "image", "datatype": "INT32", "shape": [1, 1, 8, 8], "data": vec![1; 64] }] });
    let many: Vec<Value> = vec![other.clone(); 10_000];
    vec![
        bad("wrong shape", with("shape", json!([1, 64])), &["image", "[-1,1,8,8]"]),
        bad("no rows", with("shape", json!([0, 1, 8, 8])), &["image"]),
        bad("negative dimension", with("shape", json!([-1, 1, 8, 8])), &["shape"]),
        bad("more rows than the model takes", with("shape", json!([33, 1, 8, 8])), &["image"]),
        bad("wrong datatype", other_type.to_string(), &["image", "INT32", "FP32"]),
        bad("unknown datatype", with("datatype", json!("FLOAT")), &["FLOAT", "FP32"]),
        bad("too few values", with("data", json!(vec![0.5; 63])), &["image", "64"]),
        bad("too many values", with("data", json!(vec![0.5; 65])), &["image", "64"]),
        bad("values of another kind", with("data", json!(vec!["a"; 64])), &["image", "FP32"]),
        bad(
            "no values",
            json!({ "inputs": [{ "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8] }] }).to_string(),
            &["image", "data"],
        ),
        bad("missing input", json!({ "inputs": [] }).to_string(), &["image"]),
        bad("no inputs at all", "{}", &["inputs"]),
        bad("extra input", json!({ "inputs": [image(), other] }).to_string(), &["other", "image"]),
        bad("duplicate input", json!({ "inputs": [image(), image()] }).to_string(), &["image"]),
        bad(
            "unknown output",
            json!({ "inputs": [image()], "outputs": [{ "name": "nope" }] }).to_string(),
            &["nope", "scores"],
        ),
        bad("a shape whose product overflows", with("shape", json!([1_u64 << 62, 1_u64 << 62])), &["image"]),
        bad("a dimension beyond 64 bits", with("shape", json!([1e30])), &["shape"]),
        bad("a shape of a terabyte", with("shape", json!([1_u64 << 38])), &["image"]),
        bad("thousands of inputs", json!({ "inputs": many }).to_string(), &["inputs"]),
    ]
}

fn texts() -> Vec<Bad> {
    let text = good().to_string();
    let deep = format!(
        "{{\"inputs\":[{{\"name\":\"image\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":{}",
        "[".repeat(100_000)
    );
    let deep_elsewhere = format!("{{\"unknown\":{}", "{\"a\":".repeat(100_000));
    vec![
        bad("empty body", "", &["JSON"]),
        bad("truncated JSON", text[..text.len() / 2].to_owned(), &[]),
        bad("not JSON", "inputs=1", &["JSON"]),
        bad("not UTF-8", &b"{\"inputs\":[{\"name\":\"\xff\xfe\"}]}"[..], &[]),
        bad("another kind of JSON", "[1, 2]", &[]),
        bad("more after the end", format!("{text}{text}"), &[]),
        bad("depth bomb in data", deep, &["32"]),
        bad("depth bomb elsewhere", deep_elsewhere, &["32"]),
    ]
}

fn binaries() -> Vec<Bad> {
    let sized = |size: u64| json!({ "inputs": [{ "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "parameters": { "binary_data_size": size } }] });
    let full = sized(256).to_string().len().to_string();
    let bomb = sized(1 << 60).to_string().len().to_string();
    let short = sized(255).to_string().len().to_string();
    vec![
        binary("fewer raw bytes than stated", &sized(256), 255, &full, &["image", "256"]),
        binary("more raw bytes than stated", &sized(256), 257, &full, &[]),
        binary("a raw size that the shape does not have", &sized(255), 255, &short, &["image", "256"]),
        binary("a raw size of an exabyte", &sized(1 << 60), 256, &bomb, &["image"]),
        binary(
            "a JSON part longer than the body",
            &sized(256),
            256,
            "100000",
            &["Inference-Header-Content-Length"],
        ),
        binary("a JSON length that is no number", &sized(256), 256, "-1", &["whole number"]),
        binary("a JSON length that cuts the JSON", &sized(256), 256, "10", &[]),
        binary("raw data without a size", &good(), 256, &good().to_string().len().to_string(), &[]),
    ]
}

fn places() -> Vec<Bad> {
    let infer = "/v2/models/digits/infer";
    vec![
        elsewhere("unknown model", Method::POST, "/v2/models/nope/infer", 404, &["nope"]),
        elsewhere(
            "unknown version",
            Method::POST,
            "/v2/models/digits/versions/9/infer",
            404,
            &["digits", "9"],
        ),
        elsewhere("version 0", Method::POST, "/v2/models/digits/versions/0/infer", 404, &["0", "positive"]),
        elsewhere(
            "a label that the model does not have",
            Method::POST,
            "/v2/models/digits/versions/v1/infer",
            404,
            &["digits", "v1", "1, 2"],
        ),
        elsewhere("metadata of an unknown model", Method::GET, "/v2/models/nope", 404, &["nope"]),
        elsewhere(
            "a model name with a slash in disguise",
            Method::POST,
            "/v2/models/a%2fb/infer",
            400,
            &["name"],
        ),
        elsewhere(
            "a model name that is too long",
            Method::POST,
            &format!("/v2/models/{}/infer", "a".repeat(129)),
            400,
            &["128"],
        ),
        elsewhere("unknown path", Method::GET, "/v2/nope", 404, &["/v2"]),
        elsewhere("outside the protocol", Method::GET, "/", 404, &["/v2"]),
        elsewhere("wrong method", Method::GET, infer, 405, &["POST"]),
        elsewhere("a method that writes", Method::DELETE, "/v2/models/digits", 405, &["GET"]),
        elsewhere("a method that mirrors", Method::TRACE, infer, 405, &["POST"]),
    ]
}

fn encodings() -> Vec<Bad> {
    let mut zipped = bad("an encoding that is not supported", good().to_string(), &["br", "gzip"]);
    zipped.request.headers_mut().insert("content-encoding", "br".parse().unwrap());
    zipped.status = 415;
    let mut large = bad("a body above the limit", vec![b' '; (1 << 20) + 1], &["1.0 MiB|1048576"]);
    large.status = 413;
    vec![zipped, large]
}

/// Problems of one place, so that all are seen at once.
async fn problems(place: &str, client: Client) -> Vec<String> {
    let mut problems = Vec::new();
    for case in [tensors(), texts(), binaries(), places(), encodings()].into_iter().flatten() {
        let Bad { name, request, status, says } = case;
        let problem = match client.send(request).await {
            Ok(reply) => judged(&reply, status, says),
            Err(error) => Some(format!("{error:#}")),
        };
        problems.extend(problem.map(|problem| format!("{place}, {name}: {problem}")));
        if let Some(problem) = unwell(client).await {
            problems.push(format!("{place}, after {name}: {problem}"));
        }
    }
    problems
}

fn judged(reply: &Reply, status: u16, says: &[&str]) -> Option<String> {
    let message = match reply.error() {
        Ok(message) => message,
        Err(error) => return Some(format!("{error:#}")),
    };
    let missing: Vec<_> =
        says.iter().filter(|part| part.split('|').all(|word| !message.contains(word))).collect();
    let leaks = ["/src/", "panicked", "c10", "torch::"].iter().any(|part| message.contains(part));
    let wrong =
        reply.status != status || !missing.is_empty() || leaks || reply.header("weir-reason").is_empty();
    wrong.then(|| format!("wanted {status} with {says:?}, got {reply}"))
}

/// What is wrong when a good request is no longer answered.
async fn unwell(client: Client) -> Option<String> {
    match client.post_json("/v2/models/digits/infer", &good()).await {
        Ok(reply) if reply.status == 200 => None,
        Ok(reply) => Some(format!("a good request gets {reply}")),
        Err(error) => Some(format!("a good request gets {error:#}")),
    }
}

async fn fleet() -> Fleet {
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_digits().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    builder.gateway.limits = LIMIT.to_owned();
    let mut worker = WorkerSpec::named("a").unwrap();
    worker.toml = format!("[limits]\n{LIMIT}");
    builder.worker(worker);
    builder.start().await.unwrap()
}

#[tokio::test]
async fn bad_requests_are_refused_with_what_was_expected_and_harm_nobody_else() {
    let mut fleet = fleet().await;
    let worker = fleet.worker("a").unwrap().client();
    let epoch = fleet.worker("a").unwrap().report().await.unwrap().epoch;
    let run = load::start(fleet.client(), 50.0);
    let mut found = problems("worker", worker).await;
    found.extend(problems("gateway", fleet.client()).await);
    run.stop();
    load::none_lost(&run.finish().await);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_eq!(fleet.worker("a").unwrap().report().await.unwrap().epoch, epoch, "the worker was restarted");
}

#[tokio::test]
async fn an_oversized_body_of_unstated_length_is_refused_too() {
    let mut fleet = fleet().await;
    for client in [fleet.worker("a").unwrap().client(), fleet.client()] {
        let body = Chunks::of(vec![b' '; 64 << 10].into(), 320);
        let request = Request::post("/v2/models/digits/infer").body(body).unwrap();
        let reply = client.send(request).await.unwrap();
        assert_eq!((reply.status, reply.header("weir-reason")), (413, "body-too-large"), "{reply}");
        reply.error().unwrap();
        assert_eq!(unwell(client).await, None);
    }
}

#[tokio::test]
async fn a_request_that_the_gateway_refuses_leaves_its_connection_usable() {
    let fleet = fleet().await;
    let good = good().to_string();
    let padded = format!("{good}{}", " ".repeat(100_000));
    let mut connection = RawConnection::open(fleet.client().address()).await.unwrap();
    for (model, body, status) in
        [("nope", &padded, 404), ("digits", &good, 200), ("no%20name", &good, 400), ("digits", &padded, 200)]
    {
        let length = body.len();
        let head =
            format!("POST /v2/models/{model}/infer HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        connection.send(head + body).await.unwrap();
        let reply = connection.reply().await.unwrap();
        assert_eq!(reply.status, status, "{}{}", reply.head, String::from_utf8_lossy(&reply.body));
    }
}
