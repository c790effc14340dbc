//! ModelInfer: one request, one response; and what it shares with the requests of a stream.

use bytes::Bytes;
use weir_protocol::{
    OipError,
    grpc::{ModelInferRequest, ModelInferResponse, infer_parameter::ParameterChoice},
};

use super::{
    answer::{self, Response},
    inbound::{Inbound, Terms},
    messages::{Inference, Message, Messages},
    tensors,
};
use crate::{
    infer::{
        self, Call, Rejection, Timings,
        admission::{self, Admitted},
    },
    server::Worker,
};

/// Parameter by which a client of a stream asks to be told when a request has no more responses.
const WANTS_FINAL: &str = "triton_enable_empty_final_response";

/// What of a request its answer needs, whatever becomes of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// The request's id; empty when it has none.
    pub(super) id: String,
    /// Whether a message shall say that no more responses come. Streams only.
    pub(super) wants_final: bool,
}

/// How a request ended.
pub(super) struct Ended {
    /// What was asked.
    pub(super) asked: Asked,
    /// The value of `weir-served`, when the request reached a model version.
    pub(super) served: Option<String>,
    /// The framed answer.
    pub(super) result: Result<Bytes, Rejection>,
}

/// Answers ModelInfer.
///
/// # Errors
/// What was wrong with the message as such; later errors are answers.
pub(super) async fn answer(
    worker: &Worker,
    inbound: &Inbound,
    terms: &Terms,
    messages: &mut Messages,
) -> Result<Response, Rejection> {
    let message = messages.only().await.inspect_err(|rejection| admission::count(worker, rejection))?;
    let coding = terms.answers;
    let write = move |_: &Asked, response| answer::framed(&response, coding);
    let Ended { served, result, .. } = run(worker, terms, message, write).await;
    let mut response = match result {
        Ok(message) => answer::unary(message, coding),
        Err(rejection) => answer::rejected(&rejection, inbound.trusted),
    };
    if let Some(served) = served {
        answer::served(&mut response, &served);
    }
    Ok(response)
}

/// Runs the request in a message and records how it ended. `write` makes the framed answer of the response.
pub(super) async fn run(
    worker: &Worker,
    terms: &Terms,
    message: Message,
    write: impl FnOnce(&Asked, ModelInferResponse) -> Result<Bytes, OipError> + Send + 'static,
) -> Ended {
    let began = worker.clock.now();
    let mut asked = Asked::default();
    let admitted = async {
        let inference = message.inference(worker.codec_limits.tensors).await?;
        let request = &inference.request;
        asked = Asked::of(request);
        let target = terms.target(&request.model_name, &request.model_version)?;
        Ok((admission::admit(worker, &target, terms.from_gateway)?, inference))
    };
    // The share is held to the end of this function, for tensors made from typed contents.
    let (mut admitted, Inference { request, bytes, share: _share }) = match admitted.await {
        Ok(admitted) => admitted,
        Err(rejection) => {
            let rejection: Rejection = rejection;
            worker.telemetry.record_error(None, rejection.error.reason);
            return Ended { asked, served: None, result: Err(rejection) };
        }
    };
    let call = Call {
        deadline: terms.deadline,
        waited: terms.waited,
        priority: terms.priority,
        received: began,
        clock: worker.clock,
        text_bytes: text_bytes(&request, bytes),
    };
    let writing = asked.clone();
    let write = move |response| write(&writing, response);
    let result = infer(worker, &admitted, call, (request, terms.answers.is_some()), write).await;
    admitted.record(worker, result.as_ref().map(|(_, timings)| timings));
    Ended { asked, served: Some(admitted.served(worker)), result: result.map(|(message, _)| message) }
}

/// Runs an accepted request; `compressed` tells whether its answer takes time to write.
async fn infer(
    worker: &Worker,
    admitted: &Admitted,
    call: Call,
    (request, compressed): (ModelInferRequest, bool),
    write: impl FnOnce(ModelInferResponse) -> Result<Bytes, OipError> + Send + 'static,
) -> Result<(Bytes, Timings), Rejection> {
    admitted.check_queue(call.deadline, call.waited)?;
    let most = worker.codec_limits.tensor_bytes;
    let answered = infer::run(&admitted.queue, call, move |_| tensors::request(request, most)).await?;
    let bytes: usize = answered.response.outputs.iter().map(|output| output.tensor.data.len()).sum();
    let text_bytes = if compressed { bytes } else { 0 };
    answered.write(worker.clock, text_bytes, |response| write(tensors::response(response))).await
}

/// Bytes of a message of `bytes` whose elements are looked at one by one: typed ones, and raw ones whose content is
/// checked.
fn text_bytes(request: &ModelInferRequest, bytes: usize) -> usize {
    if request.raw_input_contents.is_empty() {
        return bytes;
    }
    let is_checked = |datatype: &str| matches!(datatype, "BOOL" | "BYTES");
    let raw = request.inputs.iter().zip(&request.raw_input_contents);
    raw.filter(|(input, _)| is_checked(&input.datatype)).map(|(_, data)| data.len()).sum()
}

impl Asked {
    fn of(request: &ModelInferRequest) -> Self {
        let wish = request.parameters.get(WANTS_FINAL).and_then(|wish| wish.parameter_choice.as_ref());
        Self { id: request.id.clone(), wants_final: matches!(wish, Some(ParameterChoice::BoolParam(true))) }
    }
}
