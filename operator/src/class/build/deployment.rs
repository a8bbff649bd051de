//! The class's Deployment.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use portside_crds::names;
use serde_json::json;

use super::{meta, pod, texts};
use crate::class::Settings;
use crate::class::code::short_hash;
use crate::class::owned::Kind;
use crate::class::rollout;
use crate::class::validate::{Valid, Workload};

/// The Deployment's annotations that tell of its pod template.
const OF_TEMPLATE: [&str; 4] = [
    names::INPUTS_ANNOTATION,
    names::OPERATOR_VERSION_ANNOTATION,
    names::REVISION_ANNOTATION,
    names::TEMPLATE_ANNOTATION,
];

/// What the Deployment's pods are to be made of.
pub(super) struct Template {
    /// Whether this operator makes it of the class. If not it is what is there: changing it would replace pods for nothing,
    /// or by ones that cannot work.
    pub is_new: bool,
    /// [`OF_TEMPLATE`]
    annotations: BTreeMap<String, String>,
    /// The version of the Deployment whose revision it keeps or counts on from.
    replaces: Option<String>,
    pods: Box<PodTemplateSpec>,
}

/// Decides between a new template and the one that is there.
///
/// It is kept where the class asks for nothing else and only the operator is another, so that an upgrade of the
/// operator restarts nothing; and where the class asks for what cannot be, so that what works keeps working.
/// `None` if there is neither.
pub(super) fn template(valid: &Valid, settings: &Settings) -> Option<Template> {
    let kept = kept(valid);
    let Ok(workload) = &valid.workload else {
        return kept;
    };
    kept.filter(|kept| kept.suits(valid, workload, settings))
        .or_else(|| Some(new(valid, workload, settings)))
}

fn new(valid: &Valid, workload: &Workload, settings: &Settings) -> Template {
    let mut pods = pod::template(valid, workload, settings);
    let hash = short_hash(&json!(pods));
    let live = valid.live.deployment.as_ref();
    let is_same =
        live.is_some_and(|live| live.annotations().get(names::TEMPLATE_ANNOTATION) == Some(&hash));
    let own = live
        .filter(|_| is_same)
        .and_then(|live| revision_of(&**live));
    // Pods of a Deployment that somebody deleted may have greater ones; the same template keeps its own all the same.
    let revision = own.unwrap_or_else(|| last_revision(valid).saturating_add(1));
    pod::set_revision(&mut pods, revision);
    Template {
        is_new: true,
        annotations: texts([
            (names::INPUTS_ANNOTATION, &workload.inputs),
            (names::OPERATOR_VERSION_ANNOTATION, &settings.version),
            (names::REVISION_ANNOTATION, &revision.to_string()),
            (names::TEMPLATE_ANNOTATION, &hash),
        ]),
        replaces: live.and_then(|live| live.resource_version()),
        pods: Box::new(pods),
    }
}

fn revision_of(object: &impl ResourceExt) -> Option<u64> {
    let revision = object.annotations().get(names::REVISION_ANNOTATION)?;
    revision.parse().ok()
}

/// The newest revision there is or was. A Deployment that somebody deleted may have left pods.
fn last_revision(valid: &Valid) -> u64 {
    let of_deployment = valid.live.deployment.iter().map(|it| revision_of(&**it));
    let of_pods = valid.live.pods.iter().map(|it| revision_of(&**it));
    let revisions = of_deployment.chain(of_pods).flatten();
    revisions.max().unwrap_or(0)
}

/// The template that is there.
pub(super) fn kept(valid: &Valid) -> Option<Template> {
    let live = valid.live.deployment.as_ref()?;
    let annotations = live.annotations().iter();
    let annotations = annotations.filter(|(name, _)| OF_TEMPLATE.contains(&name.as_str()));
    Some(Template {
        is_new: false,
        annotations: annotations
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        replaces: None,
        pods: Box::new(live.spec.as_ref()?.template.clone()),
    })
}

impl Template {
    /// Whether what another operator has made of the same is as good.
    fn suits(&self, valid: &Valid, workload: &Workload, settings: &Settings) -> bool {
        let annotation = |name| self.annotations.get(name);
        annotation(names::INPUTS_ANNOTATION) == Some(&workload.inputs)
            && annotation(names::OPERATOR_VERSION_ANNOTATION) != Some(&settings.version)
            && self.has_code(valid)
            && (self.shares() || !is_scaled_out(valid))
    }

    /// Whether the ConfigMap that it mounts is there.
    fn has_code(&self, valid: &Valid) -> bool {
        let map = self.pods.spec.as_ref().and_then(pod::code_config_map);
        map.is_some_and(|map| {
            let mut owned = valid.live.owned.iter();
            owned.any(|one| one.kind == Kind::ConfigMap && one.name == map)
        })
    }

    /// Whether its pods share the class's workers.
    fn shares(&self) -> bool {
        self.annotations.contains_key(names::REVISION_ANNOTATION)
    }
}

/// Whether the class asks for another number of pods than there is, and for several: those are to share the workers.
fn is_scaled_out(valid: &Valid) -> bool {
    let replicas = valid.class.spec.scaling.replicas;
    let spec = valid
        .live
        .deployment
        .as_ref()
        .and_then(|live| live.spec.as_ref());
    replicas > 1 && spec.is_some_and(|spec| spec.replicas != Some(replicas))
}

/// How many pods there are to be.
///
/// Only one while there are pods that share nothing: they would take what is free as well, and those that share can serve only
/// when all of that is theirs. The one waits for them to end.
fn replicas(valid: &Valid, template: &Template) -> i32 {
    let spec = &valid.class.spec;
    let now = Timestamp::now();
    let shares_nothing = |pod: &Pod| {
        rollout::is_sidecar(pod)
            && !rollout::has_ended(pod)
            && !rollout::is_overdue(pod, now)
            && !pod.annotations().contains_key(names::REVISION_ANNOTATION)
    };
    if spec.suspend {
        0
    } else if template.shares() && valid.live.pods.iter().any(|pod| shares_nothing(pod)) {
        spec.scaling.replicas.min(1)
    } else {
        spec.scaling.replicas
    }
}

/// The Deployment with that template.
pub(super) fn deployment(valid: &Valid, template: Template, settings: &Settings) -> Deployment {
    let replicas = replicas(valid, &template);
    let mut metadata = meta(valid, names::workers(&valid.key.name));
    let mut annotations = template.annotations;
    let operator = settings.instance.clone();
    annotations.insert(names::OPERATOR_ANNOTATION.to_owned(), operator);
    metadata.annotations = Some(annotations);
    metadata.resource_version = template.replaces;
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            // Older revisions come back by the class's spec, not by `kubectl rollout undo`.
            revision_history_limit: Some(0),
            selector: LabelSelector {
                match_labels: Some(names::pod_selector(&valid.key.name)),
                ..LabelSelector::default()
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    // All at once: the workers go to the newest revision as soon as one pod of it is there.
                    max_surge: Some(IntOrString::String("100%".to_owned())),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: *template.pods,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

#[cfg(test)]
mod tests;
