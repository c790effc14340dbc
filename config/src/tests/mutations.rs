//! Whatever the text, reading it answers: no panic, never an empty list of problems, positions inside the text.

use proptest::prelude::*;

use super::{GATEWAY, MODEL, WORKER, gateway, model, uncommented, uncommented_model, worker};
use crate::Problems;

/// Pieces that mean something to the parser or the reader.
const PIECES: [&str; 28] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\"",
    "'''",
    "\"\"\"",
    "\n",
    "#",
    "-1",
    "0x",
    "1e999",
    "nan",
    "\u{0}",
    "\u{feff}",
    "ü",
    "[gateway]",
    "[[worker]]",
    "[[route]]\n",
    "\"0s\"",
    "{ env = \"X\" }",
    "match.header",
    "\r",
];

fn assert_sound<T>(result: Result<T, Problems>, text: &str) {
    let Err(problems) = result else { return };
    assert!(!problems.list.is_empty());
    let lines = text.matches('\n').count() + 1;
    let places: Vec<_> = problems.list.iter().map(|p| (p.line, p.column)).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(places.iter().all(|(line, column)| (1..=lines).contains(line) && *column >= 1), "{places:?}");
}

fn assert_all_sound(text: &str) {
    assert_sound(gateway(text), text);
    assert_sound(worker(text), text);
    assert_sound(model(text), text);
}

/// One edit of a text: at a place (taken modulo its length), so many characters away, and a piece in.
type Edit = (usize, usize, usize);

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (place, remove, piece) in edits {
        let from = place % (chars.len() + 1);
        let to = (from + remove % 40).min(chars.len());
        chars.splice(from..to, PIECES[piece % PIECES.len()].chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #[test]
    fn arbitrary_text_is_answered(text in "\\PC{0,200}") {
        assert_all_sound(&text);
    }

    #[test]
    fn arbitrary_pieces_are_answered(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        assert_all_sound(&pieces.concat());
        assert_all_sound(&format!("version = 1\n{}", pieces.concat()));
    }

    #[test]
    fn edited_references_are_answered(edits in prop::collection::vec(any::<Edit>(), 1..6)) {
        for text in [GATEWAY, WORKER, MODEL].map(uncommented).into_iter().chain([uncommented_model()]) {
            assert_all_sound(&edited(&text, &edits));
        }
    }

    #[test]
    fn any_value_under_any_key_is_answered(
        key in 0_usize..100,
        value in prop_oneof!["\\PC{0,30}", "-?[0-9]{1,40}", "\"[0-9.]{1,20} ?[a-zA-Z]{0,4}\"", "\\{ [a-z]{1,5} = \"[a-z]*\" \\}"],
    ) {
        for text in [uncommented(GATEWAY), uncommented(WORKER), uncommented_model()] {
            let lines = super::key_lines(&text);
            let line = &lines[key % lines.len()];
            assert_all_sound(&(line.with)(&format!("{} = {value}", line.key)));
        }
    }
}
