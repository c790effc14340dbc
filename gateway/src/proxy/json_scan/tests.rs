//! Where the name may stand, what is stepped over, and what is refused.

use super::*;

fn model(body: &str) -> Option<String> {
    scan(body.as_bytes()).unwrap().model
}

#[test]
fn the_name_is_found_wherever_it_stands_at_the_top() {
    for body in [
        r#"{"model":"m"}"#,
        "\r\n\t {\t\"model\" :\n\"m\" }  ",
        r#"{"messages":[{"role":"user","content":"a \"model\": \\"}],"model":"m","n":1}"#,
        r#"{"a":{"model":"inner","b":[{"model":"deeper"}]},"t":-1.5e3,"f":false,"z":null,"model":"m"}"#,
        r#"{"a":[],"b":{},"c":"","m\u006fdel":"\u006d"}"#,
    ] {
        assert_eq!(model(body).as_deref(), Some("m"), "{body}");
        assert!(scan(body.as_bytes()).unwrap().ended, "{body}");
    }
}

#[test]
fn a_name_that_is_nested_or_absent_is_none() {
    for body in ["{}", " { } ", r#"{"Model":"m"}"#, r#"{"a":{"model":"m"}}"#, r#"{"a":"model"}"#] {
        assert_eq!(scan(body.as_bytes()).unwrap(), Scan { model: None, ended: true }, "{body}");
    }
}

#[test]
fn a_body_that_is_cut_off_anywhere_is_not_over() {
    let body = r#" {"a":[1,"x\"y",{"b":null}],"model":"m","c":true}"#;
    let name_ends = body.find(r#""m""#).unwrap() + 3;
    for end in 0..body.len() {
        let found = scan(&body.as_bytes()[..end]).unwrap();
        assert!(!found.ended, "{end}");
        assert_eq!(found.model.is_some(), end >= name_ends, "{end}");
    }
}

#[test]
fn what_two_parsers_may_read_differently_is_refused() {
    for body in [
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","x":1,"mode\u006c":"a"}"#,
        r#"{"model":7}"#,
        r#"{"model":{"name":"m"}}"#,
        r#"["model"]"#,
        "model=m",
        r#"{"a" "b"}"#,
        r#"{"a":,"model":"m"}"#,
        r#"{"a":]}"#,
        r#"{model:"m"}"#,
        r#"{"a":1 "model":"m"}"#,
    ] {
        assert!(scan(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let alphabet = br#"{}[]":,\ am1"#;
    let mut state = 7_u64;
    for _ in 0..50_000 {
        let body: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            alphabet[(state >> 33) as usize % alphabet.len()]
        })
        .take(16)
        .collect();
        _ = scan(&[b"{\"a\":".as_slice(), &body].concat());
    }
}
