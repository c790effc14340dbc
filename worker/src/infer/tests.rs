//! Which rejection an error becomes.

use weir_protocol::Version;

use super::*;
use crate::model::store::Unresolved;

#[test]
fn only_what_was_not_started_is_a_refusal() {
    let (model, version) = ("m".parse().unwrap(), Version::new(2).unwrap());
    let known = "1".to_owned();
    let of = |unresolved: Unresolved| {
        let rejection = Rejection::from(unresolved);
        (rejection.error.reason, rejection.refusal)
    };
    assert_eq!(of(Unresolved::Model("m".parse().unwrap())), (Reason::ModelNotFound, None));
    let missing = Unresolved::Version { model, version, known };
    assert_eq!(of(missing), (Reason::VersionNotFound, None));
    let unready = Unresolved::NotReady { model: "m".parse().unwrap(), version: None, state: "x" };
    assert_eq!(of(unready), (Reason::NotReady, Some(Refusal::NotReady)));
    assert_eq!(Rejection::late().refusal, None);
    for refusal in Refusal::ALL {
        let rejection = Rejection::refused(refusal);
        assert_eq!((rejection.error.reason, rejection.refusal), (refusal.reason(), Some(refusal)));
    }
}

#[tokio::test]
async fn work_on_much_json_leaves_the_thread_and_survives_a_panic() {
    let here = std::thread::current().id();
    let ran_on = || std::thread::current().id();
    assert_eq!(offload(INLINE_JSON_BYTES, ran_on).await.unwrap(), here);
    assert_ne!(offload(INLINE_JSON_BYTES + 1, ran_on).await.unwrap(), here);
    let panics = offload(INLINE_JSON_BYTES + 1, || panic!("scripted")).await;
    let nothing: Result<(), _> = panics;
    assert_eq!(nothing.unwrap_err().reason, Reason::Internal);
}
