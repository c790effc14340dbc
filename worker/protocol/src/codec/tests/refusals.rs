//! What is refused, and that the answer names the tensor, what was expected and what was found.

use super::*;
use crate::{
    InferResponse, Reason,
    codec::{decode_response, encode_request, encode_response},
    infer::OutputTensor,
};

/// Asserts a 400 whose message holds every part.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, OipError>, parts: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.reason, Reason::BadRequest, "{error}");
    for part in parts {
        assert!(error.message.contains(part), "'{}' does not say '{part}'", error.message);
    }
}

#[test]
fn elements_of_another_type_are_named_by_index_and_type() {
    for (datatype, data, parts) in [
        ("UINT8", "[0,256]", ["element 1 (UINT8)", "from 0 to 255, found 256"]),
        ("UINT16", "[-1,0]", ["element 0 (UINT16)", "from 0 to 65535, found -1"]),
        ("UINT32", "[1.0,0]", ["element 0 (UINT32)", "from 0 to 4294967295, found 1.0"]),
        ("UINT64", "[1,18446744073709551616]", ["element 1 (UINT64)", "to 18446744073709551615, found"]),
        ("INT8", "[1,-129]", ["element 1 (INT8)", "from -128 to 127, found -129"]),
        ("INT16", "[1e2,1]", ["element 0 (INT16)", "from -32768 to 32767, found 1e2"]),
        ("INT32", "[1,2147483648]", ["element 1 (INT32)", "from -2147483648 to 2147483647"]),
        ("INT64", "[NaN,1]", ["element 0 (INT64)", "expected a number, found 'N'"]),
        ("BOOL", "[true,1]", ["element 1 (BOOL)", "expected true or false, found '1'"]),
        ("FP32", "[1,1e39]", ["element 1 (FP32)", "1e39 is out of range"]),
        ("FP64", "[1e999,1]", ["element 0 (FP64)", "1e999 is out of range"]),
        ("FP64", "[1,null]", ["element 1 (FP64)", "expected a number, found 'n'"]),
        ("FP32", "[1,\"2\"]", ["element 1 (FP32)", "expected a number, found '\"'"]),
        ("BYTES", "[\"a\",2]", ["element 1 (BYTES)", "expected a string, found '2'"]),
        ("FP16", "[1,65520]", ["element 1 (FP16)", "65520 is out of range"]),
        ("BF16", "[1,3.4e38]", ["element 1 (BF16)", "3.4e38 is out of range"]),
    ] {
        refused(one_input(datatype, "[2]", data), &[&["input 0 'x'"], &parts[..]].concat());
    }
}

#[test]
fn data_that_disagrees_with_the_shape_is_refused() {
    for (shape, data, part) in [
        ("[2,3]", "[1,2,3,4,5]", "shape [2, 3] needs 6 elements, there are 5"),
        ("[2,3]", "[1,2,3,4,5,6,7]", "shape [2, 3] needs 6 elements, there are more"),
        ("[2,3]", "[[1,2,3],[4,5]]", "shape [2, 3] needs 3 items in dimension 1, there are 2"),
        ("[2,3]", "[[1,2,3,4],[5,6]]", "shape [2, 3] needs 3 items in dimension 1, there are more"),
        ("[2,3]", "[[1,2,3]]", "shape [2, 3] needs 2 items in dimension 0, there are 1"),
        ("[2,3]", "[[1,2],[3,4],[5,6]]", "shape [2, 3] needs 3 items in dimension 1, there are 2"),
        ("[2,3]", "[[1,2,3],4,5,6]", "expected an array, found '4'"),
        ("[2,3]", "[1,[2,3]]", "element 1 (UINT8): JSON byte"),
        ("[2]", "[[1,2]]", "expected a number, found '['"),
        ("[]", "[[1]]", "expected a number, found '['"),
        ("[2]", "[1]", "shape [2] needs 2 items in dimension 0, there are 1"),
        ("[]", "[]", "shape [] needs 1 elements, there are 0"),
        ("[0]", "[1]", "shape [0] needs 0 items in dimension 0, there are more"),
        ("[2,0]", "[[]]", "shape [2, 0] needs 2 items in dimension 0, there are 1"),
        ("[1]", "1", "expected an array, found '1'"),
        ("[1]", "null", "expected an array, found 'n'"),
        ("[-1]", "[1]", "shape: dimension 0: expected an integer from 0 to 9223372036854775807, found -1"),
        (
            "[1,1.0]",
            "[1]",
            "shape: dimension 1: expected an integer from 0 to 9223372036854775807, found 1.0",
        ),
        ("[9223372036854775808]", "[1]", "found 9223372036854775808"),
        ("[null]", "[1]", "shape: JSON byte"),
        ("1", "[1]", "shape: JSON byte"),
        ("[9999999999,9999999999]", "[1]", "exceeds the limit of 1073741824 bytes per tensor"),
        ("[9999999999,9999999999,0]", "[]", "exceeds the limit of 1073741824 bytes per tensor"),
        ("[1073741825]", "[1]", "exceeds the limit of 1073741824 bytes per tensor"),
    ] {
        refused(one_input("UINT8", shape, data), &["input 0 'x'", part]);
    }
    let rank = format!("[{}1]", "1,".repeat(64));
    refused(one_input("UINT8", &rank, "[1]"), &["input 0 'x'", "more than 64 dimensions"]);
}

#[test]
fn missing_repeated_and_unknown_fields_are_named() {
    let x = r#""name":"x""#;
    let d = r#""datatype":"UINT8""#;
    let s = r#""shape":[1]"#;
    for (input, parts) in [
        (format!("{d},{s},\"data\":[1]"), ["input 0", "'name' is missing"]),
        (format!("{x},{s},\"data\":[1]"), ["input 0 'x'", "'datatype' is missing"]),
        (format!("{x},{d},\"data\":[1]"), ["input 0 'x'", "'shape' is missing"]),
        (format!("{x},{d},{s}"), ["input 0 'x'", "has no data"]),
        (format!("{x},{x},{d},{s},\"data\":[1]"), ["input 0 'x'", "'name' appears twice"]),
        (format!("{x},{d},{d},{s},\"data\":[1]"), ["input 0 'x'", "'datatype' appears twice"]),
        (format!("{x},{d},{s},{s},\"data\":[1]"), ["input 0 'x'", "'shape' appears twice"]),
        (format!("{x},{d},{s},\"data\":[1],\"data\":[1]"), ["input 0 'x'", "'data' appears twice"]),
        (
            format!("{x},{d},{s},\"parameters\":{{}},\"parameters\":{{}}"),
            ["'x'", "'parameters' appears twice"],
        ),
        (
            format!("{x},\"datatype\":\"FP31\",{s}"),
            ["input 0 'x'", "unknown datatype 'FP31': use one of BOOL"],
        ),
        (format!("{x},\"datatype\":32,{s}"), ["input 0 'x'", "expected a string, found '3'"]),
        (format!("{x},{d},{s},\"parameters\":[]"), ["input 0 'x'", "expected an object, found '['"]),
        (format!("\"name\":\"{}\",{s},{d}", "n".repeat(999)), ["input 0 'nnn", "nnn': has no data"]),
        (format!("\"name\":\"\\u0007\\n\",{s},{d}"), ["input 0 '\\u{7}\\n'", "has no data"]),
    ] {
        let second = format!(r#"{{"inputs":[{{{input}}}]}}"#);
        refused(json(&second), &parts);
    }
    let ok = r#"{"name":"a","datatype":"UINT8","shape":[1],"data":[1]}"#;
    refused(
        json(&format!(r#"{{"inputs":[{ok},{{"name":"b"}}]}}"#)),
        &["input 1 'b'", "'datatype' is missing"],
    );
}

#[test]
fn the_request_around_the_tensors_is_checked() {
    for (text, part) in [
        ("", "expected an object, found the end"),
        ("[]", "expected an object, found '['"),
        ("{}", "'inputs' is missing"),
        (r#"{"inputs":{}}"#, "expected an array, found '{'"),
        (r#"{"inputs":[1]}"#, "input 0: JSON byte 11: expected an object, found '1'"),
        (r#"{"inputs":[]"#, "expected ',' or '}', found the end"),
        (r#"{"inputs":[]} x"#, "JSON byte 14: expected the end, found 'x'"),
        (r#"{"inputs":[],"inputs":[]}"#, "'inputs' appears twice"),
        (r#"{"id":"a","id":"b","inputs":[]}"#, "'id' appears twice"),
        (r#"{"id":7,"inputs":[]}"#, "id: JSON byte 6: expected a string, found '7'"),
        (r#"{"inputs":[],"outputs":[],"outputs":[]}"#, "'outputs' appears twice"),
        (r#"{"inputs":[],"outputs":[{}]}"#, "requested output 0: 'name' is missing"),
        (r#"{"inputs":[],"outputs":[{"name":"y","name":"z"}]}"#, "requested output 0: 'name' appears twice"),
        (
            r#"{"inputs":[],"outputs":[{"name":"y","parameters":{"binary_data":1}}]}"#,
            "requested output 0: JSON byte 64: expected true or false, found '1'",
        ),
        (
            r#"{"parameters":{"p":[1]},"inputs":[]}"#,
            "parameters: 'p': JSON byte 19: expected a string, a number",
        ),
        (r#"{"parameters":{"p":1e999},"inputs":[]}"#, "parameters: 'p': 1e999 is out of range"),
        (
            r#"{"parameters":{"p":NaN},"inputs":[]}"#,
            "parameters: 'p': JSON byte 19: expected a string, a number",
        ),
        (r#"{"parameters":{"p":1,"p":2},"inputs":[]}"#, "parameters: 'p' appears twice"),
        (
            r#"{"parameters":{"binary_data_output":"yes"},"inputs":[]}"#,
            "parameters: 'binary_data_output': JSON byte 36: expected true or false",
        ),
        (
            r#"{"parameters":{"binary_data_output":true,"binary_data_output":true},"inputs":[]}"#,
            "'binary_data_output' appears twice",
        ),
        (r#"{"parameters":1,"inputs":[]}"#, "parameters: JSON byte 14: expected an object, found '1'"),
    ] {
        refused(json(text), &[part]);
    }
}

#[test]
fn the_binary_part_must_be_what_the_json_announces() {
    let input = |datatype: &str, shape: &str, size: &str| {
        format!(
            r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape},"parameters":{{"binary_data_size":{size}}}}}]}}"#
        )
    };
    for (datatype, shape, size, raw, part) in [
        ("FP32", "[2,3]", "20", &[0; 20][..], "shape [2, 3] needs 24 bytes of FP32, binary_data_size is 20"),
        ("FP16", "[2]", "5", &[0; 5], "shape [2] needs 4 bytes of FP16, binary_data_size is 5"),
        ("BYTES", "[2]", "7", &[0; 7], "shape [2] needs at least 8 bytes of BYTES, binary_data_size is 7"),
        ("FP32", "[6]", "24", &[0; 20], "binary_data_size is 24, only 20 bytes of the body are left"),
        (
            "UINT8",
            "[2]",
            "2",
            &[0; 3],
            "3 bytes follow the JSON part, the binary_data_size of all tensors sum to 2",
        ),
        ("UINT8", "[2]", "-2", &[0; 2], "binary_data_size: expected a number of bytes, found -2"),
        ("UINT8", "[2]", "2.0", &[0; 2], "binary_data_size: expected a number of bytes, found 2.0"),
        ("UINT8", "[2]", "true", &[0; 2], "expected a number, found 't'"),
        ("UINT8", "[2]", "99999999999999999999", &[0; 2], "binary_data_size: expected a number of bytes"),
        ("UINT8", "[2]", "2,\"binary_data_size\":2", &[0; 2], "'binary_data_size' appears twice"),
        ("BOOL", "[3]", "3", &[1, 0, 2], "element 2 (BOOL): expected the byte 0 or 1, found 2"),
        ("BYTES", "[1]", "5", &[2, 0, 0, 0, 1], "element 0 (BYTES): expected a 4-byte length"),
        (
            "BYTES",
            "[1]",
            "8",
            &[255; 8],
            "element 0 (BYTES): expected a 4-byte length and that many bytes, found 8",
        ),
        ("BYTES", "[1]", "7", &[1, 0, 0, 0, 1, 0, 0], "element 1 (BYTES): expected a 4-byte length"),
        ("BYTES", "[1]", "8", &[0; 8], "needs 1 elements of BYTES, there are 2"),
        ("BYTES", "[2]", "8", &[4, 0, 0, 0, 0, 0, 0, 0], "needs 2 elements of BYTES, there are 1"),
        (
            "UINT8",
            "[9999999999,9999999999]",
            "2",
            &[0; 2],
            "exceeds the limit of 1073741824 bytes per tensor",
        ),
    ] {
        let result = binary(&input(datatype, shape, size), raw);
        let whole_body = part.starts_with("3 bytes follow");
        refused(result, &[part, if whole_body { "" } else { "input 0 'x'" }]);
    }
    refused(
        json(&input("UINT8", "[0]", "0")),
        &["input 0 'x'", "needs the header Inference-Header-Content-Length"],
    );
    let both = input("UINT8", "[1]", "1").replace("\"shape\"", "\"data\":[1],\"shape\"");
    refused(binary(&both, &[1]), &["input 0 'x'", "has both data and binary_data_size"]);
}

#[test]
fn the_length_of_the_json_part_must_lie_in_the_body() {
    let body = Bytes::from_static(br#"{"inputs":[]}"#);
    let limits = CodecLimits::default();
    let at = |json_len| decode_request(&body, Some(json_len), &limits);
    assert!(at(13).is_ok());
    refused(at(14), &["Inference-Header-Content-Length is 14, the body has only 13 bytes"]);
    refused(at(usize::MAX), &["the body has only 13 bytes"]);
    refused(at(12), &["expected ',' or '}', found the end"]);
    assert_eq!(at(0).unwrap_err().reason, Reason::Unsupported);
    let not_text = Bytes::from_static(b"{\"inputs\xff\":[]}");
    let fault = "JSON byte 8: expected UTF-8";
    refused(decode_request(&not_text, Some(14), &limits), &[fault]);
    refused(decode_request(&not_text, None, &limits), &[fault]);
}

#[test]
fn limits_bound_depth_count_and_size() {
    let limits = CodecLimits { json_depth: 6, tensors: 2, tensor_bytes: 16 };
    let decode = |text: &str| decode_request(&Bytes::copy_from_slice(text.as_bytes()), None, &limits);
    let input = |shape: &str, datatype: &str, data: &str| {
        format!(r#"{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}"#)
    };
    let deep = |at: &str| format!(r#"{{"inputs":[],{}}}"#, at.replace('@', &"[".repeat(1_000_000)));
    let fits = input("[1,2,2]", "FP32", "[[[1,2],[3,4]]]");
    assert!(
        decode(&format!(r#"{{"inputs":[{fits},{fits}],"outputs":[{{"name":"a"}},{{"name":"b"}}]}}"#)).is_ok()
    );

    refused(decode(&format!(r#"{{"inputs":[{fits},{fits},{fits}]}}"#)), &["more than 2 inputs"]);
    let outputs = r#"{"inputs":[],"outputs":[{"name":"a"},{"name":"b"},{"name":"c"}]}"#;
    refused(decode(outputs), &["more than 2 outputs"]);
    let rank_4 = input("[1,1,1,1]", "UINT8", "[[[[1]]]]");
    refused(decode(&format!(r#"{{"inputs":[{rank_4}]}}"#)), &["input 0 'x'", "nested deeper than 6 levels"]);
    let five = input("[5]", "FP32", "[1,2,3,4,5]");
    refused(
        decode(&format!(r#"{{"inputs":[{five}]}}"#)),
        &["input 0 'x'", "the limit of 16 bytes per tensor"],
    );
    let long = input("[1]", "BYTES", r#"["0123456789abc"]"#);
    refused(decode(&format!(r#"{{"inputs":[{long}]}}"#)), &["element 0", "the limit of 16 bytes per tensor"]);
    for bomb in ["\"unknown\":@", "\"parameters\":{\"p\":@", "\"outputs\":[{\"unknown\":@"] {
        refused(decode(&deep(bomb)), &["JSON byte"]);
    }
    for bomb in [
        "\"data\":@",
        "\"shape\":[1,1],\"datatype\":\"FP32\",\"data\":@",
        "\"shape\":@",
        "\"parameters\":{\"p\":@",
    ] {
        refused(
            decode(&deep(&format!("\"inputs2\":0,\"id\":null,\"x\":[{{{bomb}"))),
            &["nested deeper than 6"],
        );
        let inputs = deep(bomb).replace("\"inputs\":[],", "\"inputs\":[{");
        refused(decode(&inputs), &["input 0"]);
    }
}

#[test]
fn a_response_without_its_fields_is_refused() {
    let decode = |text: &'static str| {
        decode_response(
            &Bytes::from_static(text.as_bytes()),
            None,
            &CodecLimits { tensors: 1, ..Default::default() },
        )
    };
    refused(decode(r#"{"outputs":[]}"#), &["'model_name' is missing"]);
    refused(decode(r#"{"model_name":"m"}"#), &["'outputs' is missing"]);
    refused(decode(r#"{"model_name":"m","model_name":"m"}"#), &["'model_name' appears twice"]);
    refused(
        decode(r#"{"model_name":"m","outputs":[{"name":"y"}]}"#),
        &["output 0 'y'", "'datatype' is missing"],
    );
    let y = r#"{"model_name":"m","outputs":[{"name":"y","datatype":"UINT8","shape":[0],"data":[]},{}]}"#;
    refused(decode(y), &["more than 1 outputs"]);
    assert_eq!(decode(r#"{"model_name":"m","outputs":[]}"#).unwrap().model_version, "");
}

#[test]
fn what_has_no_json_form_or_does_not_fit_its_shape_is_not_written() {
    let write = |tensor: Tensor, binary| {
        let outputs = vec![OutputTensor { tensor, binary }];
        let response = InferResponse {
            model_name: "m".into(),
            model_version: "1".into(),
            id: None,
            parameters: Default::default(),
            outputs,
        };
        encode_response(&response).map_err(|error| (error.reason, error.message))
    };
    let odd = tensor("y", Datatype::Bytes, &[2], b"\x01\0\0\0a\x01\0\0\0\xff");
    assert!(write(odd.clone(), true).is_ok());
    let request = encode_request(&request_of(vec![odd.clone()]), false).unwrap_err();
    let fault = "'y': element 1 of BYTES is not UTF-8: use the binary form (binary_data)";
    assert_eq!(write(odd, false).unwrap_err(), (Reason::Unsupported, fault.to_owned()));
    assert_eq!((request.reason, request.message.as_str()), (Reason::Unsupported, fault));
    for (datatype, data) in
        [(Datatype::Fp32, &[0; 3][..]), (Datatype::Bool, &[2]), (Datatype::Bytes, &[9, 0, 0, 0])]
    {
        for binary in [false, true] {
            let (reason, message) = write(tensor("y", datatype, &[1], data), binary).unwrap_err();
            assert_eq!(reason, Reason::Internal, "{message}");
            assert!(message.contains("'y'"), "{message}");
        }
    }
}
