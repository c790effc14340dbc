//! Names of the headers that gateway and worker exchange, and of those a client may send.
//!
//! Everything under [`INTERNAL_PREFIX`] from a client is stripped at the gateway, and the worker's copies are
//! stripped on the way out, except those in [`CLIENT_VISIBLE`].

/// Every internal header begins with this, in lower case.
pub const INTERNAL_PREFIX: &str = "weir-";
/// ORCA load headers, stripped in both directions like the internal ones.
pub const ORCA_LOAD: &str = "endpoint-load-metrics";

/// Gateway to worker: the id of the request, for logs on both sides (the worker's at DEBUG). Always sent: a trusted
/// peer that sends it is a gateway.
pub const REQUEST_ID: &str = "weir-request-id";
/// Gateway to worker: time left until the deadline, in microseconds, decimal.
pub const DEADLINE_US: &str = "weir-deadline-us";
/// Gateway to worker: how long workers before this one had the request, in microseconds, decimal. It counts from what the
/// request's parameters and its model allow; absent on a first attempt.
pub const WAITED_US: &str = "weir-waited-us";
/// Gateway to worker: the priority that the client asked for ([`CLIENT_PRIORITY`]), decimal.
pub const PRIORITY: &str = "weir-priority";
/// Gateway to worker: the shared token that makes a peer trusted.
pub const TOKEN: &str = "weir-token";
/// Gateway to worker: the names in the request's body as the gateway read them, and what they mean
/// ([`crate::route::ResolvedRoute`]).
pub const ROUTE: &str = "weir-route";
/// Worker to gateway: why the request was not started ([`crate::Refusal::name`]).
pub const REFUSED: &str = "weir-refused";
/// Worker to gateway and client: `model;version;worker` that answered.
pub const SERVED: &str = "weir-served";
/// Gateway or worker to client: why there is no result ([`crate::Reason::name`]).
pub const REASON: &str = "weir-reason";

/// Internal headers that clients may see.
pub const CLIENT_VISIBLE: [&str; 2] = [REASON, SERVED];

/// Client to gateway: the id to use for this request; echoed.
pub const CLIENT_REQUEST_ID: &str = "x-request-id";
/// Client to gateway: the deadline, in milliseconds from now, decimal.
pub const CLIENT_TIMEOUT_MS: &str = "x-timeout-ms";

/// Client to gateway: the priority, 1 = first, decimal, for requests that have no `priority` parameter.
pub const CLIENT_PRIORITY: &str = "x-priority";

/// Client to gateway: the model, for requests that name none elsewhere.
pub const CLIENT_MODEL: &str = "x-model";
/// Client to gateway: the version or label, for requests that name none elsewhere.
pub const CLIENT_MODEL_VERSION: &str = "x-model-version";

/// Byte length of the JSON part of a body with binary tensors (OIP binary tensor extension).
pub const INFERENCE_HEADER_CONTENT_LENGTH: &str = "inference-header-content-length";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_must_strip_carries_the_prefix_and_nothing_else_does() {
        for internal in [REQUEST_ID, DEADLINE_US, WAITED_US, PRIORITY, TOKEN, ROUTE, REFUSED, SERVED, REASON]
        {
            assert!(internal.starts_with(INTERNAL_PREFIX), "{internal}");
        }
        for public in [
            CLIENT_REQUEST_ID,
            CLIENT_TIMEOUT_MS,
            CLIENT_PRIORITY,
            CLIENT_MODEL,
            CLIENT_MODEL_VERSION,
            INFERENCE_HEADER_CONTENT_LENGTH,
            ORCA_LOAD,
        ] {
            assert!(!public.starts_with(INTERNAL_PREFIX), "{public}");
        }
    }
}
