//! The `ServerlessWorkerClass` and its `spec`.
//!
//! Fields that Kubernetes itself understands better (affinities, containers) are passed on as they are. Comments on
//! fields are what `kubectl explain` shows: the first sentence has to stand alone.

#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns have the same types"
)]

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;
use crate::schema::networks;
use crate::status::ServerlessWorkerClassStatus;

mod assets;
mod code;
mod database;
mod env;
mod limits;
mod objects;
mod pod;
mod route;
mod triggers;

pub use assets::{Assets, HtmlHandling, NotFoundHandling};
pub use code::{Code, ConfigMapCode, LocalRef, OciCode};
pub use database::{CaKey, CaSource, Database, DatabaseSecret};
pub use env::{EnvEntry, EnvSource, KeyRef, NamedKey};
pub use limits::ClassLimits;
pub use objects::{
    DurableObjectBinding, DurableObjectClass, DurableObjectOrigin, DurableObjectStorage,
    DurableObjects, Isolation,
};
pub use pod::{Opaque, Pod, Resources, Toleration};
pub use route::{HttpRoute, Ingress, IngressTls, ParentRef, Route};
pub use triggers::Triggers;

/// What a class asks for.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "portside.dev",
    version = "v1alpha1",
    kind = "ServerlessWorkerClass",
    plural = "serverlessworkerclasses",
    shortname = "swc",
    category = "all",
    category = "serverless",
    namespaced,
    status = "ServerlessWorkerClassStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One application of stateful serverless workers: its code, its configuration and how it is reached.",
    crates(
        kube_core = "::kube_core",
        k8s_openapi = "::k8s_openapi",
        schemars = "::schemars",
        serde = "::serde",
        serde_json = "::serde_json"
    ),
    scale(
        spec_replicas_path = ".spec.scaling.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(
        name = "Digest",
        type_ = "string",
        json_path = ".status.code.observedDigest",
        priority = 1
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.readyReplicas"
    ),
    printcolumn(
        name = "Serving",
        type_ = "integer",
        json_path = ".status.servingReplicas"
    ),
    printcolumn(name = "Awake", type_ = "integer", json_path = ".status.workers.awake"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::schema(rules::SPEC)))]
pub struct ServerlessWorkerClassSpec {
    /// Where the code comes from: exactly one of inline, configMap and oci.
    pub code: Code,
    /// The server's env, each entry a value or a reference to a Secret's or ConfigMap's key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 200),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub env: Vec<EnvEntry>,
    /// Durable Objects: the classes of them that the code exports, and where the server's env has them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub durable_objects: DurableObjects,
    /// Static assets: files that are served as they are, before the server is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<Assets>,
    /// What runs the server's handlers apart from requests: crons.
    #[serde(default, skip_serializing_if = "is_default")]
    pub triggers: Triggers,
    /// Where workers' state is kept and what becomes of it when the class is deleted.
    #[serde(default)]
    pub storage: Storage,
    /// What one worker may use. What is left out has a default.
    #[serde(default, skip_serializing_if = "ClassLimits::is_empty")]
    pub limits: ClassLimits,
    /// What the code may reach over the network.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: Network,
    /// How a worker's events may interleave.
    #[serde(default, skip_serializing_if = "is_default")]
    pub concurrency: Concurrency,
    /// Which requests go to this class. A host is its oldest class's namespace's alone; of two classes with the same route, the older one has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["host", "path"])
    )]
    pub routes: Vec<Route>,
    /// The Ingress that is made for the routes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ingress: Ingress,
    /// Asks for an HTTPRoute instead of an Ingress. Needs the Gateway API in the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<HttpRoute>,
    /// How many pods there are.
    #[serde(default)]
    pub scaling: Scaling,
    /// The pods that run the workers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pod: Pod,
    /// Stops the class: no pods, while its state and its other objects stay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
}

/// Where workers' state is kept.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// The PostgreSQL database. Its Secret cannot be another one later: state would stay behind.
    #[serde(default)]
    pub database: Database,
    /// What becomes of the workers' state when the class is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What becomes of the workers' state when the class is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// It stays in the database: a class of the same name finds it again.
    #[default]
    Retain,
    /// It is deleted before the class goes.
    Delete,
}

/// What the code's fetch and WebSocket may reach.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Networks out of reach, such as 10.0.0.0/8, beside link-local addresses and clouds' metadata services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "networks", extend("x-kubernetes-validations" = rules::schema(rules::NETWORKS)))]
    pub deny: Vec<String>,
    /// Networks whose metadata services are in reach after all. What deny has stays out of reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "networks", extend("x-kubernetes-validations" = rules::schema(rules::NETWORKS)))]
    pub allow: Vec<String>,
}

/// How a worker's events may interleave.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    /// Whether a worker's events wait while one of its storage operations is under way.
    #[serde(default)]
    pub input_gate: bool,
}

/// How many pods there are.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// How many pods share the workers. Workers move to pods that come, and from pods that go.
    #[serde(default = "Scaling::default_replicas")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: i32,
}

impl Scaling {
    fn default_replicas() -> i32 {
        1
    }
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            replicas: Self::default_replicas(),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Text by name, as in labels and annotations.
pub(crate) type Texts = BTreeMap<String, String>;
