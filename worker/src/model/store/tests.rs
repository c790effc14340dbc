//! Names to serving versions, in every state.

use std::time::Duration;

use weir_protocol::Bytes;

use super::*;
use crate::{
    backend::Host,
    device::Cpu,
    lanes::tests::{idle, two_lanes},
    model::{lifecycle::Event, repository},
    tests::fixture::{ECHO, Repository},
};

fn store(repository: &Repository) -> Store {
    Store::new(repository::scan(repository.path()).unwrap(), two_lanes(), &Telemetry::new())
}

/// Looks at the folder of `echo` again and loads what is not in memory; answers what failed.
fn reload(store: &Store, repository: &Repository) -> Vec<(u64, String)> {
    let turn = futures_util::FutureExt::now_or_never(store.turn().take()).unwrap();
    let found = repository::find(repository.path(), &"echo".parse().unwrap()).unwrap();
    let model = store.refresh(found, &Telemetry::new(), &turn);
    let failed = store.load_model(&model, &host(), &turn);
    failed.into_iter().map(|failed| (failed.version.number(), failed.reason)).collect()
}

fn unload(store: &Store) {
    let turn = futures_util::FutureExt::now_or_never(store.turn().take()).unwrap();
    let model = store.model(&"echo".parse().unwrap()).unwrap();
    store.unload_model(&model, Duration::ZERO, &turn);
}

/// Versions of `echo` and their states.
fn states(store: &Store) -> Vec<(u64, &'static str)> {
    let model = store.model(&"echo".parse().unwrap()).unwrap();
    model.replicas.values().map(|r| (r.version.number(), r.load().state.name())).collect()
}

fn host() -> Host {
    Host { cpu: Cpu::new(Bytes::mib(1)), intra_op_threads: 1 }
}

fn version(text: impl ToString) -> VersionRef {
    text.to_string().parse().unwrap()
}

/// The version that an unversioned or versioned name leads to, or the message.
fn resolve(store: &Store, asked: Option<u64>) -> Result<u64, String> {
    resolve_as(store, asked.map(version))
}

fn resolve_as(store: &Store, asked: Option<VersionRef>) -> Result<u64, String> {
    let resolved = store.resolve(&"echo".parse().unwrap(), asked.as_ref());
    resolved.map(|(replica, _)| replica.version.number()).map_err(|error| error.to_string())
}

fn replica(store: &Store, number: u64) -> Arc<Replica> {
    Arc::clone(store.model(&"echo".parse().unwrap()).unwrap().replica(&version(number)).unwrap())
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
fn a_version_that_began_to_serve_after_the_look_did_not_fail() {
    let store = store(&Repository::new().with("echo", ECHO, &[1]));
    serve(&replica(&store, 1));
    let unresolved = store.model(&"echo".parse().unwrap()).unwrap().not_ready(None);
    assert_eq!(unresolved.to_string(), "model 'echo' is not ready: it is being loaded");
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

#[test]
fn a_label_leads_to_its_version_and_an_unknown_one_to_a_list_of_those_there_are() {
    let toml = format!("version_labels = {{ old = 1, new = 2, gone = 7 }}\n{ECHO}");
    let store = store(&Repository::new().with("echo", &toml, &[1, 2, 3]));
    store.load_all(&host());
    assert_eq!(resolve_as(&store, Some(version("old"))), Ok(1));
    assert_eq!(resolve_as(&store, Some(version("new"))), Ok(2));
    for unknown in ["gone", "none", "4"] {
        let message = format!(
            "model 'echo' has no version {unknown}: its versions are 1, 2, 3; its labels are gone = 7, new = 2, old = 1"
        );
        assert_eq!(resolve_as(&store, Some(version(unknown))), Err(message));
    }
    replica(&store, 1).advance(Event::Drain);
    let going = "model 'echo' version 1 is not ready: it is going away";
    assert_eq!(resolve_as(&store, Some(version("old"))), Err(going.to_owned()));
}

#[test]
fn what_was_unloaded_is_known_settled_and_loads_again_as_the_same_replica() {
    let repository = Repository::new().with("echo", ECHO, &[1, 2]);
    let store = store(&repository);
    store.load_all(&host());
    let before = replica(&store, 2);
    unload(&store);
    assert_eq!(states(&store), [(1, "absent"), (2, "absent")]);
    assert_eq!(resolve(&store, None), Err("model 'echo' is not ready: it is not loaded".to_owned()));
    store.load_all(&host());
    assert_eq!(states(&store), [(1, "absent"), (2, "absent")], "nobody asked for it");
    assert_eq!(reload(&store, &repository), []);
    assert_eq!(resolve(&store, None), Ok(2));
    assert!(Arc::ptr_eq(&before, &replica(&store, 2)), "what was counted stays");
}

#[test]
fn a_load_finds_new_folders_and_forgets_those_that_are_gone_and_not_in_memory() {
    let repository = Repository::new().with("echo", ECHO, &[1, 2, 3]);
    let store = store(&repository);
    store.load_all(&host());
    replica(&store, 2).advance(Event::Drain);
    replica(&store, 2).advance(Event::Unload);
    let serving = replica(&store, 3);
    for gone in ["2", "3"] {
        std::fs::remove_dir(repository.path().join("echo").join(gone)).unwrap();
    }
    std::fs::create_dir(repository.path().join("echo/9")).unwrap();
    assert_eq!(reload(&store, &repository), []);
    assert_eq!(states(&store), [(1, "serving"), (3, "serving"), (9, "serving")]);
    assert!(Arc::ptr_eq(&serving, &replica(&store, 3)));
    assert_eq!(replica(&store, 9).id, 4, "ids are never used twice");
}

#[test]
fn a_broken_file_fails_what_is_loaded_with_it_and_leaves_alone_what_serves() {
    let toml = format!("version_labels = {{ stable = 1 }}\n{ECHO}");
    let repository = Repository::new().with("echo", &toml, &[1]);
    let store = store(&repository);
    store.load_all(&host());
    let repository = repository.with("echo", "lanes = 0", &[2]);
    let failed = reload(&store, &repository);
    assert!(matches!(&failed[..], [(2, reason)] if reason.contains("lanes")), "{failed:?}");
    assert_eq!(states(&store), [(1, "serving"), (2, "failed")]);
    assert_eq!(resolve_as(&store, Some(version("stable"))), Ok(1), "as the last good file said");
    let repository = repository.with("echo", &toml, &[2]);
    assert_eq!(reload(&store, &repository), []);
    assert_eq!(states(&store), [(1, "serving"), (2, "serving")]);
}

#[test]
fn a_model_is_forgotten_only_when_nothing_of_it_is_in_memory() {
    let store = store(&Repository::new().with("echo", ECHO, &[1]));
    store.load_all(&host());
    let name = "echo".parse().unwrap();
    let forget = || store.forget(&name, &futures_util::FutureExt::now_or_never(store.turn().take()).unwrap());
    forget();
    assert_eq!(resolve(&store, None), Ok(1));
    unload(&store);
    forget();
    assert_eq!(resolve(&store, None), Err("unknown model 'echo'".to_owned()));
}

#[test]
fn once_everything_was_settled_a_later_load_makes_nothing_unready() {
    let store = store(&Repository::new().with("echo", ECHO, &[1]));
    replica(&store, 1).advance(Event::Fail("no luck".to_owned()));
    assert!(store.is_settled());
    replica(&store, 1).advance(Event::Load);
    assert!(store.is_settled());
}
