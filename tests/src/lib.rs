//! What the tests share.
use std::path::PathBuf;

/// The root of the workspace.
#[must_use]
pub fn workspace_root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
