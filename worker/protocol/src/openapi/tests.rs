//! The document says what the code does: the same paths and verbs, the same reasons by status, nothing that dangles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::DOCUMENT;
use crate::{
    Reason, VersionRef,
    rest::{Generate, NAMED_IN_BODY, RestCall, Target},
};

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

fn object<'a>(document: &'a Value, pointer: &str) -> &'a Map<String, Value> {
    document.pointer(pointer).and_then(Value::as_object).unwrap_or_else(|| panic!("no {pointer}"))
}

/// Every (verb, path, operation).
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut operations = Vec::new();
    for (path, item) in object(document, "/paths") {
        for (verb, operation) in item.as_object().unwrap() {
            operations.push((verb.to_uppercase(), path.clone(), operation));
        }
    }
    operations
}

/// The paths of a call as templates. No catch-all arm: a new call must be written into the document.
fn templates(call: &RestCall) -> Vec<String> {
    let of_model = |action: &str| {
        vec![
            format!("/v2/models/{{model}}{action}"),
            format!("/v2/models/{{model}}/versions/{{version}}{action}"),
        ]
    };
    let of_repository = |action: &str| {
        vec![format!("/v2/repository{action}"), format!("/v2/repository/{{repository}}{action}")]
    };
    match call {
        RestCall::Live => vec!["/v2/health/live".to_owned()],
        RestCall::Ready => vec!["/v2/health/ready".to_owned()],
        RestCall::ServerMetadata => vec!["/v2".to_owned()],
        RestCall::OpenApi => vec!["/v2/openapi.json".to_owned()],
        RestCall::Load => vec!["/v2/load".to_owned()],
        RestCall::ModelStatistics(None) => vec!["/v2/models/stats".to_owned()],
        RestCall::ModelMetadata(_) => of_model(""),
        RestCall::ModelReady(_) => of_model("/ready"),
        RestCall::ModelConfig(_) => of_model("/config"),
        RestCall::ModelStatistics(Some(_)) => of_model("/stats"),
        RestCall::Infer(_) => of_model("/infer"),
        RestCall::Generate(_, form) => of_model(&format!("/{}", form.action())),
        RestCall::NamedInBody(path) => vec![(*path).to_owned()],
        RestCall::RepositoryIndex => of_repository("/index"),
        RestCall::RepositoryLoad(_) => of_repository("/models/{model}/load"),
        RestCall::RepositoryUnload(_) => of_repository("/models/{model}/unload"),
    }
}

/// One of each call.
fn calls() -> Vec<RestCall> {
    let model = || "m".parse().unwrap();
    let target = || Target { model: model(), version: None };
    let mut calls = vec![
        RestCall::Live,
        RestCall::Ready,
        RestCall::ServerMetadata,
        RestCall::OpenApi,
        RestCall::Load,
        RestCall::ModelStatistics(None),
        RestCall::ModelStatistics(Some(target())),
        RestCall::ModelMetadata(target()),
        RestCall::ModelReady(target()),
        RestCall::ModelConfig(target()),
        RestCall::Infer(target()),
        RestCall::Generate(target(), Generate::Whole),
        RestCall::Generate(target(), Generate::Stream),
        RestCall::RepositoryIndex,
        RestCall::RepositoryLoad(model()),
        RestCall::RepositoryUnload(model()),
    ];
    calls.extend(NAMED_IN_BODY.map(RestCall::NamedInBody));
    calls
}

#[test]
fn the_document_has_every_path_with_its_verb_and_no_other() {
    let document = document();
    let written: BTreeSet<_> =
        operations(&document).into_iter().map(|(verb, path, _)| (verb, path)).collect();
    let of =
        |call: &RestCall| templates(call).into_iter().map(|path| (call.method().to_owned(), path)).collect();
    let known: BTreeSet<(String, String)> = calls().iter().flat_map(|call| -> Vec<_> { of(call) }).collect();
    assert_eq!(written, known);
}

#[test]
fn a_path_of_the_document_is_the_call_that_it_stands_for() {
    let document = document();
    for (verb, path, _) in operations(&document) {
        for version in ["2", "stable"] {
            let concrete =
                path.replace("{model}", "m").replace("{version}", version).replace("{repository}", "r");
            let call = RestCall::parse(&verb, &concrete).unwrap_or_else(|e| panic!("{verb} {concrete}: {e}"));
            assert!(templates(&call).contains(&path), "{verb} {concrete} is {call:?}");
            let named = path.contains("{version}").then(|| version.parse::<VersionRef>().unwrap());
            assert_eq!(call.target().and_then(|target| target.version.clone()), named, "{path}");
        }
    }
}

#[test]
fn every_error_status_lists_exactly_its_reasons_and_every_operation_may_give_them() {
    let document = document();
    let mut expected: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    for &reason in Reason::ALL {
        expected.entry(reason.status()).or_default().insert(reason.name());
    }
    let mut statuses = BTreeSet::new();
    for (verb, path, operation) in operations(&document) {
        for (status, response) in object(operation, "/responses") {
            let status: u16 = status.parse().unwrap();
            let Some(reasons) = expected.get(&status) else {
                assert_eq!(status, 200, "{verb} {path}");
                continue;
            };
            let pointer = response["$ref"].as_str().unwrap().trim_start_matches('#').to_owned();
            let listed = document.pointer(&format!("{pointer}/headers/weir-reason/schema/enum")).unwrap();
            let listed: BTreeSet<_> = listed.as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert_eq!(listed, *reasons, "{status}");
            statuses.insert(status);
        }
    }
    assert_eq!(statuses, expected.keys().copied().collect(), "statuses that no operation has");
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    let mut defined = BTreeSet::new();
    for (kind, components) in object(&document, "/components") {
        defined
            .extend(components.as_object().unwrap().keys().map(|name| format!("#/components/{kind}/{name}")));
    }
    assert_eq!(used, defined);
}

#[test]
fn operations_have_names_of_their_own_and_declare_what_their_path_holds() {
    let document = document();
    let mut names = BTreeSet::new();
    for (verb, path, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "{name} twice");
        assert_eq!(operation.get("requestBody").is_some(), verb == "POST", "{verb} {path}");
        let mut declared = BTreeSet::new();
        references(&operation["parameters"], &mut declared);
        for (placeholder, component) in
            [("model", "Model"), ("version", "Version"), ("repository", "Repository")]
        {
            let reference = format!("#/components/parameters/{component}");
            assert_eq!(path.contains(&format!("{{{placeholder}}}")), declared.contains(&reference), "{path}");
        }
    }
}

#[test]
fn the_document_is_of_this_release() {
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document()["openapi"], "3.1.0");
}
