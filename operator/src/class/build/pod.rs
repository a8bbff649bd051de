//! The pods that run a class.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapProjection, ConfigMapVolumeSource, Container, ContainerPort,
    EmptyDirVolumeSource, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, LocalObjectReference,
    ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecretProjection,
    SecretVolumeSource, SecurityContext, ServiceAccountTokenProjection, Toleration,
    TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use portside_crds::class::{CaKey, Database, EnvEntry, KeyRef, NamedKey, OciCode, Resources};
use portside_crds::sidecar::SECONDS_AFTER_REQUESTS;
use portside_crds::{ServerlessWorkerClassSpec, names, quantity};
use portside_manage::AUDIENCE;

use super::{DIGEST_ANNOTATION, texts};
use crate::class::Settings;
use crate::class::passed_on::PassedOn;
use crate::class::validate::{Valid, Workload};

/// The user and group that containers run as: distroless's `nonroot`.
const NON_ROOT: i64 = 65532;

/// Seconds for a pod to hand over, at least, unless the class says otherwise.
const LEAST_GRACE_SECONDS: u64 = 60;

/// The volume with the database's URL.
pub(crate) const DATABASE: &str = names::DATABASE_VOLUME;

/// What the class's pods are made of.
pub(super) fn template(valid: &Valid, workload: &Workload, settings: &Settings) -> PodTemplateSpec {
    let pod = &valid.class.spec.pod;
    let mut labels = pod.labels.clone();
    labels.extend(names::pod_labels(&valid.key.name));
    let mut annotations = pod.annotations.clone();
    annotations.extend(texts([
        (names::INPUTS_ANNOTATION, &workload.inputs),
        (DIGEST_ANNOTATION, &workload.digest),
        (
            "kubectl.kubernetes.io/default-container",
            names::SIDECAR_CONTAINER,
        ),
    ]));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(valid, workload, settings)),
    }
}

/// Gives the pods the number of their revision.
pub(super) fn set_revision(template: &mut PodTemplateSpec, revision: u64) {
    let number = revision.to_string();
    let metadata = template.metadata.get_or_insert_default();
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(names::REVISION_ANNOTATION.to_owned(), number.clone());
    let containers = template
        .spec
        .iter_mut()
        .flat_map(|spec| &mut spec.containers);
    for sidecar in containers.filter(|one| one.name == names::SIDECAR_CONTAINER) {
        let args = sidecar.args.get_or_insert_default();
        args.extend(["--revision".to_owned(), number.clone()]);
    }
}

fn spec(valid: &Valid, workload: &Workload, settings: &Settings) -> PodSpec {
    let PassedOn {
        affinity,
        spread,
        containers: extra,
        init_containers,
        volumes: more_volumes,
    } = workload.passed_on.clone();
    let grace = grace_seconds(&valid.class.spec);
    let mut sidecar = sidecar(valid, settings, "run");
    // Not an argument: older versions know nothing of it.
    let env = sidecar.env.get_or_insert_default();
    env.push(EnvVar {
        name: "POD_GRACE_SECONDS".to_owned(),
        value: Some(grace.to_string()),
        value_from: None,
    });
    sidecar
        .args
        .get_or_insert_default()
        .extend(["--app", names::APP_DIR, "--env-dir", names::ENV_DIR].map(ToOwned::to_owned));
    sidecar.args.get_or_insert_default().extend(
        // The kubelet puts the IP there.
        ["--peer-listen", "$(POD_IP)"].map(ToOwned::to_owned),
    );
    sidecar
        .args
        .get_or_insert_default()
        .extend(["--runtime-dir", names::RUNTIME_DIR].map(ToOwned::to_owned));
    sidecar.ports = Some(vec![
        port(names::HTTP_PORT_NAME, names::HTTP_PORT),
        port(names::ADMIN_PORT_NAME, names::ADMIN_PORT),
        port(names::PEER_PORT_NAME, names::PEER_PORT),
        port(names::MANAGE_PORT_NAME, names::MANAGE_PORT),
    ]);
    sidecar.volume_mounts.get_or_insert_default().extend([
        mount(names::APP_VOLUME, names::APP_DIR),
        mount(names::ENV_VOLUME, names::ENV_DIR),
        mount(names::RUNTIME_VOLUME, names::RUNTIME_DIR),
    ]);
    let oci = valid.class.spec.code.oci.as_ref();
    let pull_secret = oci.and_then(|oci| oci.pull_secret.as_ref());
    if let Some(oci) = oci {
        sidecar.args.get_or_insert_default().extend(artifact(oci));
    }
    if pull_secret.is_some() {
        let mounts = sidecar.volume_mounts.get_or_insert_default();
        mounts.push(mount(names::PULL_VOLUME, parent(names::PULL_SECRET_FILE)));
    }
    // Alive long before it is ready: a pod that waits for something that is missing is not ended for it, and tells it all the time.
    // For pods of older versions, which listen later, patient.
    sidecar.startup_probe = Some(probe("/livez", 1, 300));
    // Often, as somebody waits for a pod that starts.
    sidecar.readiness_probe = Some(probe("/readyz", 2, 3));
    sidecar.liveness_probe = Some(probe("/livez", 10, 3));
    let mut containers = vec![sidecar];
    containers.extend(extra);
    let mut volumes = shared_volumes(valid);
    volumes.extend([
        code_volume(workload),
        env_volume(&valid.class.spec.env),
        runtime_volume(&valid.key.name),
    ]);
    volumes.extend(pull_secret.map(|secret| {
        secret_file(
            names::PULL_VOLUME,
            &secret.name,
            names::PULL_SECRET_KEY,
            names::PULL_SECRET_FILE,
        )
    }));
    volumes.extend(more_volumes);
    PodSpec {
        containers,
        init_containers: none_if_empty(init_containers),
        volumes: Some(volumes),
        affinity,
        topology_spread_constraints: Some(spread_or_default(valid, spread)),
        termination_grace_period_seconds: Some(grace),
        ..restricted(valid)
    }
}

/// What the class gives, or long enough for a request that may take as long as the class lets it.
fn grace_seconds(spec: &ServerlessWorkerClassSpec) -> i64 {
    let given = spec.pod.termination_grace_period_seconds;
    given.unwrap_or_else(|| {
        let request = spec.limits.over_defaults().request;
        let request = request.as_secs() + u64::from(request.subsec_nanos() > 0);
        let needed = request + u64::from(SECONDS_AFTER_REQUESTS);
        needed.max(LEAST_GRACE_SECONDS).cast_signed()
    })
}

/// What the class gives, or the pods of a revision on as many nodes, and in as many zones, as there are.
fn spread_or_default(
    valid: &Valid,
    wanted: Vec<TopologySpreadConstraint>,
) -> Vec<TopologySpreadConstraint> {
    if !wanted.is_empty() {
        return wanted;
    }
    let over = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(names::pod_selector(&valid.key.name)),
            ..LabelSelector::default()
        }),
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    };
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        .map(over)
        .into()
}

/// A pod that is as restricted as Kubernetes knows, on the nodes that the class wants.
///
/// Source: <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>.
pub(super) fn restricted(valid: &Valid) -> PodSpec {
    let pod = &valid.class.spec.pod;
    let secrets = pod.image_pull_secrets.iter();
    let secrets = secrets.map(|secret| LocalObjectReference {
        name: secret.name.clone(),
    });
    PodSpec {
        image_pull_secrets: none_if_empty(secrets.collect()),
        node_selector: (!pod.node_selector.is_empty()).then(|| pod.node_selector.clone()),
        tolerations: none_if_empty(tolerations(valid)),
        priority_class_name: pod.priority_class_name.clone(),
        runtime_class_name: pod.runtime_class_name.clone(),
        service_account_name: Some(names::workers(&valid.key.name)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(NON_ROOT),
            run_as_group: Some(NON_ROOT),
            fs_group: Some(NON_ROOT),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

/// The sidecar's container, with the class and the database, for one of its commands.
pub(super) fn sidecar(valid: &Valid, settings: &Settings, command: &str) -> Container {
    let pod = &valid.class.spec.pod;
    let class = names::qualified(&valid.key.namespace, &valid.key.name);
    Container {
        name: names::SIDECAR_CONTAINER.to_owned(),
        image: Some(
            pod.image
                .clone()
                .unwrap_or_else(|| settings.sidecar_image.clone()),
        ),
        image_pull_policy: Some(settings.sidecar_pull_policy.to_owned()),
        args: Some(store_args(valid, [command, "--class", &class])),
        env: Some(vec![
            downward("POD_NAME", "metadata.name"),
            downward("POD_IP", "status.podIP"),
        ]),
        resources: Some(resources(pod.resources.as_ref())),
        volume_mounts: Some(vec![
            mount(DATABASE, parent(names::DATABASE_URL_FILE)),
            VolumeMount {
                read_only: None,
                ..mount(names::TMP_VOLUME, "/tmp")
            },
        ]),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// Arguments, and those that say where the database is.
fn store_args(valid: &Valid, first: [&str; 3]) -> Vec<String> {
    let mut args = [&first[..], &["--store-file", names::DATABASE_URL_FILE]].concat();
    if valid.class.spec.storage.database.ca.is_some() {
        args.extend(["--store-ca-file", names::DATABASE_CA_FILE]);
    }
    args.into_iter().map(ToOwned::to_owned).collect()
}

/// The volumes that [`sidecar`] mounts.
pub(super) fn shared_volumes(valid: &Valid) -> Vec<Volume> {
    vec![
        database_volume(&valid.class.spec.storage.database),
        Volume {
            name: names::TMP_VOLUME.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        },
    ]
}

/// The database's URL, and beside it the authority's certificates if there are some. The kubelet renews both.
fn database_volume(database: &Database) -> Volume {
    let url = &database.secret_key_ref;
    let Some(ca) = &database.ca else {
        return secret_file(DATABASE, &url.name, &url.key, names::DATABASE_URL_FILE);
    };
    let url = projected(Some(url.named()), None, base(names::DATABASE_URL_FILE));
    let secret = ca.secret_key_ref.as_ref().map(CaKey::named);
    let config_map = ca.config_map_key_ref.as_ref().map(CaKey::named);
    let ca = projected(secret, config_map, base(names::DATABASE_CA_FILE));
    Volume {
        name: DATABASE.to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![url, ca]),
            default_mode: None,
        }),
        ..Volume::default()
    }
}

/// The code's ConfigMap that a pod mounts.
pub(super) fn code_config_map(pod: &PodSpec) -> Option<&str> {
    let volumes = pod.volumes.iter().flatten();
    let app = volumes.filter(|volume| volume.name == names::APP_VOLUME);
    app.filter_map(|volume| volume.config_map.as_ref())
        .map(|map| map.name.as_str())
        .next()
}

fn code_volume(workload: &Workload) -> Volume {
    let keys = names::file_keys(workload.paths.iter().map(String::as_str));
    let mut items: Vec<KeyToPath> = keys.iter().map(|(path, key)| item(key, path)).collect();
    items.push(item(names::MANIFEST_FILE, names::MANIFEST_FILE));
    Volume {
        name: names::APP_VOLUME.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: workload.config_map.clone(),
            items: Some(items),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The arguments that say which artifact has the code.
fn artifact(oci: &OciCode) -> Vec<String> {
    let mut args = vec!["--artifact", &oci.reference];
    if let Some(digest) = &oci.digest {
        args.extend(["--artifact-digest", digest]);
    }
    if oci.pull_secret.is_some() {
        args.extend(["--pull-secret-file", names::PULL_SECRET_FILE]);
    }
    args.into_iter().map(ToOwned::to_owned).collect()
}

/// A key of a Secret, to be mounted where `file` is.
fn secret_file(volume: &str, secret: &str, key: &str, file: &str) -> Volume {
    Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            items: Some(vec![item(key, base(file))]),
            optional: OPTIONAL,
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// A file for each entry whose value is kept elsewhere. The kubelet renews them when the values change.
fn env_volume(env: &[EnvEntry]) -> Volume {
    let sources: Vec<VolumeProjection> = env.iter().filter_map(projection).collect();
    let mut volume = Volume {
        name: names::ENV_VOLUME.to_owned(),
        ..Volume::default()
    };
    if sources.is_empty() {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    } else {
        volume.projected = Some(ProjectedVolumeSource {
            sources: Some(sources),
            default_mode: None,
        });
    }
    volume
}

/// For how long a pod's token is good, in seconds. The kubelet renews it well before.
const TOKEN_SECONDS: i64 = 3600;

/// Whom to let in at the port of the API server of workers, and who the pod is. Always there, so that no pod is replaced when such a server
/// comes or goes: without its certificates nobody is let in.
fn runtime_volume(class: &str) -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            audience: Some(AUDIENCE.to_owned()),
            expiration_seconds: Some(TOKEN_SECONDS),
            path: names::RUNTIME_TOKEN_FILE.to_owned(),
        }),
        ..VolumeProjection::default()
    };
    let map = names::runtime(class);
    let authorities = (&*map, names::RUNTIME_CA_FILE);
    let authorities = projected(None, Some(authorities), names::RUNTIME_CA_FILE);
    Volume {
        name: names::RUNTIME_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![token, authorities]),
            default_mode: None,
        }),
        ..Volume::default()
    }
}

fn projection(entry: &EnvEntry) -> Option<VolumeProjection> {
    let source = entry.value_from.as_ref()?;
    let secret = source.secret_key_ref.as_ref().map(KeyRef::named);
    let config_map = source.config_map_key_ref.as_ref().map(KeyRef::named);
    Some(projected(secret, config_map, &entry.name))
}

/// A key of a Secret, or of a ConfigMap, as this file.
fn projected(
    secret: Option<NamedKey<'_>>,
    config_map: Option<NamedKey<'_>>,
    file: &str,
) -> VolumeProjection {
    VolumeProjection {
        secret: secret.map(|(name, key)| SecretProjection {
            name: name.to_owned(),
            items: Some(vec![item(key, file)]),
            optional: OPTIONAL,
        }),
        config_map: config_map.map(|(name, key)| ConfigMapProjection {
            name: name.to_owned(),
            items: Some(vec![item(key, file)]),
            optional: OPTIONAL,
        }),
        ..VolumeProjection::default()
    }
}

/// To the kubelet everything that is mounted is: the sidecar says what is missing, clearer than a pod that does not start.
const OPTIONAL: Option<bool> = Some(true);

/// What keeps nodes from being filled with pods that ask for nothing, and gives autoscalers something to compare with.
const LEAST: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "256Mi")];

/// What the class gives, and for each resource that it says nothing of a request. Where it gives a limit alone, Kubernetes
/// requests as much.
fn resources(wanted: Option<&Resources>) -> ResourceRequirements {
    let given = wanted.cloned().unwrap_or_default();
    let quantities = |all: BTreeMap<String, quantity::Quantity>| {
        all.into_iter()
            .map(|(name, value)| (name, Quantity(value.0)))
    };
    let least = LEAST
        .into_iter()
        .filter(|(name, _)| !given.limits.contains_key(*name));
    let least = least.map(|(name, value)| (name.to_owned(), Quantity(value.to_owned())));
    let requests: BTreeMap<_, _> = least.chain(quantities(given.requests)).collect();
    let limits: BTreeMap<_, _> = quantities(given.limits).collect();
    ResourceRequirements {
        requests: (!requests.is_empty()).then_some(requests),
        limits: (!limits.is_empty()).then_some(limits),
        claims: None,
    }
}

fn tolerations(valid: &Valid) -> Vec<Toleration> {
    let wanted = valid.class.spec.pod.tolerations.iter();
    wanted
        .map(|one| Toleration {
            key: one.key.clone(),
            operator: one.operator.clone(),
            value: one.value.clone(),
            effect: one.effect.clone(),
            toleration_seconds: one.toleration_seconds,
        })
        .collect()
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(names::ADMIN_PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn downward(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: field.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath {
        key: key.to_owned(),
        path: path.to_owned(),
        mode: None,
    }
}

fn parent(file: &str) -> &str {
    file.rsplit_once('/').map_or("/", |(folder, _)| folder)
}

fn base(file: &str) -> &str {
    file.rsplit_once('/').map_or(file, |(_, name)| name)
}

fn none_if_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::testkit::yaml;

    #[test]
    fn each_resource_has_a_request() {
        for (wanted, requests) in [
            ("{}", "{ cpu: 100m, memory: 256Mi }"),
            ("{ requests: { cpu: 2 } }", "{ cpu: 2, memory: 256Mi }"),
            ("{ limits: { memory: 1Gi } }", "{ cpu: 100m }"),
            (
                "{ requests: { memory: 1Gi }, limits: { memory: 2Gi, gpu: 1 } }",
                "{ cpu: 100m, memory: 1Gi }",
            ),
            ("{ limits: { memory: 1Gi, cpu: 1 } }", "{}"),
        ] {
            let found = resources(Some(&yaml(wanted)));
            let expected: Resources = yaml(&format!("requests: {requests}"));
            let expected = resources_alone(&expected);
            assert_eq!(found.requests.unwrap_or_default(), expected, "{wanted}");
        }
        assert_eq!(resources(None), resources(Some(&Resources::default())));
    }

    #[test]
    fn a_pod_has_time_for_its_requests() {
        for (spec, seconds) in [
            ("code: {}", 90),
            ("code: {}\nlimits: { requestTimeout: 10s }", 60),
            ("code: {}\nlimits: { requestTimeout: 5m500ms }", 331),
            (
                "code: {}\nlimits: { requestTimeout: 5m }\npod: { terminationGracePeriodSeconds: 45 }",
                45,
            ),
        ] {
            assert_eq!(grace_seconds(&yaml(spec)), seconds, "{spec}");
        }
    }

    fn resources_alone(of: &Resources) -> BTreeMap<String, Quantity> {
        let all = of.requests.iter();
        all.map(|(name, value)| (name.clone(), Quantity(value.0.clone())))
            .collect()
    }
}
