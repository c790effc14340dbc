//! Tests of numbers: against the standard library for values, against serde_json for grammar, by hand at the middles
//! between two floats, where one rounding differs from two.

use half::{bf16, f16};
use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

/// Reads the number that `text` is, at the end of the text and before so much of it that whole words may be read.
fn scan_both_ways<T: PartialEq + std::fmt::Debug>(text: &str, look: impl Fn(&Number<'_>) -> T) -> T {
    let padded = format!("{text},{}", "0".repeat(64));
    let [end, within] = [text, &padded].map(|whole| {
        let number = Number::scan(whole.as_bytes()).unwrap();
        assert_eq!((number.text(), number.len()), (text, text.len()));
        look(&number)
    });
    assert_eq!(end, within, "{text}");
    within
}

#[track_caller]
fn assert_rounded(text: &str) {
    let values =
        scan_both_ways(text, |number| (number.fp32().map(f32::to_bits), number.fp64().map(f64::to_bits)));
    let (fp32, fp64): (f32, f64) = (text.parse().unwrap(), text.parse().unwrap());
    let finite = (fp32.is_finite().then(|| fp32.to_bits()), fp64.is_finite().then(|| fp64.to_bits()));
    assert_eq!(values, finite, "{text}");
}

/// Numbers of every length, with and without a fraction and an exponent.
fn numbers() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,24})(\\.(0{0,6})[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn any_number_is_rounded_as_the_standard_library_rounds_it(text in numbers()) {
        assert_rounded(&text);
    }

    #[test]
    fn usual_numbers_are_rounded_as_the_standard_library_rounds_them(text in "-?[0-3]\\.[0-9]{1,18}") {
        assert_rounded(&text);
    }

    #[test]
    fn integers_are_read_as_the_standard_library_reads_them(text in "-?(0|[1-9][0-9]{0,20})") {
        let read = scan_both_ways(&text, |n| {
            (n.integer::<i8>(), n.integer::<u16>(), n.integer::<i32>(), n.integer::<i64>(), n.integer::<u64>())
        });
        let zero = if text == "-0" { "0" } else { text.as_str() };
        let expected =
            (zero.parse().ok(), zero.parse().ok(), zero.parse().ok(), zero.parse().ok(), zero.parse().ok());
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn what_serde_json_takes_for_a_number_is_one_and_nothing_else(
        text in "[-0-9.eE+]{1,4}[-0-9.eE+]{0,12}", padding in prop::sample::select(vec![0, 64]),
    ) {
        let padded = format!("{text}{}", " ".repeat(padding));
        let theirs = serde_json::from_str::<IgnoredAny>(&padded).is_ok();
        let ours = Number::scan(padded.as_bytes()).map(|number| number.len());
        prop_assert_eq!(ours == Ok(text.len()), theirs, "{:?}: {:?}", text, ours);
    }
}

#[test]
fn a_number_of_every_usual_form_is_read_by_words() {
    for text in [
        "0",
        "-0",
        "7",
        "12345678",
        "123456789",
        "1234567890123456",
        "1234567890123456789",
        "0.5",
        "-0.5",
        "1.5",
        "1234567.8",
        "12345.678",
        "-1.1754944",
        "0.10000000149011612",
        "-0.1234567890123456789",
        "1.0e",
    ] {
        let padded = format!("{text},{}", "0".repeat(64));
        assert!(Number::plain(padded.as_bytes()).is_some(), "{text}");
    }
    for text in
        ["", "-", ".5", "5.", "-.5", "00", "01.5", "-01", "1-2", "1.2.3", "12345678.9", "1/2", "+1", "a"]
    {
        let padded = format!("{text},{}", "0".repeat(64));
        let plain = Number::plain(padded.as_bytes());
        assert!(plain.is_none_or(|number| number.len() < text.len()), "{text}: {plain:?}");
    }
}

#[test]
fn the_middle_between_two_floats_goes_to_the_even_one_and_its_neighbours_do_not() {
    let mut bits = 1_u32;
    while bits < f32::MAX.to_bits() {
        let (below, above) = (f32::from_bits(bits), f32::from_bits(bits + 1));
        let middle = (f64::from(below) + f64::from(above)) / 2.0;
        let exact = format!("{middle:.150}");
        let (exact, _) = exact.split_at(exact.trim_end_matches('0').len().max(exact.find('.').unwrap() + 2));
        assert_rounded(exact);
        assert_rounded(&format!("{exact}1"));
        assert_rounded(&format!("-{middle:?}"));
        assert_rounded(&format!("{:?}", middle.next_down()));
        assert_rounded(&format!("{:?}", middle.next_up()));
        bits += 7_654_321;
    }
}

#[test]
fn the_ends_of_the_floats_are_kept_apart() {
    for text in [
        "3.4028235e38",
        "3.4028235677973366e38",
        "3.4028235677973362e38",
        "-3.5e38",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1e-45",
        "7.1e-46",
        "7e-46",
        "4.9e-324",
        "2e-324",
        "1e-400",
        "-1e400",
        "0e999999999999",
        "1e-99999999999",
        "1e99999999999",
        "16777217",
        "9007199254740993",
        "0.0",
        "-0.0",
        "-0",
        "0.000000000000000000000000000000000000000000001",
        "340282356779733661637539395458142568447",
        "340282356779733661637539395458142568448",
    ] {
        assert_rounded(text);
    }
}

/// The decimal of exactly `value`, and decimals a little below and above it, too close for FP64 to tell.
fn around(value: f64) -> [String; 3] {
    let exact = format!("{value:.140}");
    let digits = exact.trim_end_matches('0');
    let (head, last) = digits.split_at(digits.len() - 1);
    let below = match last {
        // Ends in a point: an integer.
        "." => format!("{}.{}", head.parse::<i64>().unwrap() - 1, "9".repeat(40)),
        last => format!("{head}{}{}", last.parse::<u8>().unwrap() - 1, "9".repeat(40)),
    };
    [below, exact.clone(), format!("{exact}0000000001")]
}

#[test]
fn the_middle_between_two_16_bit_floats_is_told_from_what_lies_beside_it() {
    for bits in (0..f16::MAX.to_bits()).step_by(7) {
        let (below, above) = (f16::from_bits(bits), f16::from_bits(bits + 1));
        let even = if bits % 2 == 0 { below } else { above };
        let texts = around((f64::from(below) + f64::from(above)) / 2.0);
        let read = texts.each_ref().map(|text| Number::scan(text.as_bytes()).unwrap().fp16());
        assert_eq!(read, [below, even, above].map(Some), "{texts:?}");
        let read = texts.map(|text| Number::scan(format!("-{text}").as_bytes()).unwrap().fp16());
        assert_eq!(read, [-below, -even, -above].map(Some));
    }
    // Above 1 in full, below in steps: the middles of BF16 become long.
    for bits in (0..0x4e00_u16).step_by(31) {
        let (below, above) = (bf16::from_bits(bits), bf16::from_bits(bits + 1));
        let even = if bits % 2 == 0 { below } else { above };
        let texts = around((f64::from(below) + f64::from(above)) / 2.0);
        let read = texts.each_ref().map(|text| Number::scan(text.as_bytes()).unwrap().bf16());
        assert_eq!(read, [below, even, above].map(Some), "{texts:?}");
    }
}

#[test]
fn a_middle_of_few_digits_is_told_apart_too() {
    for (text, half, brain) in [
        ("2049", 2048.0, 2048.0),
        ("2051", 2052.0, 2048.0),
        ("2048.99999999999", 2048.0, 2048.0),
        ("2049.00000000001", 2050.0, 2048.0),
        ("-2049.00000000001", -2050.0, -2048.0),
        ("257", 257.0, 256.0),
        ("256.99999999999999", 257.0, 256.0),
        ("257.00000000000001", 257.0, 258.0),
        ("1.00390625", 1.00390625, 1.0),
        ("1.0039062500000001", 1.00390625, 1.0078125),
        ("1.0039062499999999", 1.00390625, 1.0),
        ("0.00048840045928955078125", 0.000488281250, 0.00048828125),
        ("1077936128", f64::INFINITY, 1_073_741_824.0),
        ("1077936128.00000000001", f64::INFINITY, 1_082_130_432.0),
    ] {
        let (fp16, bf16) = scan_both_ways(text, |number| (number.fp16(), number.bf16()));
        assert_eq!(fp16.map_or(f64::INFINITY, f64::from), half, "{text}");
        assert_eq!(bf16.map(f64::from), Some(brain), "{text}");
    }
}

#[test]
fn beyond_the_last_16_bit_float_there_is_none() {
    for (text, half, brain) in [
        ("65504", Some(65504.0), Some(65536.0)),
        ("65519.999999999999999999999", Some(65504.0), Some(65536.0)),
        ("65520", None, Some(65536.0)),
        ("-65520", None, Some(-65536.0)),
        ("3.3895314e38", None, Some(f64::from(bf16::MAX))),
        ("3.4e38", None, None),
        ("1e999", None, None),
        ("2.9802322387695312e-8", Some(0.0), Some(2.9802322387695312e-8)),
        ("-1e-50", Some(-0.0), Some(-0.0)),
    ] {
        let (fp16, bf16) = scan_both_ways(text, |number| (number.fp16(), number.bf16()));
        assert_eq!(fp16.map(f64::from).map(f64::to_bits), half.map(f64::to_bits), "{text}");
        assert_eq!(bf16.map(f64::from).map(f64::to_bits), brain.map(f64::to_bits), "{text}");
    }
}

#[test]
fn a_broken_number_says_where_and_what_was_expected() {
    for (text, at, expected) in [
        ("", 0, "a number"),
        ("x", 0, "a number"),
        ("-", 1, "a number"),
        ("--1", 1, "a number"),
        (".5", 0, "a number"),
        ("1.", 2, "a digit"),
        ("-12.e5", 4, "a digit"),
        ("1e", 2, "a digit"),
        ("1.5E+", 5, "a digit"),
    ] {
        for padding in ["", ",00000000000000000000000000000000000000000"] {
            let broken = Number::scan(format!("{text}{padding}").as_bytes()).map(|number| number.len());
            assert_eq!(broken, Err(Broken { at, expected }), "{text}");
        }
    }
}
