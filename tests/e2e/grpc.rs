//! gRPC: everything that OIP has, at the worker and through the gateway, and how calls end when they do not end well.

mod calls;
mod ends;
mod faults;
mod limits;
mod messages;
mod names;
mod readiness;
mod streams;

use std::fmt::Debug;

use tonic::{Code, Status};
use weir_protocol::headers;
use weir_tests::{Fleet, GrpcClient, grpc::metadata_of};

/// A client of worker `a`, and one of the gateway.
fn both(fleet: &mut Fleet) -> [(&'static str, GrpcClient); 2] {
    let worker = fleet.worker("a").unwrap().grpc().unwrap();
    [("worker", worker), ("gateway", fleet.gateway.grpc().unwrap())]
}

/// What is wrong with a result that should be an error of this code and reason; its message must contain every part
/// of `says`.
fn unlike<T: Debug>(result: &Result<T, Status>, code: Code, reason: &str, says: &[&str]) -> Option<String> {
    let status = match result {
        Ok(answer) => return Some(format!("wanted {code:?} {reason}, got an answer: {answer:?}")),
        Err(status) => status,
    };
    let got = metadata_of(status.metadata(), headers::REASON);
    let silent = status.message().is_empty() || says.iter().any(|part| !status.message().contains(part));
    let wrong = status.code() != code || got != reason || silent;
    wrong.then(|| format!("wanted {code:?} {reason} {says:?}, got {got:?} and {status:?}"))
}

#[track_caller]
fn is<T: Debug>(what: &str, result: &Result<T, Status>, code: Code, reason: &str) {
    assert_eq!(unlike(result, code, reason, &[]), None, "{what}");
}
