//! Which rejection an error becomes.

use weir_protocol::Version;

use super::*;
use crate::model::store::Unresolved;

#[test]
fn only_what_was_not_started_is_a_refusal() {
    let (model, version) = ("m".parse().unwrap(), Version::new(2).unwrap());
    let known = "1".to_owned();
    let unknown = Unresolved::Model("m".parse().unwrap());
    let missing = Unresolved::Version { model, version: version.into(), known };
    let unready = Unresolved::NotReady { model: "m".parse().unwrap(), version: None, state: "x" };
    let refused = (Reason::NotReady, Some(Refusal::NotReady));
    for (unresolved, to_client) in [
        (unknown, (Reason::ModelNotFound, None)),
        (missing, (Reason::VersionNotFound, None)),
        (unready, refused),
    ] {
        let told = |from_gateway| {
            let rejection = Rejection::unresolved(&unresolved, from_gateway);
            (rejection.error.reason, rejection.refusal)
        };
        assert_eq!((told(false), told(true)), (to_client, refused), "{unresolved}");
    }
    assert_eq!(Rejection::late().refusal, None);
    for refusal in Refusal::ALL {
        let rejection = Rejection::refused(refusal);
        assert_eq!((rejection.error.reason, rejection.refusal), (refusal.reason(), Some(refusal)));
    }
}

#[tokio::test]
async fn work_on_much_text_leaves_the_thread_and_survives_a_panic() {
    let here = std::thread::current().id();
    let ran_on = || std::thread::current().id();
    assert_eq!(offload(INLINE_TEXT_BYTES, ran_on).await.unwrap(), here);
    assert_ne!(offload(INLINE_TEXT_BYTES + 1, ran_on).await.unwrap(), here);
    let panics = offload(INLINE_TEXT_BYTES + 1, || panic!("scripted")).await;
    let nothing: Result<(), _> = panics;
    assert_eq!(nothing.unwrap_err().reason, Reason::Internal);
}
