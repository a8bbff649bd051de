//! The API server of workers: each worker as an object of Kubernetes, as the pods of its class tell. Nothing is stored here.
//!
//! - [`server`] and [`service`]: from a connection to an answer; [`access`] finds who asks, and whether they may
//! - [`workers`]: lists, watches, one worker, and what is done to it
//! - [`follow`]: what happens to workers, in one order; [`pods`] asks pods, once they have proven who they are
//! - [`replicas`]: what another replica of this server alone can answer is passed on to it
//! - [`known`]: the classes that there are, and their pods
//! - [`object`], [`table`], [`shape`], [`selector`], [`token`], [`status`], [`discovery`], [`openapi`]: what is said, without what
//!   listens and asks

pub mod access;
pub mod answer;
pub mod certificate;
mod dial;
pub mod discovery;
pub mod follow;
pub mod known;
pub mod metrics;
pub mod object;
pub mod openapi;
pub mod pods;
pub mod process;
pub mod query;
pub mod replicas;
pub mod route;
mod run;
#[cfg(test)]
mod sample;
pub mod selector;
pub mod server;
pub mod service;
pub mod shape;
pub mod status;
pub mod table;
pub mod token;
pub mod workers;

pub use run::Args;

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
