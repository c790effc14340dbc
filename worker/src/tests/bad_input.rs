//! Everything that is wrong with a request, the message that names what was expected, and the neighbour that does not
//! notice.

use http::Request;

use super::fixture::{ECHO, ECHO_ROW, Repository, Running};

/// Two inputs (one with a free dimension) and two outputs.
const PAIR: &str = r#"
backend = "synthetic"
max_batch_size = 4
[[input]]
name = "a"
datatype = "FP32"
shape = [-1, 2]
[[input]]
name = "b"
datatype = "INT64"
shape = [-1, -1]
[[output]]
name = "y"
datatype = "FP32"
shape = [-1, 2]
[[output]]
name = "z"
datatype = "INT64"
shape = [-1, 3]
[batching]
max_queue_size = 4
[synthetic]
base = "0s"
per_item = "0s"
"#;

const A: &str = r#"{"name":"a","shape":[1,2],"datatype":"FP32","data":[1,2]}"#;
const B: &str = r#"{"name":"b","shape":[1,1],"datatype":"INT64","data":[7]}"#;

async fn pair() -> Running {
    Running::start(Repository::echo().with("pair", PAIR, &[1])).await
}

/// Sends each body, expects 400 with all the words in its message, and checks that the next request is fine.
async fn assert_refused(running: &Running, cases: &[(String, &[&str])]) {
    for (body, words) in cases {
        let reply = running.post("/v2/models/pair/infer", body.clone()).await;
        assert_eq!((reply.status, reply.header("weir-reason")), (400, "bad-request"), "{body}: {reply:?}");
        let error = reply.error();
        for word in *words {
            assert!(error.contains(word), "{body}: '{error}' does not say '{word}'");
        }
        running.assert_serves().await;
    }
}

fn with_inputs(inputs: &str) -> String {
    format!(r#"{{"inputs":[{inputs}]}}"#)
}

fn with_a(shape: &str, datatype: &str, data: &str) -> String {
    with_inputs(&format!(r#"{{"name":"a","shape":{shape},"datatype":"{datatype}","data":{data}}},{B}"#))
}

#[tokio::test]
async fn inputs_that_are_missing_extra_or_there_twice() {
    let cases: [(String, &[&str]); 5] = [
        (with_inputs(A), &["input 'b' is missing", "INT64 [-1,-1]"]),
        (with_inputs(""), &["input 'a' is missing"]),
        (with_inputs(&format!("{A},{B},{A}")), &["input 'a' is given twice"]),
        (
            with_inputs(&format!("{A},{B},{}", A.replace("\"a\"", "\"c\""))),
            &["unknown input 'c'", "'a', 'b'"],
        ),
        (r#"{"outputs":[]}"#.to_owned(), &["inputs"]),
    ];
    assert_refused(&pair().await, &cases).await;
}

#[tokio::test]
async fn types_and_shapes_that_do_not_fit_the_model() {
    let cases: [(String, &[&str]); 10] = [
        (with_a("[1,2]", "FP64", "[1,2]"), &["input 'a' is FP64 [1,2]", "expected FP32 [-1,2]"]),
        (with_a("[1,2]", "FP99", "[1,2]"), &["FP99", "FP32"]),
        (with_a("[1,3]", "FP32", "[1,2,3]"), &["input 'a' is FP32 [1,3]", "expected FP32 [-1,2]"]),
        (with_a("[2]", "FP32", "[1,2]"), &["FP32 [2]", "expected FP32 [-1,2]"]),
        (with_a("[1,1,2]", "FP32", "[1,2]"), &["FP32 [1,1,2]"]),
        (with_a("[1,2]", "FP32", "[1,2,3]"), &["'a'", "2"]),
        (with_a("[1,-2]", "FP32", "[1,2]"), &["shape"]),
        (with_a("[1,4611686018427387904]", "FP32", "[1,2]"), &["'a'", "exceeds"]),
        (with_a("[18446744073709551615,2]", "FP32", "[]"), &["'a'", "expected an integer"]),
        (
            with_inputs(&format!(r#"{A},{{"name":"b","shape":[1,0],"datatype":"INT64","data":[]}}"#)),
            &["input 'b' is INT64 [1,0]"],
        ),
    ];
    assert_refused(&pair().await, &cases).await;
}

#[tokio::test]
async fn row_counts_outside_the_models_limits_or_unequal() {
    let five = r#"[1,2,3,4,5,6,7,8,9,10]"#;
    let b5 = r#"{"name":"b","shape":[5,1],"datatype":"INT64","data":[1,2,3,4,5]}"#;
    let a5 = format!(r#"{{"name":"a","shape":[5,2],"datatype":"FP32","data":{five}}}"#);
    let a0 = r#"{"name":"a","shape":[0,2],"datatype":"FP32","data":[]}"#;
    let b0 = r#"{"name":"b","shape":[0,1],"datatype":"INT64","data":[]}"#;
    let cases: [(String, &[&str]); 3] = [
        (with_inputs(&format!("{a5},{b5}")), &["5 rows", "1 to 4"]),
        (with_inputs(&format!("{a0},{b0}")), &["0 rows", "1 to 4"]),
        (with_inputs(&format!("{A},{b5}")), &["'a' has 1 rows", "'b' has 5", "must be equal"]),
    ];
    assert_refused(&pair().await, &cases).await;
}

#[tokio::test]
async fn outputs_that_are_unknown_or_there_twice_and_a_bad_timeout() {
    let outputs = |outputs: &str| format!(r#"{{"inputs":[{A},{B}],"outputs":[{outputs}]}}"#);
    let timeout = |value: &str| format!(r#"{{"parameters":{{"timeout":{value}}},"inputs":[{A},{B}]}}"#);
    let cases: [(String, &[&str]); 4] = [
        (outputs(r#"{"name":"q"}"#), &["unknown output 'q'", "'y', 'z'"]),
        (outputs(r#"{"name":"y"},{"name":"y"}"#), &["output 'y' is asked for twice"]),
        (timeout("-5"), &["timeout", "microseconds"]),
        (timeout("\"soon\""), &["timeout", "microseconds"]),
    ];
    assert_refused(&pair().await, &cases).await;
}

#[tokio::test]
async fn json_that_is_broken_too_deep_or_not_text() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let good = with_inputs(&format!("{A},{B}"));
    let cases: [(String, &[&str]); 5] = [
        (good[..good.len() / 2].to_owned(), &[]),
        (String::new(), &[]),
        ("[1,2]".to_owned(), &["object"]),
        (with_a("[1,2]", "FP32", &deep), &["32"]),
        (format!("{good}x"), &[]),
    ];
    let running = pair().await;
    assert_refused(&running, &cases).await;
    let reply = running.post("/v2/models/pair/infer", &b"\xff\xfe{"[..]).await;
    assert_eq!(reply.status, 400);
    running.assert_serves().await;
}

#[tokio::test]
async fn binary_framing_that_does_not_add_up() {
    let json =
        r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}]}"#;
    let running = Running::start(Repository::new().with("echo", ECHO, &[1])).await;
    let lengths = [json.len().to_string(), (json.len() + 1000).to_string(), "-1".to_owned(), "x".to_owned()];
    for (length, raw) in lengths.iter().zip([&[0_u8; 7][..], &[0; 8], &[0; 8], &[0; 8]]) {
        let mut body = json.as_bytes().to_vec();
        body.extend_from_slice(raw);
        let request =
            Request::post("/v2/models/echo/infer").header("inference-header-content-length", length);
        let reply = running.send(request, body).await;
        assert_eq!(reply.status, 400, "{length}: {reply:?}");
        assert!(!reply.error().is_empty());
        running.assert_serves().await;
    }
}

#[tokio::test]
async fn paths_and_verbs_outside_the_surface() {
    let running = Running::start(Repository::echo()).await;
    for (method, path, status, allow) in [
        ("GET", "/", 404, ""),
        ("GET", "/v2/models/echo/weights", 404, ""),
        ("POST", "/v2/models/echo/generate", 501, ""),
        ("POST", "/v1/completions", 501, ""),
        ("POST", "/v2/models/..%2f..%2fetc/infer", 400, ""),
        ("POST", "/v2/models/echo/versions/one/infer", 404, ""),
        ("POST", "/v2/models/echo/versions/0/infer", 404, ""),
        ("GET", "/v2/models/echo/infer", 405, "POST"),
        ("DELETE", "/v2/models/echo/infer", 405, "POST"),
        ("PUT", "/v2/models/echo", 405, "GET"),
        ("POST", "/v2/load", 405, "GET"),
        ("POST", "/metrics", 405, "GET"),
    ] {
        let reply = running.send(Request::builder().method(method).uri(path), "{}").await;
        assert_eq!((reply.status, reply.header("allow")), (status, allow), "{method} {path}");
        assert!(!reply.error().is_empty());
    }
    running.assert_serves().await;
}

#[tokio::test]
async fn a_number_where_a_header_needs_one() {
    let running = Running::start(Repository::echo()).await;
    for name in ["x-timeout-ms", "weir-deadline-us", "inference-header-content-length"] {
        for value in ["", "-1", "1.5", "+1", "99999999999999999999999"] {
            let request = Request::post("/v2/models/echo/infer").header(name, value);
            let reply = running.send(request, ECHO_ROW).await;
            assert_eq!(reply.status, 400, "{name}: {value}");
            assert!(reply.error().contains(name), "{reply:?}");
        }
    }
}
