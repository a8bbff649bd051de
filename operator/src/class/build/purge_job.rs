//! The Job that deletes the state of a class that goes.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portside_crds::names;

use super::{meta, pod, texts};
use crate::class::Settings;
use crate::class::validate::Valid;

/// [`names::COMPONENT_LABEL`] of the Job's pods.
pub(crate) const COMPONENT_PURGE: &str = "purge";

/// The Job's annotation that counts the tries, from 1.
pub(crate) const ATTEMPT_ANNOTATION: &str = "portside.dev/attempt";

/// How long one try may take, in seconds.
const DEADLINE_SECONDS: i64 = 3600;

/// Try number `attempt` to delete the class's state. The operator decides about another one, so the Job does not.
pub(super) fn purge_job(valid: &Valid, settings: &Settings, attempt: u32) -> Job {
    let mut metadata = meta(valid, names::purge(&valid.key.name));
    metadata.annotations = Some(texts([(ATTEMPT_ANNOTATION, &attempt.to_string())]));
    let mut labels = names::labels(&valid.key.name);
    labels.extend(texts([(names::COMPONENT_LABEL, COMPONENT_PURGE)]));
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(DEADLINE_SECONDS),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    containers: vec![pod::sidecar(valid, settings, "purge")],
                    volumes: Some(pod::shared_volumes(valid)),
                    restart_policy: Some("Never".to_owned()),
                    ..pod::restricted(valid)
                }),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}
