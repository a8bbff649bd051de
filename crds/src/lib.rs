//! What the parts of Portside agree on in a cluster: the `ServerlessWorkerClass`, its status, which class a request
//! belongs to, the names of what is made for a class, and what a sidecar says of itself.
//!
//! Types and pure decisions only: no client, no I/O.

pub mod class;
pub mod conditions;
pub mod names;
pub mod plain;
pub mod quantity;
pub mod reason;
pub mod routes;
mod rules;
pub mod schema;
pub mod sidecar;
pub mod status;
pub mod validate;

pub use class::{ServerlessWorkerClass, ServerlessWorkerClassSpec};
pub use conditions::ConditionType;
pub use reason::Reason;
pub use status::ServerlessWorkerClassStatus;

/// The API group.
pub const GROUP: &str = "portside.dev";

/// The API version in [`GROUP`].
pub const VERSION: &str = "v1alpha1";

/// `apiVersion` of a class's manifest.
pub const API_VERSION: &str = "portside.dev/v1alpha1";

/// `kind` of a class's manifest.
pub const KIND: &str = "ServerlessWorkerClass";
