//! Judges one response: a result that is well formed, another status, or something that only looks like a result.
//!
//! The bar is the protocol's: status 200, a body that decodes, at least one output. Pure; called by the engine for
//! every response.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use weir_protocol::{
    Datatype, Tensor,
    codec::{self, CodecLimits},
    headers::{INFERENCE_HEADER_CONTENT_LENGTH, REASON, SERVED},
};

/// What a response turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200 with a well-formed result.
    Result {
        /// The worker's name from `weir-served`, if the header was there.
        worker: Option<String>,
        /// Labelled rows of the request.
        rows: u64,
        /// Rows whose strongest class is the label.
        correct: u64,
    },
    /// Any status but 200.
    Status {
        /// The status.
        code: u16,
        /// `weir-reason`, if the header was there.
        reason: Option<String>,
        /// The body's beginning, for a person.
        detail: String,
    },
    /// 200 with a body that is no result.
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
}

/// Judges a response to a request with the given labels (one a row, empty = not labelled).
#[must_use]
pub fn judge(status: StatusCode, headers: &HeaderMap, body: &Bytes, labels: &[u32]) -> Answer {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    if status != StatusCode::OK {
        let detail = String::from_utf8_lossy(body).chars().take(200).collect();
        return Answer::Status { code: status.as_u16(), reason: text(REASON), detail };
    }
    match correct_rows(text(INFERENCE_HEADER_CONTENT_LENGTH).as_deref(), body, labels) {
        Ok(correct) => Answer::Result {
            // `model;version;worker`
            worker: text(SERVED).and_then(|served| served.rsplit(';').next().map(str::to_owned)),
            rows: labels.len() as u64,
            correct,
        },
        Err(detail) => Answer::Malformed { detail },
    }
}

fn correct_rows(json_len: Option<&str>, body: &Bytes, labels: &[u32]) -> Result<u64, String> {
    let json_len = json_len
        .map(str::parse::<usize>)
        .transpose()
        .map_err(|_| format!("{INFERENCE_HEADER_CONTENT_LENGTH} is not a number"))?;
    let response = codec::decode_response(body, json_len, &CodecLimits::default()).map_err(|e| e.message)?;
    let output = response.outputs.first().ok_or("the result has no outputs")?;
    if labels.is_empty() {
        return Ok(0);
    }
    let classes = strongest(&output.tensor, labels.len())?;
    Ok(classes.zip(labels).filter(|(class, label)| *class == **label).count() as u64)
}

/// The index of the greatest value of each of `rows` rows.
fn strongest(tensor: &Tensor, rows: usize) -> Result<impl Iterator<Item = u32>, String> {
    let width = tensor.data.len() / rows;
    let fits = tensor.datatype == Datatype::Fp32 && width >= 4 && width * rows == tensor.data.len();
    if !fits || tensor.shape.first() != Some(&(rows as u64)) {
        let Tensor { name, datatype, shape, .. } = tensor;
        return Err(format!(
            "output '{name}' is {datatype} {shape:?}: labels need FP32 scores for {rows} rows"
        ));
    }
    Ok(tensor.data.chunks_exact(width).map(|row| {
        let mut best = (0, f32::NEG_INFINITY);
        for (index, value) in row.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).enumerate() {
            if value > best.1 {
                best = (index as u32, value);
            }
        }
        best.0
    }))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use weir_protocol::{InferResponse, infer::OutputTensor};

    use super::*;

    fn response(binary: bool, scores: &[[f32; 3]]) -> (HeaderMap, Bytes) {
        let data: Vec<u8> = scores.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        let shape = vec![scores.len() as u64, 3];
        let tensor = Tensor { name: "y".into(), datatype: Datatype::Fp32, shape, data: data.into() };
        let response = InferResponse {
            model_name: "m".into(),
            model_version: "1".into(),
            id: None,
            parameters: Default::default(),
            outputs: vec![OutputTensor { tensor, binary }],
        };
        let encoded = codec::encode_response(&response).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(SERVED, HeaderValue::from_static("m;1;w-2"));
        if let Some(length) = encoded.json_len {
            headers.insert(INFERENCE_HEADER_CONTENT_LENGTH, HeaderValue::from(length));
        }
        (headers, encoded.body)
    }

    #[test]
    fn the_strongest_class_of_each_row_is_compared_with_its_label() {
        for binary in [false, true] {
            let (headers, body) = response(binary, &[[0.1, 0.9, 0.0], [-3.0, -2.0, -1.0], [5.0, 1.0, 1.0]]);
            let answer = judge(StatusCode::OK, &headers, &body, &[1, 2, 2]);
            assert_eq!(answer, Answer::Result { worker: Some("w-2".into()), rows: 3, correct: 2 });
        }
    }

    #[test]
    fn a_200_that_is_no_result_is_malformed() {
        let (headers, body) = response(true, &[[1.0, 2.0, 3.0]]);
        let malformed = |headers: &HeaderMap, body: &Bytes, labels: &[u32]| {
            matches!(judge(StatusCode::OK, headers, body, labels), Answer::Malformed { .. })
        };
        assert!(malformed(&headers, &body.slice(..body.len() - 1), &[]), "truncated");
        assert!(malformed(&HeaderMap::new(), &body, &[]), "binary without its length header");
        assert!(malformed(&HeaderMap::new(), &Bytes::new(), &[]), "empty");
        assert!(malformed(
            &HeaderMap::new(),
            &Bytes::from_static(b"{\"model_name\":\"m\",\"outputs\":[]}"),
            &[]
        ));
        assert!(malformed(&headers, &body, &[1, 2]), "another number of rows");
        assert!(!malformed(&headers, &body, &[2]));
    }

    #[test]
    fn another_status_carries_its_reason() {
        let headers =
            HeaderMap::from_iter([(REASON.parse().unwrap(), HeaderValue::from_static("queue-full"))]);
        let answer = judge(StatusCode::SERVICE_UNAVAILABLE, &headers, &Bytes::from_static(b"{}"), &[]);
        assert_eq!(
            answer,
            Answer::Status { code: 503, reason: Some("queue-full".into()), detail: "{}".into() }
        );
    }
}
