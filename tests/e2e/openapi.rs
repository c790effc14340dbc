//! Real answers, good ones and errors, are what the OpenAPI document says of them.

use std::collections::BTreeSet;

use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use weir_protocol::openapi::DOCUMENT;
use weir_tests::{Client, Fleet, Reply, Synthetic, WorkerSpec, infer};

use crate::smoke::image;

/// A request, and the path in the document that it is of.
struct Asked {
    method: Method,
    template: &'static str,
    path: String,
    headers: &'static [(&'static str, &'static str)],
    body: String,
    status: u16,
}

fn get(template: &'static str, path: &str, status: u16) -> Asked {
    Asked { method: Method::GET, template, path: path.to_owned(), headers: &[], body: String::new(), status }
}

fn post(template: &'static str, path: &str, body: &Value, status: u16) -> Asked {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Asked { method: Method::POST, template, path: path.to_owned(), headers: &[], body, status }
}

const INFER: &str = "/v2/models/{model}/infer";
const MODEL: &str = "/v2/models/{model}";
const VERSION: &str = "/v2/models/{model}/versions/{version}";

fn reads() -> Vec<Asked> {
    let mut asked = vec![
        get("/v2", "/v2", 200),
        get("/v2", "/v2/", 200),
        get("/v2/health/live", "/v2/health/live", 200),
        get("/v2/health/ready", "/v2/health/ready", 200),
        get("/v2/openapi.json", "/v2/openapi.json", 200),
        get("/v2/models/stats", "/v2/models/stats", 200),
        get(MODEL, "/v2/models/digits", 200),
        get(MODEL, "/v2/models/nope", 404),
        get(MODEL, "/v2/models/a%20b", 400),
        get(VERSION, "/v2/models/digits/versions/2", 200),
        get(VERSION, "/v2/models/digits/versions/9", 404),
        get("/v2/models/{model}/versions/{version}/ready", "/v2/models/digits/versions/1/ready", 200),
        get("/v2/models/{model}/versions/{version}/config", "/v2/models/digits/versions/1/config", 200),
        get("/v2/models/{model}/versions/{version}/stats", "/v2/models/digits/versions/1/stats", 200),
    ];
    for (template, action) in [
        ("/v2/models/{model}/ready", "ready"),
        ("/v2/models/{model}/config", "config"),
        ("/v2/models/{model}/stats", "stats"),
    ] {
        for (model, status) in [("digits", 200), ("m", 200), ("nope", 404)] {
            asked.push(get(template, &format!("/v2/models/{model}/{action}"), status));
        }
    }
    for (template, path) in [
        ("/v2/repository/index", "/v2/repository/index"),
        ("/v2/repository/{repository}/index", "/v2/repository/r/index"),
    ] {
        asked.push(post(template, path, &Value::Null, 200));
        asked.push(post(template, path, &json!({ "ready": true }), 200));
        asked.push(post(template, path, &json!({ "ready": "yes" }), 400));
    }
    for call in ["load", "unload"] {
        let (template, path): (&'static str, _) = match call {
            "load" => ("/v2/repository/models/{model}/load", "/v2/repository/models/m/load"),
            _ => ("/v2/repository/models/{model}/unload", "/v2/repository/models/m/unload"),
        };
        asked.push(post(template, path, &Value::Null, 403));
    }
    asked
}

fn inferences() -> Vec<Asked> {
    let m = "/v2/models/m/infer";
    let mut with_id = infer::rows(2, 4);
    with_id["id"] = json!("mine");
    with_id["outputs"] = json!([{ "name": "y" }]);
    let mut binary = image();
    binary["parameters"] = json!({ "binary_data_output": true });
    let mut late = infer::rows(1, 4);
    late["parameters"] = json!({ "timeout": 1 });
    let mut asked = vec![
        post(INFER, "/v2/models/digits/infer", &image(), 200),
        post(INFER, "/v2/models/digits/infer", &binary, 200),
        post(INFER, m, &with_id, 200),
        post("/v2/models/{model}/versions/{version}/infer", "/v2/models/m/versions/1/infer", &with_id, 200),
        post(INFER, m, &infer::rows(1, 5), 400),
        post(INFER, m, &late, 504),
        post(INFER, "/v2/models/nope/infer", &with_id, 404),
        post(INFER, "/v2/models/broken/infer", &with_id, 503),
        post(INFER, m, &json!("x".repeat(2 << 20)), 413),
        get(INFER, m, 405),
        post("/v2/models/{model}/generate", "/v2/models/m/generate", &json!({ "text_input": "x" }), 501),
        post("/v1/chat/completions", "/v1/chat/completions", &json!({ "model": "m" }), 501),
    ];
    for (headers, status) in [
        (&[("content-encoding", "br")][..], 415),
        (&[("content-encoding", "gzip")], 400),
        (&[("x-timeout-ms", "soon")], 400),
        (&[("x-priority", "1")], 200),
        (&[("x-priority", "soon")], 400),
        (&[("x-request-id", "mine")], 200),
    ] {
        asked.push(Asked { headers, ..post(INFER, m, &with_id, status) });
    }
    asked
}

async fn send(client: Client, asked: &Asked) -> Reply {
    let mut request = Request::builder().method(&asked.method).uri(&asked.path);
    for (name, value) in asked.headers {
        request = request.header(*name, *value);
    }
    client.send(request.body(Full::from(asked.body.clone())).unwrap()).await.unwrap()
}

/// What of a reply is not as the document has it.
fn unlike(document: &Value, asked: &Asked, reply: &Reply) -> Option<String> {
    if reply.status != asked.status {
        return Some(format!("wanted {}", asked.status));
    }
    let path = asked.template.replace('~', "~0").replace('/', "~1");
    // The operation of the verb that the path has; another verb is answered 405.
    let verb = ["get", "post"]
        .into_iter()
        .find(|verb| document.pointer(&format!("/paths/{path}/{verb}")).is_some())?;
    let at = format!("/paths/{path}/{verb}/responses/{}", reply.status);
    let Some(mut response) = document.pointer(&at) else { return Some(format!("not in the document: {at}")) };
    if let Some(reference) = response.get("$ref").and_then(Value::as_str) {
        response = document.pointer(reference.trim_start_matches('#')).unwrap();
    }
    header_problem(document, response, reply).or_else(|| body_problem(document, response, reply))
}

fn header_problem(document: &Value, response: &Value, reply: &Reply) -> Option<String> {
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let reference = header.get("$ref").and_then(Value::as_str);
        let header = reference.map_or(header, |it| document.pointer(it.trim_start_matches('#')).unwrap());
        match reply.headers.get(name) {
            None if header["required"] == true => return Some(format!("no {name}")),
            None => {}
            Some(_) => {
                if let Some(problem) = mismatch(document, &header["schema"], &json!(reply.header(name))) {
                    return Some(format!("{name}: {problem}"));
                }
            }
        }
    }
    None
}

fn body_problem(document: &Value, response: &Value, reply: &Reply) -> Option<String> {
    let kind = reply.header("content-type").split(';').next().unwrap_or_default();
    let Some(content) = response.get("content") else {
        return (!reply.body.is_empty() && reply.body != "{}")
            .then(|| "a body that the document has not".to_owned());
    };
    let Some(media) = content.get(kind) else { return Some(format!("content-type {kind:?}")) };
    if kind != "application/json" {
        return None;
    }
    match reply.json() {
        Ok(json) => mismatch(document, &media["schema"], &json),
        Err(error) => Some(error.to_string()),
    }
}

/// What of a value the schema, whose references lead into the document, does not allow.
fn mismatch(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::new(&whole).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(value).map(|it| format!("{}: {it}", it.instance_path())).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

async fn fleet() -> Fleet {
    let limits = "body_bytes = \"1 MiB\"";
    let mut builder = Fleet::builder().unwrap();
    builder.repository.add_digits().unwrap();
    builder.repository.add("m", &Synthetic::default()).unwrap();
    builder.repository.write("broken/model.toml", "max_batch_size = 1\n").unwrap();
    std::fs::create_dir_all(builder.repository.folder().join("broken/1")).unwrap();
    let mut worker = WorkerSpec::named("a").unwrap();
    worker.toml = format!("[limits]\n{limits}");
    builder.worker(worker);
    builder.gateway.limits = limits.to_owned();
    let mut fleet = builder.launch().unwrap();
    // It is ready though one model has failed.
    fleet.gateway.ready().await.unwrap();
    fleet.worker("a").unwrap().ready().await.unwrap();
    fleet.ready().await.unwrap();
    fleet
}

#[tokio::test]
async fn every_answer_is_what_the_document_says_at_the_worker_and_through_the_gateway() {
    let mut fleet = fleet().await;
    let worker = fleet.worker("a").unwrap().client();
    let mut problems = Vec::new();
    let mut statuses = BTreeSet::new();
    for (place, client) in [("worker", worker), ("gateway", fleet.client())] {
        let served = client.get("/v2/openapi.json").await.unwrap();
        assert_eq!(served.body, DOCUMENT, "{place}");
        let document = served.json().unwrap();
        let mut asked = reads();
        asked.extend(inferences());
        asked.push(get("/v2/load", "/v2/load", if place == "worker" { 200 } else { 404 }));
        for one in asked {
            let reply = send(client, &one).await;
            statuses.insert(reply.status);
            let problem = unlike(&document, &one, &reply);
            let what = format!("{place}, {} {}", one.method, one.path);
            problems.extend(problem.map(|problem| format!("{what}: {problem}; got {reply}")));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(statuses, BTreeSet::from([200, 400, 403, 404, 405, 413, 415, 501, 503, 504]));
}

#[tokio::test]
async fn what_the_gateway_answers_when_its_worker_is_gone_is_in_the_document_too() {
    let mut fleet = Fleet::serving(&Synthetic::default(), &["a"]).await.unwrap();
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    fleet.worker("a").unwrap().process().kill().unwrap();
    let mut seen = BTreeSet::new();
    let rows = infer::rows(1, 4);
    // Broken connections first, then a worker that is known to be gone.
    weir_tests::eventually("the gateway to notice", async || {
        let mut asked = post(INFER, "/v2/models/m/infer", &rows, 0);
        let reply = send(fleet.client(), &asked).await;
        asked.status = reply.status;
        anyhow::ensure!(unlike(&document, &asked, &reply).is_none(), "{reply}");
        seen.insert(reply.header("weir-reason").to_owned());
        anyhow::ensure!(reply.header("weir-reason") == "not-ready", "{reply}");
        Ok(())
    })
    .await
    .unwrap();
    println!("seen {seen:?}");
    let ready = get("/v2/models/{model}/ready", "/v2/models/m/ready", 503);
    let reply = send(fleet.client(), &ready).await;
    assert_eq!(unlike(&document, &ready, &reply), None, "{reply}");
}

#[test]
fn a_value_that_the_schema_does_not_allow_is_seen() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let error = json!({ "$ref": "#/components/schemas/Error" });
    assert_eq!(mismatch(&document, &error, &json!({ "error": "why" })), None);
    for wrong in [json!({}), json!({ "error": "" }), json!({ "error": "why", "more": 1 }), json!([])] {
        assert!(mismatch(&document, &error, &wrong).is_some(), "{wrong}");
    }
}
