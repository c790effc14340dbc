//! Secrets: named in the file, never written into it.
//!
//! Reads them from where the file says, through `outside`. Nothing here may put a secret, or what might be one by
//! mistake, into a message.

use std::{env::VarError, path::Path};

use toml::de::DeValue;

use crate::{
    gateway::Secret,
    reader::{Item, Read, shown},
};

const HELP: &str = "write { env = \"NAME\" } or { file = \"PATH\" }";

/// `{ env = "NAME" }` or `{ file = "PATH" }`, a path relative to the file's folder; white space around the secret
/// is dropped. No message ever repeats the secret.
pub(crate) fn secret(item: &Item<'_>) -> Read<Secret> {
    if let DeValue::String(_) = item.value() {
        return Err(item.wrong("a secret is never written into this file itself", HELP));
    }
    let entries = item.entries().ok_or_else(|| item.mismatch("the place of a secret", HELP))?;
    let [(key, place)] = entries.as_slice() else {
        return Err(item.wrong("a secret has exactly one place", HELP));
    };
    match *key {
        "env" => from_environment(place),
        "file" => from_file(place),
        _ => Err(place.wrong(format!("unknown key `{}`", shown(key)), HELP)),
    }
}

fn from_environment(place: &Item<'_>) -> Read<Secret> {
    let name = place.text("a variable's name", HELP)?;
    let value = place.outside().variable(name).map_err(|error| {
        let state = match error {
            VarError::NotPresent => "is not set",
            VarError::NotUnicode(_) => "is not valid UTF-8",
        };
        let help = "set it in the environment of this process, or use { file = \"PATH\" }";
        place.wrong(format!("the environment variable `{}` {state}", shown(name)), help)
    })?;
    checked(place, &value)
}

fn from_file(place: &Item<'_>) -> Read<Secret> {
    let text = place.text("a path", HELP)?;
    let path = place.folder().join(Path::new(text));
    let value = place.outside().file(&path).map_err(|error| {
        let help = "make a file that this process may read; a relative path starts at this file's folder";
        place.wrong(format!("cannot read `{}`: {error}", shown(&path.to_string_lossy())), help)
    })?;
    checked(place, &value)
}

/// Secrets travel in header fields, which bounds what they may consist of.
fn checked(place: &Item<'_>, value: &str) -> Read<Secret> {
    let value = value.trim();
    if value.is_empty() {
        return Err(place.wrong("the secret there is empty", "put the secret there, on one line"));
    }
    if !value.bytes().all(|b| b.is_ascii_graphic()) {
        let help = "use one line of printable ASCII without spaces, such as 64 hexadecimal digits";
        return Err(place.wrong("the secret there cannot be sent in a header", help));
    }
    Ok(Secret::new(value.to_owned()))
}
