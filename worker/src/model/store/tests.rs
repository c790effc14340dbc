//! Names to serving versions, in every state.

use weir_protocol::Bytes;

use super::*;
use crate::{
    device::Cpu,
    model::{lanes::tests::idle, repository},
    tests::fixture::{ECHO, Repository},
};

fn store(repository: &Repository) -> Store {
    Store::new(repository::scan(repository.path()).unwrap(), Clock::start(), &Telemetry::new())
}

fn host() -> Host {
    Host { cpu: Cpu::new(Bytes::mib(1)), intra_op_threads: 1 }
}

fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

/// The version that an unversioned or versioned name leads to, or the message.
fn resolve(store: &Store, asked: Option<u64>) -> Result<u64, String> {
    let resolved = store.resolve(&"echo".parse().unwrap(), asked.map(version));
    resolved.map(|(replica, _)| replica.version.number()).map_err(|error| error.to_string())
}

fn replica(store: &Store, number: u64) -> Arc<Replica> {
    Arc::clone(store.model(&"echo".parse().unwrap()).unwrap().replica(version(number)).unwrap())
}

fn serve(replica: &Replica) {
    for event in [Event::Load, Event::WarmUp, Event::Serve(Arc::new(idle()))] {
        replica.advance(event);
    }
}

#[test]
fn the_highest_serving_version_stands_for_the_model() {
    let repository = Repository::new().with("echo", ECHO, &[2, 9, 10]);
    let store = store(&repository);
    assert_eq!(resolve(&store, None), Err("model 'echo' is not ready: it is being loaded".to_owned()));
    serve(&replica(&store, 2));
    assert_eq!(resolve(&store, None), Ok(2));
    serve(&replica(&store, 10));
    assert_eq!((resolve(&store, None), resolve(&store, Some(2))), (Ok(10), Ok(2)));
    replica(&store, 10).advance(Event::Drain);
    assert_eq!(resolve(&store, None), Ok(2));
    let going = "model 'echo' version 10 is not ready: it is going away".to_owned();
    assert_eq!(resolve(&store, Some(10)), Err(going));
    assert_eq!(
        resolve(&store, Some(3)),
        Err("model 'echo' has no version 3: its versions are 2, 9, 10".to_owned())
    );
}

#[test]
fn a_model_without_versions_is_known_and_never_ready() {
    let store = store(&Repository::new().with("echo", ECHO, &[]));
    assert!(store.is_settled(), "there is nothing to wait for");
    assert!(resolve(&store, None).unwrap_err().contains("failed to load"));
    assert!(resolve(&store, Some(1)).unwrap_err().ends_with("its versions are none"));
}

#[test]
fn loading_settles_every_version_and_draining_takes_them_out() {
    let store = store(&Repository::new().with("echo", ECHO, &[1, 2]).with("broken", "lanes = 0", &[1]));
    assert!(!store.is_settled());
    store.load_all(&host());
    assert!(store.is_settled());
    let states: Vec<_> = store.replicas().map(|replica| replica.load().state.name()).collect();
    assert_eq!(states, ["failed", "serving", "serving"]);
    let ids: Vec<_> = store.replicas().map(|replica| replica.id).collect();
    assert_eq!(ids, [1, 2, 3]);
    store.drain();
    assert!(resolve(&store, None).unwrap_err().contains("going away"));
    store.close();
}

#[test]
fn nothing_is_loaded_once_the_store_drains() {
    let store = store(&Repository::new().with("echo", ECHO, &[1]));
    store.drain();
    store.load_all(&host());
    assert!(!store.is_settled());
}
