//! What requests carry, encoded once before the run: bodies, headers and the labels of samples.
//!
//! Encoding on the way would make the client the bottleneck; the engine only picks a body by the request's number.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::Full;
use rand::{SeedableRng, rngs::StdRng};
use weir_protocol::{
    Datatype, InferRequest, ModelName, OipError, Tensor, Version, codec,
    headers::INFERENCE_HEADER_CONTENT_LENGTH,
};

use crate::{InputSpec, Samples};

/// Most different random bodies of one run.
const RANDOM_BODIES: usize = 32;
/// Random bodies together take at most this, unless a single one is larger.
const RANDOM_BYTES: usize = 64 << 20;

/// How tensors travel, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// JSON numbers. The default: every server understands it.
    #[default]
    Json,
    /// Binary tensor extension: raw bytes after a JSON head.
    Binary,
}

impl Encoding {
    /// The name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Binary => "binary",
        }
    }
}

/// Whom a request asks, and with which headers of the caller's.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The model.
    pub model: ModelName,
    /// Its version; absent = the server's choice.
    pub version: Option<Version>,
    /// Added to every request.
    pub headers: HeaderMap,
}

impl Call {
    /// A call of the version that the server chooses, without further headers.
    #[must_use]
    pub fn of(model: ModelName) -> Self {
        Self { model, version: None, headers: HeaderMap::new() }
    }

    /// The path of an action on the model: `infer`, or nothing for its metadata.
    #[must_use]
    pub fn path(&self, action: &str) -> String {
        let mut path = format!("/v2/models/{}", self.model);
        if let Some(version) = self.version {
            path.push_str(&format!("/versions/{version}"));
        }
        if !action.is_empty() {
            path.push_str(&format!("/{action}"));
        }
        path
    }
}

/// Why a payload cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The tensors cannot be encoded as asked.
    #[error("cannot encode the request: {0}")]
    Encode(#[from] OipError),
    /// Samples go into exactly one FP32 input.
    #[error("samples need an FP32 input, '{name}' is {datatype}")]
    SampleDatatype {
        /// The input.
        name: String,
        /// Its type.
        datatype: Datatype,
    },
    /// The samples do not fill the input.
    #[error("input '{name}' takes {wanted} values a row, the samples have {width}")]
    SampleWidth {
        /// The input.
        name: String,
        /// Values that one row of it takes.
        wanted: usize,
        /// Values of each sample.
        width: usize,
    },
    /// A header or path that HTTP does not allow.
    #[error("cannot build the request: {0}")]
    Http(#[from] http::Error),
}

/// Encoded requests, sent in turn.
#[derive(Debug, Clone)]
pub struct Payload {
    call: Call,
    uri: Uri,
    encoding: Encoding,
    bodies: Vec<Body>,
}

#[derive(Debug, Clone)]
struct Body {
    bytes: Bytes,
    headers: HeaderMap,
    labels: Vec<u32>,
}

impl Payload {
    /// Random tensors: up to 32 different bodies, repeated in turn.
    ///
    /// # Errors
    /// [`PayloadError::Encode`] for FP16 and BF16 as JSON, which have no such form.
    pub fn random(
        call: Call,
        inputs: &[InputSpec],
        encoding: Encoding,
        seed: u64,
    ) -> Result<Self, PayloadError> {
        Self::new(call, encoding, random_bodies(inputs, encoding, seed, RANDOM_BYTES)?)
    }

    /// Labelled samples, as many a request as `input` has rows, from the top again after the last.
    ///
    /// # Errors
    /// [`PayloadError`] when the samples do not fit the input.
    pub fn samples(
        call: Call,
        input: &InputSpec,
        samples: &Samples,
        encoding: Encoding,
    ) -> Result<Self, PayloadError> {
        if input.datatype != Datatype::Fp32 {
            return Err(PayloadError::SampleDatatype { name: input.name.clone(), datatype: input.datatype });
        }
        let rows = input.shape.first().map_or(1, |&rows| rows as usize).max(1);
        let (wanted, width) = (input.elements() / rows, samples.width());
        if wanted != width {
            return Err(PayloadError::SampleWidth { name: input.name.clone(), wanted, width });
        }
        let mut endless = samples.as_slice().iter().cycle();
        let requests = samples.as_slice().len().div_ceil(rows);
        let bodies = (0..requests).map(|_| {
            let (mut data, mut labels) = (Vec::new(), Vec::new());
            for sample in endless.by_ref().take(rows) {
                data.extend(sample.values.iter().flat_map(|value| value.to_le_bytes()));
                labels.push(sample.label);
            }
            Body::encode(vec![input.tensor(data.into())], encoding, labels)
        });
        Self::new(call, encoding, bodies.collect::<Result<_, _>>()?)
    }

    fn new(call: Call, encoding: Encoding, bodies: Vec<Body>) -> Result<Self, PayloadError> {
        let uri = call.path("infer").parse::<Uri>().map_err(http::Error::from)?;
        Ok(Self { call, uri, encoding, bodies })
    }

    /// Whom the requests ask.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// How tensors travel.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether answers can be compared with labels.
    #[must_use]
    pub fn labelled(&self) -> bool {
        self.bodies.iter().any(|body| !body.labels.is_empty())
    }

    /// The labels of request number `index`, one a row; empty for random tensors.
    #[must_use]
    pub fn labels(&self, index: u64) -> &[u32] {
        self.body(index).map_or(&[], |body| &body.labels)
    }

    /// Request number `index`, to `authority`.
    ///
    /// # Errors
    /// [`PayloadError::Http`] when `authority` is not a header value.
    pub fn request(&self, index: u64, authority: &str) -> Result<Request<Full<Bytes>>, PayloadError> {
        let mut request = Request::post(self.uri.clone()).header(header::HOST, authority);
        if let (Some(headers), Some(body)) = (request.headers_mut(), self.body(index)) {
            headers.extend(body.headers.clone());
            headers.extend(self.call.headers.clone());
        }
        let bytes = self.body(index).map(|body| body.bytes.clone()).unwrap_or_default();
        Ok(request.body(Full::new(bytes))?)
    }

    fn body(&self, index: u64) -> Option<&Body> {
        self.bodies.get((index % self.bodies.len().max(1) as u64) as usize)
    }
}

impl Body {
    fn encode(inputs: Vec<Tensor>, encoding: Encoding, labels: Vec<u32>) -> Result<Self, PayloadError> {
        let binary = encoding == Encoding::Binary;
        let request = InferRequest {
            id: None,
            parameters: Default::default(),
            inputs,
            outputs: Vec::new(),
            binary_output: binary,
        };
        let encoded = codec::encode_request(&request, binary)?;
        let content = if binary { "application/octet-stream" } else { "application/json" };
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content))]);
        if let Some(length) = encoded.json_len {
            let name = HeaderName::from_static(INFERENCE_HEADER_CONTENT_LENGTH);
            headers.insert(name, HeaderValue::from(length));
        }
        Ok(Self { bytes: encoded.body, headers, labels })
    }
}

fn random_bodies(
    inputs: &[InputSpec],
    encoding: Encoding,
    seed: u64,
    most_bytes: usize,
) -> Result<Vec<Body>, PayloadError> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut bodies, mut total) = (Vec::new(), 0);
    while bodies.len() < RANDOM_BODIES {
        let tensors = inputs.iter().map(|input| input.random(&mut random)).collect();
        let body = Body::encode(tensors, encoding, Vec::new())?;
        total += body.bytes.len();
        if total > most_bytes && !bodies.is_empty() {
            break;
        }
        bodies.push(body);
    }
    Ok(bodies)
}

#[cfg(test)]
mod tests;
