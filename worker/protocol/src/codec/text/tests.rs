//! Tests of the cursor: against serde_json where both speak the same language, by hand where they differ.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::Cursor;

fn accepts(text: &str, max_depth: usize) -> Result<(), String> {
    let mut cursor = Cursor::new(text.as_bytes(), max_depth);
    cursor.skip()?;
    cursor.end()
}

/// Pieces that make nearly correct JSON often enough. No surrogate escapes: skipping, serde_json lets them pass.
fn nearly_json() -> impl Strategy<Value = String> {
    let pieces = [
        "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"k\":", "\\", "\\n", "\\u00e9", "\\u00g9", "true",
        "false", "null", "nul", "0", "1", "-", "-1", "1.5", ".", "e", "E", "+", "e3", "é", "\n", " ",
        "\u{1}", "[1,", "[]",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_serde_json_accepts_is_accepted_and_nothing_else(text in nearly_json()) {
        let theirs = serde_json::from_str::<IgnoredAny>(&text).map_err(|error| error.to_string());
        let ours = accepts(&text, 64);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?}: ours {:?}, serde_json {:?}", text, ours, theirs);
    }

    #[test]
    fn strings_read_as_serde_json_reads_them(text in any::<String>()) {
        let quoted = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(Cursor::new(quoted.as_bytes(), 1).string().unwrap(), text);
    }

    #[test]
    fn numbers_keep_their_own_text(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
        let text = format!("{value:?}");
        let padded = format!(" {text} ");
        prop_assert_eq!(Cursor::new(padded.as_bytes(), 1).number(|number| Ok(number.text().to_owned())), Ok(text));
    }
}

#[test]
fn non_finite_tokens_stand_wherever_a_number_may() {
    for good in ["NaN", "[Infinity, -Infinity]", r#"{"a":NaN}"#] {
        assert_eq!(accepts(good, 8), Ok(()), "{good}");
    }
    for bad in ["nan", "-NaN", "Inf", "Infinit", "NaN1", "+Infinity", "- Infinity"] {
        assert!(accepts(bad, 8).is_err(), "{bad} was accepted");
    }
    let mut cursor = Cursor::new(b" -Infinity -1", 1);
    let mut float = || cursor.float(|number| Ok(Err(number.text().to_owned())), Ok);
    assert_eq!((float(), float()), (Ok(Ok(f64::NEG_INFINITY)), Ok(Err("-1".to_owned()))));
}

#[test]
fn strings_without_escapes_are_borrowed() {
    let text = "\"plain é\" \"es\\caped\"";
    let mut cursor = Cursor::new(text.as_bytes(), 1);
    assert!(matches!(cursor.string(), Ok(std::borrow::Cow::Borrowed("plain é"))));
    assert!(cursor.string().is_err(), "\\c is no escape");
    assert!(Cursor::new(b"\"\\ud800\"", 1).string().is_err(), "half a surrogate pair is no text");
    assert_eq!(Cursor::new(b"\"\\ud83d\\ude00\"", 1).string().as_deref(), Ok("😀"));
}

#[test]
fn nesting_is_bounded_by_the_limit_and_by_128() {
    let nested = |open: &str, close: &str, depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    assert_eq!(accepts(&nested("[", "]", 8), 8), Ok(()));
    assert_eq!(accepts(&nested("{\"a\":", "}", 8), 8), Ok(()));
    assert!(accepts(&nested("[", "]", 9), 8).is_err());
    assert!(accepts(&nested("{\"a\":", "}", 9), 8).is_err());
    assert_eq!(accepts(&nested("[", "]", 128), usize::MAX), Ok(()));
    assert!(accepts(&nested("[", "]", 1_000_000), usize::MAX).is_err());
    assert_eq!(accepts("[[],[],[[]]]", 3), Ok(()), "siblings do not add up");
}

#[test]
fn faults_say_where_what_was_expected_and_what_was_there() {
    for (text, fault) in [
        ("", "JSON byte 0: expected a value, found the end"),
        ("[1 2]", "JSON byte 3: expected ',' or ']', found '2'"),
        ("[01]", "JSON byte 2: expected ',' or ']', found '1'"),
        ("[1,]", "JSON byte 3: expected a value, found ']'"),
        ("{\"a\" 1}", "JSON byte 5: expected ':', found '1'"),
        ("{1:2}", "JSON byte 1: expected a string, found '1'"),
        ("\"a\nb\"", "JSON byte 2: expected the end of a string, found '\\n'"),
        ("1.", "JSON byte 2: expected a digit, found the end"),
        ("[] é", "JSON byte 3: expected the end, found 'é'"),
        ("[[[", "JSON byte 3: nested deeper than 2 levels"),
    ] {
        assert_eq!(accepts(text, 2), Err(fault.to_owned()), "{text}");
    }
}
