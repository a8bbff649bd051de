//! The class's Deployment.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use portside_crds::names;

use super::{meta, pod, texts};
use crate::class::Settings;
use crate::class::owned::Kind;
use crate::class::validate::Valid;

/// What the Deployment's pods are to be made of.
pub(super) enum Template {
    /// What this operator makes of the class.
    New {
        inputs: String,
        version: String,
        template: Box<PodTemplateSpec>,
    },
    /// What is there: changing it would replace pods for nothing, or by ones that cannot work.
    Kept {
        inputs: String,
        version: String,
        template: Box<PodTemplateSpec>,
    },
}

/// Decides between a new template and the one that is there.
///
/// It is kept where the class asks for nothing else and only the operator is another, so that an upgrade of the
/// operator restarts nothing; and where the class asks for what cannot be, so that what works keeps working.
/// `None` if there is neither.
pub(super) fn template(valid: &Valid, settings: &Settings) -> Option<Template> {
    let kept = kept(valid);
    let workload = match &valid.workload {
        Ok(workload) => workload,
        Err(_) => return kept,
    };
    if let Some(Template::Kept {
        inputs,
        version,
        template,
    }) = kept
        && inputs == workload.inputs
        && version != settings.version
        && has_code(valid, &template)
    {
        return Some(Template::Kept {
            inputs,
            version,
            template,
        });
    }
    Some(Template::New {
        inputs: workload.inputs.clone(),
        version: settings.version.clone(),
        template: Box::new(pod::template(valid, workload, settings)),
    })
}

fn kept(valid: &Valid) -> Option<Template> {
    let live = valid.live.deployment.as_ref()?;
    let annotation = |name| live.annotations().get(name).cloned().unwrap_or_default();
    Some(Template::Kept {
        inputs: annotation(names::INPUTS_ANNOTATION),
        version: annotation(names::OPERATOR_VERSION_ANNOTATION),
        template: Box::new(live.spec.as_ref()?.template.clone()),
    })
}

/// Whether the ConfigMap that a template mounts is there.
fn has_code(valid: &Valid, template: &PodTemplateSpec) -> bool {
    let map = template.spec.as_ref().and_then(pod::code_config_map);
    map.is_some_and(|map| {
        let mut owned = valid.live.owned.iter();
        owned.any(|one| one.kind == Kind::ConfigMap && one.name == map)
    })
}

/// The Deployment with that template.
pub(super) fn deployment(valid: &Valid, template: Template) -> Deployment {
    let (Template::New {
        inputs,
        version,
        template,
    }
    | Template::Kept {
        inputs,
        version,
        template,
    }) = template;
    let spec = &valid.class.spec;
    let mut metadata = meta(valid, names::workers(&valid.key.name));
    metadata.annotations = Some(texts([
        (names::INPUTS_ANNOTATION, &inputs),
        (names::OPERATOR_VERSION_ANNOTATION, &version),
    ]));
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(if spec.suspend {
                0
            } else {
                spec.scaling.replicas
            }),
            // Older revisions come back by the class's spec, not by `kubectl rollout undo`.
            revision_history_limit: Some(0),
            selector: LabelSelector {
                match_labels: Some(names::pod_selector(&valid.key.name)),
                ..LabelSelector::default()
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: *template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}
