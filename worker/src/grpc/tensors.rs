//! Inference messages as the requests and responses that `infer` knows, and back.
//!
//! Elements come in raw form, or in the field of their type; here both become the raw form. Pure. What the model
//! expects is checked later; that data, shape and datatype fit each other is checked here.

use bytes::Bytes;
use weir_protocol::{
    Datatype, InferRequest, InferResponse, OipError, Tensor,
    error::shown,
    grpc::{
        InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
        infer_parameter::ParameterChoice, model_infer_request::InferInputTensor,
        model_infer_response::InferOutputTensor,
    },
    infer::{OutputTensor, Parameter, Parameters, RequestedOutput},
};

mod contents;

/// The request in a message, typed tensors of at most `tensor_bytes` each. All outputs are asked for in raw form.
///
/// # Errors
/// `bad-request` that names the first thing wrong.
pub(super) fn request(message: ModelInferRequest, tensor_bytes: usize) -> Result<InferRequest, OipError> {
    let ModelInferRequest { id, parameters, inputs, outputs, raw_input_contents, .. } = message;
    let inputs = if raw_input_contents.is_empty() {
        inputs.into_iter().map(|input| typed(input, tensor_bytes)).collect::<Result<_, _>>()?
    } else {
        raw(inputs, raw_input_contents)?
    };
    let outputs = outputs.into_iter().map(|output| RequestedOutput { name: output.name, binary: Some(true) });
    Ok(InferRequest {
        id: Some(id).filter(|id| !id.is_empty()),
        parameters: parameters
            .into_iter()
            .filter_map(|(name, value)| Some((name, parameter(value)?)))
            .collect(),
        inputs,
        outputs: outputs.collect(),
        binary_output: true,
    })
}

/// The message of a response: always in raw form, which is all that stock clients read.
pub(super) fn response(response: InferResponse) -> ModelInferResponse {
    let InferResponse { model_name, model_version, id, parameters, outputs } = response;
    let mut raw_output_contents = Vec::with_capacity(outputs.len());
    let output = |OutputTensor { tensor, .. }: OutputTensor| {
        raw_output_contents.push(tensor.data);
        InferOutputTensor {
            name: tensor.name,
            datatype: tensor.datatype.name().to_owned(),
            shape: tensor.shape.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect(),
            parameters: Default::default(),
            contents: None,
        }
    };
    let outputs = outputs.into_iter().map(output).collect();
    ModelInferResponse {
        model_name,
        model_version,
        id: id.unwrap_or_default(),
        parameters: message_parameters(parameters),
        outputs,
        raw_output_contents,
    }
}

/// A parameter that is true or false.
pub(super) fn flag(value: bool) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(value)) }
}

/// Inputs whose elements are in `raw_input_contents`.
fn raw(inputs: Vec<InferInputTensor>, raw: Vec<Bytes>) -> Result<Vec<Tensor>, OipError> {
    if inputs.len() != raw.len() {
        let (inputs, raw) = (inputs.len(), raw.len());
        let message = format!("{inputs} inputs, {raw} raw_input_contents: expected one entry for each input");
        return Err(OipError::bad_request(message));
    }
    let one = |(input, data): (InferInputTensor, Bytes)| {
        let (name, datatype, shape) = described(&input)?;
        if input.contents.is_some() {
            let name = shown(&name);
            let message = format!("input '{name}': expected no contents beside raw_input_contents");
            return Err(OipError::bad_request(message));
        }
        let tensor = Tensor { name, datatype, shape, data };
        tensor.check()?;
        Ok(tensor)
    };
    inputs.into_iter().zip(raw).map(one).collect()
}

/// An input whose elements are in the field of their type.
fn typed(input: InferInputTensor, most_bytes: usize) -> Result<Tensor, OipError> {
    let (name, datatype, shape) = described(&input)?;
    let contents: InferTensorContents = input.contents.unwrap_or_default();
    let data = contents::data(datatype, contents, most_bytes)
        .map_err(|fault| OipError::bad_request(format!("input '{}': {fault}", shown(&name))))?;
    let tensor = Tensor { name, datatype, shape, data };
    tensor.check()?;
    Ok(tensor)
}

/// Name, datatype and shape of an input.
fn described(input: &InferInputTensor) -> Result<(String, Datatype, Vec<u64>), OipError> {
    let wrong = |fault: String| OipError::bad_request(format!("input '{}': {fault}", shown(&input.name)));
    let datatype = input.datatype.parse().map_err(wrong)?;
    let dim =
        |dim: &i64| u64::try_from(*dim).map_err(|_| wrong(format!("shape: expected 0 or more, found {dim}")));
    let shape = input.shape.iter().map(dim).collect::<Result<_, _>>()?;
    Ok((input.name.clone(), datatype, shape))
}

fn parameter(value: InferParameter) -> Option<Parameter> {
    Some(match value.parameter_choice? {
        ParameterChoice::BoolParam(value) => value.into(),
        ParameterChoice::Int64Param(value) => value.into(),
        ParameterChoice::StringParam(value) => value.into(),
        ParameterChoice::DoubleParam(value) => value.into(),
        ParameterChoice::Uint64Param(value) => value.into(),
    })
}

fn message_parameters(parameters: Parameters) -> std::collections::BTreeMap<String, InferParameter> {
    let one = |(name, value)| {
        let choice = match value {
            Parameter::Bool(value) => ParameterChoice::BoolParam(value),
            Parameter::Int(value) => ParameterChoice::Int64Param(value),
            Parameter::Uint(value) => ParameterChoice::Uint64Param(value),
            Parameter::Float(value) => ParameterChoice::DoubleParam(value),
            Parameter::String(value) => ParameterChoice::StringParam(value),
        };
        (name, InferParameter { parameter_choice: Some(choice) })
    };
    parameters.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests;
