//! The JSON of an infer response: writing it for the worker, reading it for clients.
//!
//! Called by `encode_response` and `decode_response`; tensors are read and written by their own modules.

use super::{
    CodecLimits,
    binary::Tail,
    print::{self, Body},
    request::{read_id, read_parameters, within},
    tensor::{self, set},
    text::{Checked, Cursor},
};
use crate::{InferResponse, OipError, infer::OutputTensor};

/// Writes a response, each output in the form it asks for.
pub(super) fn write(response: &InferResponse) -> Result<Body, OipError> {
    let mut body = Body::default();
    body.text("{\"model_name\":");
    body.string(&response.model_name)?;
    body.text(",\"model_version\":");
    body.string(&response.model_version)?;
    if let Some(id) = &response.id {
        body.text(",\"id\":");
        body.string(id)?;
    }
    if !response.parameters.is_empty() {
        body.text(",\"parameters\":");
        body.value(&response.parameters)?;
    }
    body.text(",\"outputs\":");
    body.list(&response.outputs, |body, _, output| print::tensor(body, &output.tensor, output.binary))?;
    body.text("}");
    Ok(body)
}

/// Reads the response at the cursor, binary outputs from `tail`. A missing version reads as empty.
pub(super) fn read(cursor: &mut Cursor<'_>, tail: &mut Tail, limits: &CodecLimits) -> Checked<InferResponse> {
    let (mut model_name, mut model_version, mut id) = (None, None, None);
    let (mut parameters, mut outputs) = (None, None);
    cursor.object(|cursor, key| match key.as_ref() {
        "model_name" => set(&mut model_name, &key, cursor.string()?.into_owned()),
        "model_version" => set(&mut model_version, &key, cursor.string()?.into_owned()),
        "id" => set(&mut id, &key, read_id(cursor)?),
        "parameters" => set(&mut parameters, &key, read_parameters(cursor)?),
        "outputs" => set(&mut outputs, &key, read_outputs(cursor, tail, limits)?),
        _ => cursor.skip(),
    })?;
    Ok(InferResponse {
        model_name: model_name.ok_or("'model_name' is missing")?,
        model_version: model_version.unwrap_or_default(),
        id: id.flatten(),
        parameters: parameters.unwrap_or_default().0,
        outputs: outputs.ok_or("'outputs' is missing")?,
    })
}

fn read_outputs(
    cursor: &mut Cursor<'_>,
    tail: &mut Tail,
    limits: &CodecLimits,
) -> Checked<Vec<OutputTensor>> {
    let mut outputs = Vec::new();
    cursor.array(|cursor| {
        within(outputs.len(), limits.tensors, "outputs")?;
        let (tensor, binary) = tensor::read(cursor, tail, limits, ("output", outputs.len()))?;
        outputs.push(OutputTensor { tensor, binary });
        Ok(())
    })?;
    Ok(outputs)
}
