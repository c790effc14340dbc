//! Asks the server what a model takes, so that a caller need not say it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::{Request, header};
use http_body_util::Full;
use weir_protocol::metadata::ModelMetadata;

use crate::{Call, InputSpec, Target, connection::Connections};

/// A server that does not answer within this is given up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The inputs of the model that `call` names, with `rows` in place of a free first dimension.
///
/// # Errors
/// No answer, a status other than 200, or an input whose other dimensions are free.
pub async fn model_inputs(target: &Target, call: &Call, rows: u64) -> Result<Vec<InputSpec>> {
    let path = call.path("");
    let mut request = Request::get(&path).header(header::HOST, &target.authority);
    if let Some(headers) = request.headers_mut() {
        headers.extend(call.headers.clone());
    }
    let ask = || format!("GET {}{path}", target.url());
    let connections = Connections::to(target.clone());
    let exchange = connections.exchange(request.body(Full::default())?);
    let response = tokio::time::timeout(TIMEOUT, exchange).await.with_context(ask)?.with_context(ask)?;
    if response.status() != http::StatusCode::OK {
        let body = String::from_utf8_lossy(response.body()).chars().take(200).collect::<String>();
        bail!("{}: status {}: {body}", ask(), response.status().as_u16());
    }
    let metadata: ModelMetadata = serde_json::from_slice(response.body()).with_context(ask)?;
    metadata.inputs.iter().map(|input| InputSpec::of_metadata(input, rows)).collect()
}
