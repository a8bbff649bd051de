//! What a class's workers may use.

use portside_core::limits::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{self, Quantity};
use crate::rules;

/// Limits over the defaults of [`Limits`].
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClassLimits {
    /// JavaScript heap of one worker, such as 64Mi. Default 128Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::schema(rules::HEAP)))]
    pub heap: Option<Quantity>,
    /// ArrayBuffers and WebAssembly memories of one worker together, such as 1Gi. Default 128Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules::schema(rules::EXTERNAL_MEMORY)))]
    pub external_memory: Option<Quantity>,
    /// CPU time of one uninterrupted stretch of JavaScript, such as 500ms. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules::schema(rules::CPU)))]
    pub cpu: Option<String>,
    /// How long a fetch handler may take to return its response, such as 1m30s. Default 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules::schema(rules::REQUEST_TIMEOUT)))]
    pub request_timeout: Option<String>,
    /// After how long without work a worker is put to sleep, such as 5s. Default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-validations" = rules::schema(rules::IDLE)))]
    pub idle: Option<String>,
    /// How many workers of one pod may be awake at a time. Default one for each 4Mi of the sidecar's memory limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub awake_workers: Option<u32>,
}

impl ClassLimits {
    /// Whether there is nothing but defaults.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These limits over the defaults. A value that cannot be read, which validation refuses, counts as left out.
    #[must_use]
    pub fn over_defaults(&self) -> Limits {
        let mut limits = Limits::default();
        let bytes = |value: &Option<Quantity>| value.as_ref().and_then(|text| text.bytes());
        let duration = |value: &Option<String>| value.as_deref().and_then(quantity::duration);
        if let Some(heap) = bytes(&self.heap) {
            limits.heap_bytes = heap;
        }
        if let Some(external) = bytes(&self.external_memory) {
            limits.external_bytes = external;
        }
        if let Some(cpu) = duration(&self.cpu) {
            limits.cpu = cpu;
        }
        if let Some(request) = duration(&self.request_timeout) {
            limits.request = request;
        }
        if let Some(idle) = duration(&self.idle) {
            limits.idle = idle;
        }
        limits.awake_workers = self
            .awake_workers
            .and_then(|workers| usize::try_from(workers).ok());
        limits
    }
}
