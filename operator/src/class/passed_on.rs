//! What a class has in its pods beside the sidecar: read as Kubernetes reads it, refused where it would take what is the
//! sidecar's or the node's, and made as restricted as the rest of the pod.
//!
//! Who may make a class need not be allowed to make pods, and a namespace need not enforce a standard for them.

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, SecurityContext, TopologySpreadConstraint,
    Volume,
};
use portside_crds::Reason;
use portside_crds::class::{Opaque, Pod};
use portside_crds::names::{
    ADMIN_PORT, ADMIN_PORT_NAME, HTTP_PORT, HTTP_PORT_NAME, MANAGE_PORT, MANAGE_PORT_NAME,
    PEER_PORT, PEER_PORT_NAME, RUNTIME_VOLUME, SECRET_VOLUMES,
};
use serde::de::DeserializeOwned;

use super::validate::Rejection;

/// What Kubernetes understands of `spec.pod`, read.
#[derive(Debug, Clone, Default)]
pub(crate) struct PassedOn {
    /// `affinity`
    pub affinity: Option<Affinity>,
    /// `topologySpreadConstraints`
    pub spread: Vec<TopologySpreadConstraint>,
    /// `extraContainers`
    pub containers: Vec<Container>,
    /// `initContainers`
    pub init_containers: Vec<Container>,
    /// `volumes`
    pub volumes: Vec<Volume>,
}

/// The kinds of volumes that the restricted standard has: none is the node's.
///
/// Source: <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The one capability that the restricted standard lets a container have.
const ALLOWED_CAPABILITY: &str = "NET_BIND_SERVICE";

/// Reads what the class has.
pub(crate) fn passed_on(pod: &Pod) -> Result<PassedOn, Rejection> {
    let priority = pod.priority_class_name.as_deref();
    if let Some(name) = priority.filter(|name| name.starts_with("system-")) {
        let what = format!("{name} is for what the cluster itself needs; choose another");
        return Err(rejected("spec.pod.priorityClassName", &what));
    }
    Ok(PassedOn {
        affinity: pod
            .affinity
            .as_ref()
            .map(|one| read(one, "spec.pod.affinity"))
            .transpose()?,
        spread: list(
            &pod.topology_spread_constraints,
            "spec.pod.topologySpreadConstraints",
            read,
        )?,
        containers: list(&pod.extra_containers, "spec.pod.extraContainers", container)?,
        init_containers: list(&pod.init_containers, "spec.pod.initContainers", container)?,
        volumes: list(&pod.volumes, "spec.pod.volumes", volume)?,
    })
}

fn list<T>(
    opaque: &[Opaque],
    place: &str,
    read: impl Fn(&Opaque, &str) -> Result<T, Rejection>,
) -> Result<Vec<T>, Rejection> {
    let numbered = opaque.iter().enumerate();
    numbered
        .map(|(index, one)| read(one, &format!("{place}[{index}]")))
        .collect()
}

fn read<T: DeserializeOwned>(opaque: &Opaque, place: &str) -> Result<T, Rejection> {
    serde_json::from_value(opaque.clone().into())
        .map_err(|error| rejected(place, &format!("{error}; write it as in a Pod")))
}

fn rejected(place: &str, what: &str) -> Rejection {
    Rejection {
        reason: Reason::PodRejected,
        message: format!("{place}: {what}"),
    }
}

fn volume(opaque: &Opaque, place: &str) -> Result<Volume, Rejection> {
    let is_other = |kind: &&String| *kind != "name" && !VOLUMES.contains(&kind.as_str());
    if let Some(kind) = opaque.keys().find(is_other) {
        let what = format!(
            "{kind} is no volume that a class may have; use one of {}",
            VOLUMES.join(", ")
        );
        return Err(rejected(place, &what));
    }
    read(opaque, place)
}

fn container(opaque: &Opaque, place: &str) -> Result<Container, Rejection> {
    let mut container: Container = read(opaque, place)?;
    for port in container.ports.iter_mut().flatten() {
        check_port(port).map_err(|what| rejected(&format!("{place}.ports"), &what))?;
        // What is found by these names is the sidecar. A port needs none.
        port.name
            .take_if(|name| OWN_PORTS.iter().any(|(_, own)| name == own));
    }
    let mounts = container.volume_mounts.iter().flatten();
    for name in mounts.map(|mount| mount.name.as_str()) {
        if SECRET_VOLUMES.contains(&name) {
            let next = match name {
                RUNTIME_VOLUME => "do not mount it",
                _ => "add a volume of the Secret to spec.pod.volumes and mount that",
            };
            let what = format!("{name} is the sidecar's own; {next}");
            return Err(rejected(&format!("{place}.volumeMounts"), &what));
        }
    }
    for handler in HANDLERS {
        if names_host(opaque.get(handler)) {
            let what = "host is asked by the node, which reaches what the pod does not; remove it";
            return Err(rejected(&format!("{place}.{handler}"), what));
        }
    }
    let context = container.security_context.get_or_insert_default();
    let place = format!("{place}.securityContext");
    check_context(context).map_err(|what| rejected(&place, &what))?;
    restrict(context);
    Ok(container)
}

/// Where a container has handlers that the kubelet calls.
const HANDLERS: [&str; 4] = [
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Whether a handler, or one of several, is to be called at another host than the pod.
fn names_host(handler: Option<&serde_json::Value>) -> bool {
    let Some(serde_json::Value::Object(handler)) = handler else {
        return false;
    };
    handler.contains_key("host") || handler.values().any(|inner| names_host(Some(inner)))
}

/// What the sidecar listens on.
const OWN_PORTS: [(u16, &str); 4] = [
    (HTTP_PORT, HTTP_PORT_NAME),
    (ADMIN_PORT, ADMIN_PORT_NAME),
    (PEER_PORT, PEER_PORT_NAME),
    (MANAGE_PORT, MANAGE_PORT_NAME),
];

/// What a container may not listen on.
fn check_port(port: &ContainerPort) -> Result<(), String> {
    if port.host_port.is_some_and(|port| port != 0) || port.host_ip.is_some() {
        return Err("hostPort and hostIP are the node's; remove them".to_owned());
    }
    for (number, name) in OWN_PORTS {
        if port.container_port == i32::from(number) {
            return Err(format!(
                "{number}, {name}, is the sidecar's; choose another"
            ));
        }
    }
    Ok(())
}

/// What a container may not ask for, beyond the pod's own bounds.
fn check_context(context: &SecurityContext) -> Result<(), String> {
    let added = context
        .capabilities
        .iter()
        .flat_map(|all| all.add.iter().flatten());
    if let Some(added) = added.into_iter().find(|one| *one != ALLOWED_CAPABILITY) {
        return Err(format!("capability {added} may not be added; remove it"));
    }
    let seccomp = context.seccomp_profile.as_ref();
    let app_armor = context.app_armor_profile.as_ref();
    let refused = [
        (context.privileged == Some(true), "privileged: true"),
        (
            context.allow_privilege_escalation == Some(true),
            "allowPrivilegeEscalation: true",
        ),
        (
            context.run_as_non_root == Some(false),
            "runAsNonRoot: false",
        ),
        (context.run_as_user == Some(0), "runAsUser: 0"),
        (context.se_linux_options.is_some(), "seLinuxOptions"),
        (context.windows_options.is_some(), "windowsOptions"),
        (
            context
                .proc_mount
                .as_deref()
                .is_some_and(|it| it != "Default"),
            "procMount",
        ),
        (
            seccomp.is_some_and(|profile| profile.type_ == "Unconfined"),
            "seccompProfile: Unconfined",
        ),
        (
            app_armor.is_some_and(|profile| profile.type_ == "Unconfined"),
            "appArmorProfile: Unconfined",
        ),
    ];
    match refused.iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => Err(format!("{what} is not allowed; remove it")),
        None => Ok(()),
    }
}

/// Gives up what the container does not say that it needs. The rest it has of the pod.
fn restrict(context: &mut SecurityContext) {
    context.allow_privilege_escalation = Some(false);
    let capabilities: &mut Capabilities = context.capabilities.get_or_insert_default();
    capabilities.drop = Some(vec!["ALL".to_owned()]);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: &Value) -> Opaque {
        value.as_object().unwrap().clone()
    }

    fn of(field: &str, values: &[Value]) -> Result<PassedOn, String> {
        let values: Vec<Opaque> = values.iter().map(object).collect();
        let mut pod = Pod::default();
        match field {
            "volumes" => pod.volumes = values,
            "initContainers" => pod.init_containers = values,
            _ => pod.extra_containers = values,
        }
        passed_on(&pod).map_err(|rejection| {
            assert_eq!(rejection.reason, Reason::PodRejected);
            rejection.message
        })
    }

    #[test]
    fn passed_on_parts_are_read() {
        let message = of(
            "extraContainers",
            &[json!({"name": "log"}), json!({"name": 1})],
        );
        let message = message.unwrap_err();
        assert!(
            message.starts_with("spec.pod.extraContainers[1]: "),
            "{message}"
        );
    }

    #[test]
    fn what_the_node_or_the_cluster_would_do_for_it_is_refused() {
        let probe = |handler: Value| json!({"name": "a", "livenessProbe": handler});
        for (container, what) in [
            (
                probe(json!({"httpGet": {"port": 1, "host": "10.0.0.1"}})),
                "livenessProbe: host",
            ),
            (
                probe(json!({"tcpSocket": {"port": 1, "host": ""}})),
                "livenessProbe: host",
            ),
            (
                json!({"name": "a", "lifecycle": {"postStart": {"httpGet": {"port": 1, "host": "node"}}}}),
                "lifecycle: host",
            ),
            (
                json!({"name": "a", "securityContext": {"seLinuxOptions": {"type": "spc_t"}}}),
                "seLinuxOptions",
            ),
            (
                json!({"name": "a", "securityContext": {"windowsOptions": {"hostProcess": true}}}),
                "windowsOptions",
            ),
        ] {
            let message = of("extraContainers", &[container]).unwrap_err();
            assert!(message.contains(what), "{message}");
        }
        let own =
            probe(json!({"httpGet": {"port": 1, "httpHeaders": [{"name": "Host", "value": "a"}]}}));
        assert!(of("extraContainers", &[own]).is_ok());
        let everything = json!({"name": "a", "securityContext": {"capabilities": {"drop": []}}});
        let found = of("extraContainers", &[everything]).unwrap().containers;
        let context = json!(found[0].security_context);
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        let port = json!({"name": "a", "ports": [{"containerPort": 4180, "name": "http"}]});
        let found = of("extraContainers", &[port]).unwrap().containers;
        let ports = json!(found[0].ports);
        assert_eq!(
            ports,
            json!([{"containerPort": 4180}]),
            "the name leads to the sidecar"
        );
        let pod = Pod {
            priority_class_name: Some("system-node-critical".to_owned()),
            ..Pod::default()
        };
        let message = passed_on(&pod).unwrap_err().message;
        assert!(message.contains("spec.pod.priorityClassName"), "{message}");
    }

    #[test]
    fn a_container_gives_up_what_it_does_not_ask_for() {
        let found = of(
            "initContainers",
            &[
                json!({"name": "a"}),
                json!({"name": "b", "securityContext": {
                    "runAsUser": 7, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                }}),
            ],
        );
        let found = found.unwrap().init_containers;
        let contexts: Vec<Value> = found
            .iter()
            .map(|one| json!(one.security_context))
            .collect();
        assert_eq!(
            contexts,
            [
                json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}),
                json!({
                    "allowPrivilegeEscalation": false, "runAsUser": 7, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                }),
            ]
        );
    }

    #[test]
    fn what_is_the_sidecars_or_the_nodes_is_refused() {
        for (container, said) in [
            (
                json!({"securityContext": {"privileged": true}}),
                "privileged: true is not",
            ),
            (
                json!({"securityContext": {"allowPrivilegeEscalation": true}}),
                "allowPrivilegeEscalation: true",
            ),
            (json!({"securityContext": {"runAsUser": 0}}), "runAsUser: 0"),
            (
                json!({"securityContext": {"runAsNonRoot": false}}),
                "runAsNonRoot: false",
            ),
            (
                json!({"securityContext": {"procMount": "Unmasked"}}),
                "procMount",
            ),
            (
                json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
                "seccompProfile: Unconfined",
            ),
            (
                json!({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}),
                "capability SYS_ADMIN",
            ),
            (
                json!({"ports": [{"containerPort": 1, "hostPort": 80}]}),
                "hostPort",
            ),
            (
                json!({"ports": [{"containerPort": 8080}]}),
                "8080, http, is the sidecar's",
            ),
            (json!({"ports": [{"containerPort": 9090}]}), "9090"),
            (json!({"ports": [{"containerPort": 7070}]}), "7070"),
            (
                json!({"ports": [{"containerPort": 9091}]}),
                "9091, manage, is the sidecar's",
            ),
            (
                json!({"volumeMounts": [{"name": "runtime", "mountPath": "/x"}]}),
                "runtime is the sidecar's own; do not mount it",
            ),
            (
                json!({"volumeMounts": [{"name": "database", "mountPath": "/x"}]}),
                "database is the sidecar's own",
            ),
            (
                json!({"volumeMounts": [{"name": "env", "mountPath": "/x"}]}),
                "env is",
            ),
        ] {
            let mut container = container;
            container["name"] = json!("log");
            for field in ["extraContainers", "initContainers"] {
                let message = of(field, std::slice::from_ref(&container)).unwrap_err();
                let place = format!("spec.pod.{field}[0].");
                assert!(
                    message.starts_with(&place) && message.contains(said),
                    "{container}: {message}"
                );
            }
        }
        let volume = json!({"name": "node", "hostPath": {"path": "/"}});
        let message = of("volumes", &[volume]).unwrap_err();
        assert!(
            message.starts_with("spec.pod.volumes[0]: hostPath is no volume"),
            "{message}"
        );
        let volume = json!({"name": "cache", "emptyDir": {}});
        assert_eq!(of("volumes", &[volume]).unwrap().volumes.len(), 1);
    }
}
