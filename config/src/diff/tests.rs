//! What counts as a change, and which changes need a restart.

use std::path::Path;

use super::*;

const BASE: &str = r#"version = 1
[[worker]]
name = "a"
url = "http://127.0.0.1:1"
[[worker]]
name = "b"
url = "http://127.0.0.1:2"
[[worker]]
name = "c"
url = "http://127.0.0.1:3"
[[route]]
match = { model = "x*" }
to = { version = 1 }
[[model]]
name = "m"
"#;

fn parse(text: &str) -> GatewayConfig {
    GatewayConfig::parse(text, Path::new("gateway.toml")).unwrap()
}

fn changes(new: &str) -> Changes {
    Changes::between(&parse(BASE), &parse(new))
}

#[test]
fn the_same_text_and_another_order_of_workers_change_nothing() {
    assert!(changes(BASE).is_empty());
    let swapped = BASE.replace("\"a\"", "\"t\"").replace("\"b\"", "\"a\"").replace("\"t\"", "\"b\"");
    let swapped = swapped.replace(":1\"", ":t\"").replace(":2\"", ":1\"").replace(":t\"", ":2\"");
    assert_ne!(parse(&swapped).workers, parse(BASE).workers);
    assert!(changes(&swapped).is_empty());
}

#[test]
fn workers_are_told_apart_by_name() {
    let new = BASE.replace("\"b\"", "\"d\"").replace(":3\"", ":3\"\nweight = 2");
    let name = |name: &str| vec![name.parse().unwrap()];
    let expected = Changes {
        workers_added: name("d"),
        workers_removed: name("b"),
        workers_changed: name("c"),
        ..Changes::default()
    };
    assert_eq!(changes(&new), expected);
}

#[test]
fn each_part_of_the_file_has_its_own_mark() {
    let none = Changes::default;
    let model = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    for (new, expected) in [
        (BASE.replace("x*", "y*"), Changes { routes: true, ..none() }),
        (format!("{BASE}[[route]]\nto = {{ version = 2 }}"), Changes { routes: true, ..none() }),
        (format!("{BASE}policy = \"round_robin\""), Changes { models: model(&["m"]), ..none() }),
        (BASE.replace("\"m\"", "\"k\""), Changes { models: model(&["k", "m"]), ..none() }),
        (format!("{BASE}[limits]\nattempts = 2"), Changes { limits: true, ..none() }),
        (format!("{BASE}[timeouts]\nidle = \"1s\""), Changes { timeouts: true, ..none() }),
        (format!("{BASE}[health]\ninterval = \"1s\""), Changes { health: true, ..none() }),
        (format!("{BASE}[gateway]\naccess_log = true"), Changes { gateway: true, ..none() }),
    ] {
        assert_eq!(changes(&new), expected, "{new}");
    }
}

#[test]
fn sockets_threads_and_the_admin_token_need_a_restart() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "secret").unwrap();
    let token = format!("[admin]\ntoken = {{ file = \"{}\" }}", token.path().display());
    let threads = parse(BASE).gateway.threads + 1;
    for (key, table) in [
        ("gateway.listen", "[gateway]\nlisten = [\"127.0.0.1:8082\"]".to_owned()),
        ("gateway.threads", format!("[gateway]\nthreads = {threads}")),
        ("admin.listen", "[admin]\nlisten = \"127.0.0.1:8082\"".to_owned()),
        ("admin.token", token),
    ] {
        let expected = Changes { needs_restart: vec![key], ..Changes::default() };
        assert_eq!(changes(&format!("{BASE}{table}")), expected, "{key}");
    }
    assert_eq!(restart_keys().count(), 4);
}
