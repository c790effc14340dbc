//! Reads `[[route]]`: which requests a route matches and where it sends them.
//!
//! Only what the file itself can tell is checked: whether a worker carries the labels that a route asks for, or serves
//! its version, changes while the gateway runs. Called by `read`.

use std::{collections::BTreeMap, net::Ipv6Addr};

use globset::{Glob, GlobMatcher};
use weir_protocol::{ModelName, headers};

use super::{HeaderMatch, ModelDoor, ModelSection, Route, RouteMatch, RouteTarget, read};
use crate::{
    reader::{Item, Read, Table, Unique, shown},
    value::{labels, name, version_number},
};

/// Longest glob in bytes; keeps its automaton far below the 10 MiB at which globset gives up.
const MAX_GLOB_BYTES: usize = 256;
/// Longest header value to compare with, in bytes.
const MAX_HEADER_VALUE_BYTES: usize = 4096;

/// Reads every route; targets are held against the listed models when only those may be asked for.
pub(super) fn routes(
    root: &mut Table<'_>,
    door: ModelDoor,
    listed: &BTreeMap<ModelName, ModelSection>,
) -> Vec<Route> {
    let names = Unique::new("a route named");
    root.list("route", |table, index| {
        let given = table.optional("name", name::<ModelName>());
        let name = given.map_or_else(|| format!("route-{}", index + 1), String::from);
        names.check(table, "name", &name, "give each route a name of its own");
        let matches = table.or("match", RouteMatch::default(), |item| {
            item.table("write such as match = { model = \"digits*\" }", route_match)
        });
        let to = table.required("to", "to = { model = \"..\" }", |item| {
            item.table("write such as to = { model = \"digits\" }", |to| target(to, door, listed))
        });
        let policy = table.optional("policy", read::policy);
        Ok(Route { name, matches, to: to?, policy })
    })
}

fn route_match(table: &mut Table<'_>) -> Read<RouteMatch> {
    Ok(RouteMatch {
        model: table.optional("model", glob),
        host: table.optional("host", host),
        headers: table.or("header", Vec::new(), header_list),
    })
}

fn target(
    table: &mut Table<'_>,
    door: ModelDoor,
    listed: &BTreeMap<ModelName, ModelSection>,
) -> Read<RouteTarget> {
    let model = table.optional("model", name::<ModelName>());
    let version = table.optional("version", version_number);
    let labels = table.optional("labels", labels);
    let no_labels = !table.has("labels") || labels.as_ref().is_some_and(BTreeMap::is_empty);
    if !table.has("model") && !table.has("version") && no_labels {
        table.wrong_here("this names no target", "set at least one of model, version and labels");
    }
    if let Some(model) =
        model.as_ref().filter(|model| door == ModelDoor::Listed && !listed.contains_key(*model))
    {
        let help = format!("add [[model]] with name = \"{model}\", or set models = \"any\" in [gateway]");
        table.wrong("model", format!("`{model}` is not listed"), help);
    }
    Ok(RouteTarget { model, version, labels: labels.unwrap_or_default() })
}

fn glob(item: &Item<'_>) -> Read<GlobMatcher> {
    let help = "write a model name in which * stands for any characters, ? for one, {a,b} for either";
    let text = item.text("a glob", help)?;
    if text.is_empty() || text.len() > MAX_GLOB_BYTES {
        return Err(item.wrong(format!("a glob has 1 to {MAX_GLOB_BYTES} bytes"), help));
    }
    match Glob::new(text) {
        Ok(glob) => Ok(glob.compile_matcher()),
        Err(error) => Err(item.wrong(format!("`{}` is not a glob: {}", shown(text), error.kind()), help)),
    }
}

fn host(item: &Item<'_>) -> Read<String> {
    let help = "write the name alone, such as \"models.example.org\", without scheme, port or path";
    let text = item.text("a host name", help)?;
    let name = |text: &str| {
        (1..=253).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if name(text) || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(item.wrong(format!("`{}` is not a host name", shown(text)), help))
}

fn header_list(item: &Item<'_>) -> Read<Vec<HeaderMatch>> {
    match item.elements() {
        None => header(item).map(|only| vec![only]),
        Some(items) => {
            let read: Vec<_> = items.iter().map(header).collect();
            read.into_iter().collect()
        }
    }
}

fn header(item: &Item<'_>) -> Read<HeaderMatch> {
    item.table("write such as { name = \"x-team\", value = \"vision\" }", |table| {
        let name = table.required("name", "name = \"x-team\"", header_name);
        let value = table.optional("value", header_value);
        Ok(HeaderMatch { name: name?, value })
    })
}

fn header_name(item: &Item<'_>) -> Read<String> {
    let help = "write a header that clients send, such as \"x-team\"";
    let name = item.text("a header name", help)?.to_ascii_lowercase();
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(item.wrong(format!("`{}` is not a header name", shown(&name)), help));
    }
    if name.starts_with(headers::INTERNAL_PREFIX) || name.starts_with(headers::ORCA_LOAD) {
        return Err(item.wrong(format!("`{}` is stripped from every client's request", shown(&name)), help));
    }
    if name == "host" {
        return Err(
            item.wrong("the Host header has a condition of its own", "write match = { host = \"..\" }")
        );
    }
    Ok(name)
}

fn header_value(item: &Item<'_>) -> Read<String> {
    let help = "write the exact value: visible ASCII characters and spaces, none of them at an end";
    let value = item.text("a header value", help)?;
    let fits = value.len() <= MAX_HEADER_VALUE_BYTES && value == value.trim();
    if fits && value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Ok(value.to_owned());
    }
    Err(item.wrong(format!("`{}` is not a header value", shown(value)), help))
}
