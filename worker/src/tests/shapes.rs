//! Requests of all shapes: lengths that are padded to share a batch, and more rows than a batch may have.

use http::Request;
use serde_json::{Value, json};

use super::fixture::{Reply, Repository, Running};

#[cfg(feature = "torch")]
mod torch;

/// Echoes `ids`, padded to buckets of 4 and 8, and cuts the echo back. A batch waits until it has four rows.
const ECHO_LENGTHS: &str = r#"
backend = "synthetic"
max_batch_size = 4
[[input]]
name = "ids"
datatype = "INT32"
shape = [-1, -1]
pad_value = -1
[[input]]
name = "mask"
datatype = "INT32"
shape = [-1, -1]
mask = true
[[output]]
name = "y"
datatype = "INT32"
shape = [-1, -1]
unpad = true
[batching]
max_queue_delay = "60s"
buckets = [4, 8]
[synthetic]
base = "1ms"
per_item = "0s"
"#;

/// Echoes rows of two numbers, four of them in a batch, up to ten in a request.
const ECHO_ROWS: &str = r#"
backend = "synthetic"
max_batch_size = 4
[[input]]
name = "x"
datatype = "INT32"
shape = [-1, 2]
[[output]]
name = "y"
datatype = "INT32"
shape = [-1, 2]
[batching]
max_queue_size = 10
[synthetic]
base = "0s"
per_item = "0s"
"#;

/// A request with one input of INT32.
fn body(name: &str, shape: &[usize], data: &[i32]) -> String {
    json!({"inputs": [{"name": name, "shape": shape, "datatype": "INT32", "data": data}]}).to_string()
}

/// Sends all requests at once and returns the answers in their order.
async fn all(running: &Running, model: &str, bodies: Vec<String>) -> Vec<Reply> {
    let path = format!("/v2/models/{model}/infer");
    let mut replies = Vec::new();
    for body in bodies {
        let (path, mut connection) = (path.clone(), running.connect().await);
        replies.push(running.spawn(async move { connection.post(&path, body).await }));
    }
    let mut answers = Vec::new();
    for reply in replies {
        answers.push(reply.await.unwrap());
    }
    answers
}

/// The first output of an answer: shape and data.
fn output(reply: &Reply) -> (Value, Value) {
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let output = &reply.json()["outputs"][0];
    (output["shape"].clone(), output["data"].clone())
}

/// Requests, their rows and forward passes that statistics count.
async fn counts(running: &Running, model: &str) -> (Value, Value, Value) {
    let stats = running.get(&format!("/v2/models/{model}/stats")).await.json()["model_stats"][0].clone();
    let requests = stats["inference_stats"]["success"]["count"].clone();
    (requests, stats["inference_count"].clone(), stats["execution_count"].clone())
}

/// The value of a metric whose line begins so.
async fn metric(running: &Running, line: &str) -> String {
    let text = String::from_utf8(running.get("/metrics").await.body.to_vec()).unwrap();
    let value = text.lines().find_map(|each| each.strip_prefix(line)).unwrap_or_default();
    value.trim().to_owned()
}

#[tokio::test]
async fn requests_of_all_lengths_of_a_bucket_share_a_batch_and_get_their_own_back() {
    let running = Running::start(Repository::new().with("echo", ECHO_LENGTHS, &[1])).await;
    for (bucket, lengths) in [(4, [1, 2, 3, 4]), (8, [5, 6, 7, 8])] {
        let data = |length: usize| (1..=length).map(|at| i32::try_from(10 * length + at).unwrap()).collect();
        let rows: Vec<(usize, Vec<i32>)> = lengths.into_iter().map(|length| (length, data(length))).collect();
        let bodies = rows.iter().map(|(length, data)| body("ids", &[1, *length], data)).collect();
        for (reply, (length, data)) in all(&running, "echo", bodies).await.iter().zip(rows) {
            assert_eq!(output(reply), (json!([1, length]), json!(data)), "bucket {bucket}");
        }
    }
    assert_eq!(counts(&running, "echo").await, (json!(8), json!(8), json!(2)), "one batch of each bucket");
    let labels = r#"{model="echo",version="1""#;
    for (kind, expected) in [("real", "36"), ("padding", "12")] {
        let line = format!(r#"weir_worker_padded_elements_total{labels},kind="{kind}"}}"#);
        assert_eq!(metric(&running, &line).await, expected, "{kind}");
    }
}

#[tokio::test]
async fn a_request_of_several_rows_is_padded_row_by_row() {
    let running = Running::start(Repository::new().with("echo", ECHO_LENGTHS, &[1])).await;
    let bodies = vec![body("ids", &[3, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9]), body("ids", &[1, 2], &[10, 11])];
    let replies = all(&running, "echo", bodies).await;
    assert_eq!(output(&replies[0]), (json!([3, 3]), json!([1, 2, 3, 4, 5, 6, 7, 8, 9])));
    assert_eq!(output(&replies[1]), (json!([1, 2]), json!([10, 11])));
    assert_eq!(counts(&running, "echo").await.2, json!(1));
}

#[tokio::test]
async fn without_unpad_an_output_is_as_long_as_its_bucket_and_shows_the_padding() {
    let toml = ECHO_LENGTHS.replace("unpad = true", "").replace("60s", "0s");
    let running = Running::start(Repository::new().with("echo", &toml, &[1])).await;
    let reply = all(&running, "echo", vec![body("ids", &[1, 2], &[5, 6])]).await;
    assert_eq!(output(&reply[0]), (json!([1, 4]), json!([5, 6, -1, -1])));
}

#[tokio::test]
async fn a_request_without_json_may_leave_the_mask_out() {
    let toml = ECHO_LENGTHS.replace("60s", "0s");
    let running = Running::start(Repository::new().with("echo", &toml, &[1])).await;
    let post = Request::post("/v2/models/echo/infer").header("inference-header-content-length", "0");
    let reply = running.send(post, &[5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0][..]).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.ends_with(&[5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0]), "{reply:?}");
}

#[tokio::test]
async fn what_no_bucket_holds_is_refused_before_it_reaches_a_batch() {
    let running = Running::start(Repository::new().with("echo", ECHO_LENGTHS, &[1])).await;
    let replies = all(&running, "echo", vec![body("ids", &[1, 9], &[0; 9])]).await;
    assert_eq!((replies[0].status, replies[0].header("weir-reason")), (400, "bad-request"));
    let error = replies[0].error();
    assert_eq!(error, "input 'ids' has length 9: expected at most 8, the model's largest bucket");
    let empty = all(&running, "echo", vec![body("ids", &[1, 0], &[])]).await;
    let error = empty[0].error();
    assert_eq!(error, "input 'ids' is INT32 [1,0]: expected INT32 [-1,-1], with at least 1 for each -1");
    assert_eq!(counts(&running, "echo").await.2, json!(0));
}

#[tokio::test]
async fn a_mask_that_weir_can_make_is_an_optional_input() {
    let running = Running::start(Repository::new().with("echo", ECHO_LENGTHS, &[1])).await;
    let config = running.get("/v2/models/echo/config").await.json();
    let optional: Vec<_> =
        config["input"].as_array().unwrap().iter().map(|input| &input["optional"]).collect();
    assert_eq!(optional, [&json!(false), &json!(true)]);
}

#[tokio::test]
async fn a_request_larger_than_a_batch_runs_in_parts_and_is_one_answer() {
    let running = Running::start(Repository::new().with("rows", ECHO_ROWS, &[1])).await;
    let data: Vec<i32> = (0..20).collect();
    let replies = all(&running, "rows", vec![body("x", &[10, 2], &data)]).await;
    assert_eq!(output(&replies[0]), (json!([10, 2]), json!(data)));
    assert_eq!(counts(&running, "rows").await, (json!(1), json!(10), json!(3)), "one request of ten rows");
}

#[tokio::test]
async fn a_request_with_more_rows_than_the_queue_may_hold_is_refused() {
    let running = Running::start(Repository::new().with("rows", ECHO_ROWS, &[1])).await;
    let replies = all(&running, "rows", vec![body("x", &[11, 2], &[0; 22])]).await;
    assert_eq!(replies[0].status, 400);
    assert_eq!(replies[0].error(), "the request has 11 rows: expected 1 to 10, the model's max_queue_size");
}

#[tokio::test]
async fn lengths_and_parts_go_together() {
    let toml = ECHO_LENGTHS.replace("60s", "0s");
    let running = Running::start(Repository::new().with("echo", &toml, &[1])).await;
    let data: Vec<i32> = (0..27).collect();
    let replies =
        all(&running, "echo", vec![body("ids", &[9, 3], &data), body("ids", &[5, 1], &[1; 5])]).await;
    assert_eq!(output(&replies[0]), (json!([9, 3]), json!(data)));
    assert_eq!(output(&replies[1]), (json!([5, 1]), json!([1, 1, 1, 1, 1])));
}
