//! The API server of workers: each worker as an object of Kubernetes, as the pods of its class tell. This is what it says,
//! without what listens and asks.

pub mod discovery;
pub mod object;
pub mod openapi;
#[cfg(test)]
mod sample;
pub mod selector;
pub mod status;
pub mod table;
pub mod token;

/// The group of the API.
pub const GROUP: &str = "runtime.portside.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// Both, as objects have it.
pub const API_VERSION: &str = "runtime.portside.dev/v1alpha1";
/// The kind of a worker's object.
pub const KIND: &str = "ServerlessWorker";
/// The kind of a list of them.
pub const LIST_KIND: &str = "ServerlessWorkerList";
/// The resource, as paths have it.
pub const RESOURCE: &str = "serverlessworkers";
