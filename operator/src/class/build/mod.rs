//! The third step: the objects of a class. Pure: the same class gives the same objects.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use portside_crds::names;

use super::Settings;
use super::http_routes::HTTPRoute;
use super::owned::{Kind, Owned};
use super::validate::Valid;

mod configmap;
mod deployment;
mod endpointslice;
mod gateway_service;
mod http_route;
mod ingress;
mod network_policy;
mod pdb;
mod pod;
mod purge_job;
mod service;
mod service_account;

pub(crate) use pod::DATABASE;
pub(crate) use purge_job::{ATTEMPT_ANNOTATION, COMPONENT_PURGE};

/// The pod template's annotation with the digest of the code that the pod runs.
pub(crate) const DIGEST_ANNOTATION: &str = "portside.dev/code-digest";

/// A class and its objects.
pub(crate) struct Built {
    /// The class.
    pub valid: Valid,
    /// What there is to be.
    pub objects: Objects,
}

/// Everything that a class is to have. What it owns beside these is garbage.
pub(crate) struct Objects {
    /// Without rights: pods have none of a namespace's default ServiceAccount either.
    pub service_account: ServiceAccount,
    /// The pods' names and addresses.
    pub service: Service,
    /// Who may connect to the pods.
    pub network_policy: NetworkPolicy,
    /// Keeps nodes' drains from taking all pods at once.
    pub disruption_budget: PodDisruptionBudget,
    /// The code. `None` if the pods keep what they have.
    pub code: Option<CodeMap>,
    /// The pods. `None` if they cannot be made and there were none.
    pub deployment: Option<Deployment>,
    /// How requests come in, for classes with routes.
    pub entrance: Option<Entrance>,
    /// Whom the pods believe, where there is an API server of workers.
    pub runtime: Option<RuntimeMap>,
}

/// The ConfigMap with the certificates of those whom pods believe.
pub(crate) enum RuntimeMap {
    /// It is to be there.
    Whole(Box<ConfigMap>),
    /// It stays as it is, if it is there, under this name.
    Left(String),
}

/// The ConfigMap with the code.
pub(crate) enum CodeMap {
    /// It is to be there.
    Whole(Box<ConfigMap>),
    /// It is there, under this name.
    There(String),
}

/// How requests come in.
pub(crate) struct Entrance {
    /// A Service in the class's namespace that leads to the gateway in another.
    pub service: Service,
    /// Its addresses, a slice for each family; none if it leads there by name.
    pub slices: Vec<EndpointSlice>,
    /// Unless HTTPRoutes are asked for.
    pub ingress: Option<Ingress>,
    /// If they are asked for, and the cluster has them.
    pub http_routes: Vec<HTTPRoute>,
}

/// Makes the objects.
pub(crate) fn build(valid: Valid, settings: &Settings) -> Built {
    let template = deployment::template(&valid, settings);
    let code = match (&template, &valid.workload) {
        (Some(template), Ok(workload)) if template.is_new => {
            let name = || CodeMap::There(workload.config_map.clone());
            let whole = configmap::code(&valid, workload);
            let whole = whole.map(|map| CodeMap::Whole(Box::new(map)));
            Some(whole.unwrap_or_else(name))
        }
        _ => None,
    };
    let entrance = (!valid.routing.routes.is_empty()).then(|| entrance(&valid, settings));
    let objects = Objects {
        service_account: service_account::service_account(&valid),
        service: service::service(&valid),
        network_policy: network_policy::network_policy(&valid, settings),
        disruption_budget: pdb::pdb(&valid),
        code,
        deployment: template.map(|template| deployment::deployment(&valid, template, settings)),
        entrance,
        runtime: configmap::runtime(&valid),
    };
    Built { valid, objects }
}

/// The Deployment with the pods that there are, for when the code of others could not be written.
pub(crate) fn kept(valid: &Valid, settings: &Settings) -> Option<Deployment> {
    let template = deployment::kept(valid)?;
    Some(deployment::deployment(valid, template, settings))
}

fn entrance(valid: &Valid, settings: &Settings) -> Entrance {
    let ingress = ingress::ingress(valid, settings);
    // What implements the Gateway API refuses names.
    let name = settings.gateway_dns_name.as_ref();
    let name = name.filter(|_| ingress.is_some());
    Entrance {
        service: match name {
            Some(name) => gateway_service::by_name(valid, name),
            None => gateway_service::service(valid),
        },
        slices: match name {
            Some(_) => vec![],
            None => endpointslice::slices(valid),
        },
        ingress,
        http_routes: http_route::http_routes(valid),
    }
}

/// What deletes the class's state: the Job, and the identity of its pod.
pub(crate) fn purge(valid: &Valid, settings: &Settings, attempt: u32) -> (ServiceAccount, Job) {
    (
        service_account::service_account(valid),
        purge_job::purge_job(valid, settings, attempt),
    )
}

/// What the class owns and no longer needs.
///
/// Code stays while it may still be used: until the rollout that replaces it is complete and no pod mounts it.
pub(crate) fn garbage(built: &Built, rolled_out: bool) -> Vec<Owned> {
    let keep = built.objects.names();
    let mounted: Vec<&str> = used_config_maps(built).collect();
    let owned = built.valid.live.owned.iter();
    let unwanted = owned.filter(|one| !keep.contains(&(one.kind, one.name.clone())));
    unwanted
        .filter(|one| {
            one.kind != Kind::ConfigMap || rolled_out && !mounted.contains(&one.name.as_str())
        })
        .cloned()
        .collect()
}

fn used_config_maps(built: &Built) -> impl Iterator<Item = &str> {
    let pods = built.valid.live.pods.iter();
    let specs = pods.filter_map(|pod| pod.spec.as_ref());
    let template = built.objects.deployment.iter();
    let template = template.filter_map(|one| one.spec.as_ref()?.template.spec.as_ref());
    specs.chain(template).filter_map(pod::code_config_map)
}

impl Objects {
    /// Kind and name of each.
    fn names(&self) -> Vec<(Kind, String)> {
        let Self {
            service_account,
            service,
            network_policy,
            disruption_budget,
            code,
            deployment,
            entrance,
            runtime,
        } = self;
        let mut names = vec![
            named(Kind::ServiceAccount, service_account),
            named(Kind::Service, service),
            named(Kind::NetworkPolicy, network_policy),
            named(Kind::PodDisruptionBudget, disruption_budget),
        ];
        names.extend(code.iter().map(|one| match one {
            CodeMap::Whole(map) => named(Kind::ConfigMap, &**map),
            CodeMap::There(name) => (Kind::ConfigMap, name.clone()),
        }));
        names.extend(deployment.iter().map(|one| named(Kind::Deployment, one)));
        names.extend(runtime.iter().map(|one| match one {
            RuntimeMap::Whole(map) => named(Kind::ConfigMap, &**map),
            RuntimeMap::Left(name) => (Kind::ConfigMap, name.clone()),
        }));
        if let Some(Entrance {
            service,
            slices,
            ingress,
            http_routes,
        }) = entrance
        {
            names.push(named(Kind::Service, service));
            names.extend(slices.iter().map(|one| named(Kind::EndpointSlice, one)));
            names.extend(ingress.iter().map(|one| named(Kind::Ingress, one)));
            names.extend(http_routes.iter().map(|one| named(Kind::HttpRoute, one)));
        }
        names
    }
}

fn named(kind: Kind, object: &impl Resource) -> (Kind, String) {
    (kind, object.meta().name.clone().unwrap_or_default())
}

/// The metadata of an object that the class controls.
fn meta(valid: &Valid, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(valid.key.namespace.clone()),
        labels: Some(names::labels(&valid.key.name)),
        owner_references: valid
            .class
            .controller_owner_ref(&())
            .map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

#[cfg(test)]
mod tests;
