//! The JSON of an infer request: reading it for the worker, writing it for clients.
//!
//! Unknown keys are passed over; `null` stands for an absent `id`, `parameters` or `outputs`, as some clients write
//! it. Called by `decode_request` and `encode_request`; tensors are read and written by their own modules.

use super::{
    CodecLimits,
    binary::Tail,
    print::{self, Body},
    tensor::{self, set},
    text::{Checked, Cursor},
};
use crate::{
    InferRequest, OipError, Tensor,
    error::shown,
    infer::{Parameter, Parameters, RequestedOutput},
};

/// Reads the request at the cursor, binary inputs from `tail`.
pub(super) fn read(cursor: &mut Cursor<'_>, tail: &mut Tail, limits: &CodecLimits) -> Checked<InferRequest> {
    let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
    cursor.object(|cursor, key| match key.as_ref() {
        "id" => set(&mut id, &key, read_id(cursor)?),
        "parameters" => set(&mut parameters, &key, read_parameters(cursor)?),
        "inputs" => set(&mut inputs, &key, read_inputs(cursor, tail, limits)?),
        "outputs" => set(&mut outputs, &key, read_outputs(cursor, limits.tensors)?),
        _ => cursor.skip(),
    })?;
    let (parameters, binary_output) = parameters.unwrap_or_default();
    Ok(InferRequest {
        id: id.flatten(),
        parameters,
        inputs: inputs.ok_or("'inputs' is missing")?,
        outputs: outputs.unwrap_or_default(),
        binary_output,
    })
}

/// Reads a string or `null`.
pub(super) fn read_id(cursor: &mut Cursor<'_>) -> Checked<Option<String>> {
    if cursor.null() {
        return Ok(None);
    }
    let id = cursor.string().map_err(|fault| format!("id: {fault}"))?;
    Ok(Some(id.into_owned()))
}

/// Reads top-level parameters, `binary_data_output` apart.
pub(super) fn read_parameters(cursor: &mut Cursor<'_>) -> Checked<(Parameters, bool)> {
    let (mut parameters, mut binary) = (Parameters::new(), None);
    if cursor.null() {
        return Ok((parameters, false));
    }
    let read = cursor.object(|cursor, key| {
        if key == "binary_data_output" {
            let value = cursor.boolean().map_err(|fault| format!("'{key}': {fault}"))?;
            return set(&mut binary, &key, value);
        }
        let value = parameter(cursor).map_err(|fault| format!("'{}': {fault}", shown(&key)))?;
        match value.and_then(|value| parameters.insert(key.to_string(), value)) {
            None => Ok(()),
            Some(_) => Err(format!("'{}' appears twice", shown(&key))),
        }
    });
    read.map_err(|fault| format!("parameters: {fault}"))?;
    Ok((parameters, binary.unwrap_or(false)))
}

fn parameter(cursor: &mut Cursor<'_>) -> Checked<Option<Parameter>> {
    Ok(match cursor.peek() {
        Some(b'"') => Some(Parameter::String(cursor.string()?.into_owned())),
        Some(b't' | b'f') => Some(Parameter::Bool(cursor.boolean()?)),
        Some(b'-' | b'0'..=b'9') => Some(cursor.number(|number| {
            let whole =
                number.integer().map(Parameter::Int).or_else(|| number.integer().map(Parameter::Uint));
            let value = whole.or_else(|| number.fp64().map(Parameter::Float));
            value.ok_or_else(|| format!("{} is out of range", shown(number.text())))
        })?),
        _ if cursor.null() => None,
        _ => return Err(cursor.fault("a string, a number, true or false")),
    })
}

fn read_inputs(cursor: &mut Cursor<'_>, tail: &mut Tail, limits: &CodecLimits) -> Checked<Vec<Tensor>> {
    let mut inputs = Vec::new();
    cursor.array(|cursor| {
        within(inputs.len(), limits.tensors, "inputs")?;
        let (input, _) = tensor::read(cursor, tail, limits, ("input", inputs.len()))?;
        inputs.push(input);
        Ok(())
    })?;
    Ok(inputs)
}

fn read_outputs(cursor: &mut Cursor<'_>, most: usize) -> Checked<Vec<RequestedOutput>> {
    let mut outputs = Vec::new();
    if cursor.null() {
        return Ok(outputs);
    }
    cursor.array(|cursor| {
        let index = outputs.len();
        within(index, most, "outputs")?;
        outputs.push(read_output(cursor).map_err(|fault| format!("requested output {index}: {fault}"))?);
        Ok(())
    })?;
    Ok(outputs)
}

fn read_output(cursor: &mut Cursor<'_>) -> Checked<RequestedOutput> {
    let (mut name, mut parameters) = (None, None);
    cursor.object(|cursor, key| match key.as_ref() {
        "name" => set(&mut name, &key, cursor.string()?.into_owned()),
        "parameters" => set(&mut parameters, &key, read_binary_wish(cursor)?),
        _ => cursor.skip(),
    })?;
    Ok(RequestedOutput { name: name.ok_or("'name' is missing")?, binary: parameters.flatten() })
}

fn read_binary_wish(cursor: &mut Cursor<'_>) -> Checked<Option<bool>> {
    let mut binary = None;
    if cursor.null() {
        return Ok(binary);
    }
    cursor.object(|cursor, key| match key.as_ref() {
        "binary_data" => set(&mut binary, &key, cursor.boolean()?),
        _ => cursor.skip(),
    })?;
    Ok(binary)
}

/// Checks that one more item may follow `count` of them.
pub(super) fn within(count: usize, most: usize, what: &str) -> Checked<()> {
    if count < most { Ok(()) } else { Err(format!("more than {most} {what}")) }
}

/// Writes a request, each input in the form that `binary` says for its index.
pub(super) fn write(request: &InferRequest, binary: impl Fn(usize) -> bool) -> Result<Body, OipError> {
    let mut body = Body::default();
    body.text("{");
    if let Some(id) = &request.id {
        body.text("\"id\":");
        body.string(id)?;
        body.text(",");
    }
    if request.binary_output || !request.parameters.is_empty() {
        write_parameters(&mut body, request)?;
    }
    if !request.outputs.is_empty() {
        body.text("\"outputs\":");
        body.list(&request.outputs, |body, _, output| write_output(body, output))?;
        body.text(",");
    }
    body.text("\"inputs\":");
    body.list(&request.inputs, |body, index, input| print::tensor(body, input, binary(index)))?;
    body.text("}");
    Ok(body)
}

fn write_parameters(body: &mut Body, request: &InferRequest) -> Result<(), OipError> {
    let mut parameters = request.parameters.clone();
    if request.binary_output {
        parameters.insert("binary_data_output".to_owned(), Parameter::Bool(true));
    }
    body.text("\"parameters\":");
    body.value(&parameters)?;
    body.text(",");
    Ok(())
}

fn write_output(body: &mut Body, output: &RequestedOutput) -> Result<(), OipError> {
    body.text("{\"name\":");
    body.string(&output.name)?;
    if let Some(binary) = output.binary {
        body.text(",\"parameters\":{\"binary_data\":");
        body.value(&binary)?;
        body.text("}");
    }
    body.text("}");
    Ok(())
}
