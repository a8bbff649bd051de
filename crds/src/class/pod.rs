//! The pods that run a class.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LocalRef, Texts};
use crate::quantity::Quantity;
use crate::rules;
use crate::schema::{named, opaque, opaques, quantities, texts};

/// An object that Kubernetes understands and that is passed on as it is.
pub type Opaque = serde_json::Map<String, serde_json::Value>;

/// What a class's pods have besides the sidecar's own settings.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// The sidecar's image, instead of the operator's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = rules::schema(rules::IMAGE)))]
    pub image: Option<String>,
    /// The sidecar's requests and limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<32, 63>")]
    pub node_selector: Texts,
    /// Taints of nodes that are put up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// A Pod's affinity, passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub affinity: Option<Opaque>,
    /// A Pod's topologySpreadConstraints, passed on as they are. Default as even as it can be over nodes and zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "opaques")]
    pub topology_spread_constraints: Vec<Opaque>,
    /// Secrets with credentials for the images' registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub image_pull_secrets: Vec<LocalRef>,
    /// The pods' PriorityClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub priority_class_name: Option<String>,
    /// The pods' RuntimeClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = rules::schema(rules::OBJECT_NAME)))]
    pub runtime_class_name: Option<String>,
    /// Annotations of the pods' ServiceAccount, by which a cloud gives it an identity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<50, 16_384>")]
    pub service_account_annotations: Texts,
    /// Volumes for the containers beside the sidecar, passed on as they are. None of the node's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "named", extend("x-kubernetes-validations" = rules::schema(rules::VOLUMES)))]
    pub volumes: Vec<Opaque>,
    /// Containers that run before the sidecar, passed on as those in extraContainers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "named", extend("x-kubernetes-validations" = rules::schema(rules::EXTRA_CONTAINERS)))]
    pub init_containers: Vec<Opaque>,
    /// Containers beside the sidecar, passed on. They have no more rights than it, and not its ports and Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "named", extend("x-kubernetes-validations" = rules::schema(rules::EXTRA_CONTAINERS)))]
    pub extra_containers: Vec<Opaque>,
    /// Annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<50, 16_384>", extend("x-kubernetes-validations" = rules::schema(rules::POD_ANNOTATIONS)))]
    pub annotations: Texts,
    /// Labels of the pods, besides those of Portside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts::<50, 63>", extend("x-kubernetes-validations" = rules::schema(rules::POD_LABELS)))]
    pub labels: Texts,
    /// How long a pod has to finish its requests and hand over, in seconds. Default limits.requestTimeout and 30 more, at least 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub termination_grace_period_seconds: Option<i64>,
}

/// A container's resources, by name, such as cpu and memory.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is set aside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub requests: BTreeMap<String, Quantity>,
    /// The most that may be used.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "quantities")]
    pub limits: BTreeMap<String, Quantity>,
}

/// A taint that is put up with, as in a Pod.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key. Without one every taint matches, with operator Exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub key: Option<String>,
    /// Exists or Equal, the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Exists", "Equal"]))]
    pub operator: Option<String>,
    /// The taint's value, for Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// NoSchedule, PreferNoSchedule or NoExecute. Without one, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: Option<String>,
    /// For NoExecute, how long a pod stays, in seconds. Without one, forever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}
