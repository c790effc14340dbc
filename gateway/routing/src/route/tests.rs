//! Match kinds one by one, their conjunction, and the order of rules.
//!
//! Rules are named after what they match, and tests compare the name that was found.

use globset::Glob;

use super::*;
use crate::fixture::name;

/// A rule that matches everything.
fn rule(name: &str) -> RouteRule {
    RouteRule {
        name: name.to_owned(),
        model: None,
        host: None,
        headers: Vec::new(),
        to_model: None,
        to_version: None,
        labels: Arc::default(),
        policy: None,
    }
}

fn glob(pattern: &str) -> Option<GlobMatcher> {
    Some(Glob::new(pattern).unwrap().compile_matcher())
}

/// Name of the rule that a request finds.
fn found<'a>(
    table: &'a RouteTable,
    model: &str,
    host: Option<&str>,
    headers: &[(&str, &'static str)],
) -> Option<&'a str> {
    let header = |wanted: &str| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    table.find(&name(model), host, header).map(|rule| rule.name.as_str())
}

#[test]
fn an_empty_table_matches_nothing_and_an_empty_rule_everything() {
    assert_eq!(found(&RouteTable::default(), "digits", None, &[]), None);
    let table = RouteTable::new(vec![rule("all")]);
    assert_eq!(found(&table, "digits", None, &[]), Some("all"));
    assert_eq!(found(&table, "other", Some("example.org"), &[("x-team", "a")]), Some("all"));
}

#[test]
fn a_glob_matches_the_whole_model_name() {
    let cases = [
        ("digits", "digits", true),
        ("digits", "digits-2", false),
        ("digits*", "digits-2", true),
        ("rank-?", "rank-a", true),
        ("rank-?", "rank-ab", false),
        ("rank-[ab]", "rank-b", true),
        ("rank-[ab]", "rank-c", false),
        ("{ocr,asr}.*", "asr.en", true),
        ("{ocr,asr}.*", "tts.en", false),
        ("Digits", "digits", false),
    ];
    for (pattern, model, matches) in cases {
        let table = RouteTable::new(vec![RouteRule { model: glob(pattern), ..rule("glob") }]);
        assert_eq!(found(&table, model, None, &[]).is_some(), matches, "{pattern} on {model}");
    }
}

#[test]
fn a_host_matches_whole_and_in_any_case() {
    let table = RouteTable::new(vec![RouteRule { host: Some("models.example.org".into()), ..rule("host") }]);
    assert_eq!(found(&table, "m", Some("models.example.org"), &[]), Some("host"));
    assert_eq!(found(&table, "m", Some("Models.Example.ORG"), &[]), Some("host"));
    assert_eq!(found(&table, "m", Some("x.models.example.org"), &[]), None);
    assert_eq!(found(&table, "m", None, &[]), None);
}

#[test]
fn a_header_matches_by_exact_value_or_by_presence() {
    let exact = [("x-team".to_owned(), Some("search".to_owned()))];
    let present = [("x-canary".to_owned(), None)];
    let table = RouteTable::new(vec![
        RouteRule { headers: exact.to_vec(), ..rule("exact") },
        RouteRule { headers: present.to_vec(), ..rule("present") },
    ]);
    assert_eq!(found(&table, "m", None, &[("x-team", "search")]), Some("exact"));
    assert_eq!(found(&table, "m", None, &[("x-team", "Search")]), None);
    assert_eq!(found(&table, "m", None, &[("x-canary", "")]), Some("present"));
    assert_eq!(found(&table, "m", None, &[]), None);
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let headers = vec![("x-a".to_owned(), Some("1".to_owned())), ("x-b".to_owned(), None)];
    let full = RouteRule { model: glob("d*"), host: Some("h".into()), headers, ..rule("full") };
    let table = RouteTable::new(vec![full]);
    let (a, b) = (("x-a", "1"), ("x-b", "2"));
    assert_eq!(found(&table, "digits", Some("h"), &[a, b]), Some("full"));
    assert_eq!(found(&table, "other", Some("h"), &[a, b]), None);
    assert_eq!(found(&table, "digits", Some("g"), &[a, b]), None);
    assert_eq!(found(&table, "digits", Some("h"), &[a]), None);
    assert_eq!(found(&table, "digits", Some("h"), &[b]), None);
}

#[test]
fn the_first_rule_that_matches_wins_however_special_a_later_one_is() {
    let table = RouteTable::new(vec![
        RouteRule { model: glob("a*"), ..rule("a") },
        RouteRule { model: glob("ab"), ..rule("ab") },
        RouteRule { model: glob("b*"), ..rule("b") },
        rule("rest"),
    ]);
    assert_eq!(found(&table, "ab", None, &[]), Some("a"));
    assert_eq!(found(&table, "b1", None, &[]), Some("b"));
    assert_eq!(found(&table, "c", None, &[]), Some("rest"));
}
