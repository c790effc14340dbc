//! Every routing decision of the gateway: which names exist, which replicas may serve, which one does.
//!
//! Pure: no I/O, no clock, no global randomness, no async runtime, no configuration crate. Time, seeds and what
//! workers reported come in as arguments, so the gateway and the simulator run the same code. What changes from
//! request to request is held in atomics ([`EndpointLive`], [`ReplicaLive`]); everything else is an immutable
//! [`Directory`] that its one writer rebuilds. Called by the gateway's registry (build) and proxy (find a route,
//! resolve, pick).

pub mod admission;
pub mod directory;
pub mod endpoint;
pub mod filter;
pub mod health;
pub mod lease;
pub mod policy;
pub mod pool;
pub mod replica;
pub mod route;

#[cfg(test)]
#[path = "../tests/support/fixture.rs"]
mod fixture;

pub use admission::{Admission, Permit};
pub use directory::{Directory, DirectorySettings, Member, Model, Unresolved};
pub use endpoint::{Endpoint, EndpointKind, EndpointLive, EndpointSpec, GrpcListener, Labels};
pub use filter::{Exclusion, Exclusions, Needs};
pub use health::{Health, HealthThresholds, HealthTracker};
pub use lease::Lease;
pub use policy::Policy;
pub use pool::{Ask, Decision, Pool};
pub use replica::{Replica, ReplicaLive};
pub use route::{RouteRule, RouteTable};
