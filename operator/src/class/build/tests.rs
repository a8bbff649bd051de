//! Classes in, manifests out.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use portside_crds::ServerlessWorkerClassSpec;
use portside_crds::plain::Plain;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::certificates::Trust;
use crate::class::fetch::Live;
use crate::class::testkit::{class, deployment, fetched, settings, valid, yaml};
use crate::class::validate::validate;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Input {
    class: ServerlessWorkerClassSpec,
    config_map: Option<ConfigMap>,
    #[serde(default)]
    gateway: Vec<EndpointSlice>,
}

/// Every object as a YAML document, in the order they are applied.
fn documents(objects: &Objects) -> String {
    let mut all: Vec<Value> = vec![];
    let mut add = |value: Result<Value, serde_json::Error>| all.push(value.unwrap());
    add(serde_json::to_value(&objects.service_account));
    add(serde_json::to_value(&objects.network_policy));
    add(serde_json::to_value(&objects.disruption_budget));
    add(serde_json::to_value(&objects.service));
    if let Some(RuntimeMap::Whole(map)) = &objects.runtime {
        add(serde_json::to_value(map));
    }
    if let Some(CodeMap::Whole(code)) = &objects.code {
        add(serde_json::to_value(code));
    }
    objects
        .deployment
        .iter()
        .for_each(|one| add(serde_json::to_value(one)));
    if let Some(entrance) = &objects.entrance {
        add(serde_json::to_value(&entrance.service));
        entrance
            .slices
            .iter()
            .for_each(|one| add(serde_json::to_value(one)));
        entrance
            .ingress
            .iter()
            .for_each(|one| add(serde_json::to_value(one)));
        entrance
            .http_routes
            .iter()
            .for_each(|one| add(serde_json::to_value(one)));
    }
    let texts: Vec<String> = all
        .iter()
        .map(|one| serde_saphyr::to_string(&Plain(one)).unwrap())
        .collect();
    texts.join("---\n")
}

fn built(input: &str) -> Built {
    let input: Input = yaml(input);
    let mut class = class("code: {}");
    class.spec = input.class;
    let mut fetched = fetched(class, input.config_map, Live::default());
    fetched.gateway = input.gateway.into_iter().map(Arc::new).collect();
    build(validate(fetched), &settings())
}

macro_rules! snapshots {
    ($($name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                let built = built(include_str!(concat!("inputs/", stringify!($name), ".yaml")));
                if let Err(rejection) = &built.valid.workload {
                    panic!("{}: {}", rejection.reason, rejection.message);
                }
                insta::assert_snapshot!(stringify!($name), documents(&built.objects));
            }
        )*
    };
}

snapshots! {
    minimal,
    everything,
    suspended,
    config_map,
    bundle,
    oci,
    oci_pinned,
    tls,
    http_route,
}

#[test]
fn ingresses_lead_to_the_gateway_by_name_if_that_is_asked_for() {
    let mut settings = settings();
    let host = "portside-gateway.portside-system.svc.cluster.local";
    settings.gateway_dns_name = format!("{host}:8000").parse().ok();
    let entrance = |input: &str| {
        let mut valid = built(input).valid;
        valid.live.owned = vec![owned(Kind::EndpointSlice, "chat-gateway")];
        let built = build(valid, &settings);
        let garbage = garbage(&built, true);
        (built.objects.entrance.unwrap(), garbage)
    };
    let (named, unused) = entrance(include_str!("inputs/tls.yaml"));
    let spec = named.service.spec.unwrap();
    assert_eq!(spec.type_.as_deref(), Some("ExternalName"));
    assert_eq!(spec.external_name.as_deref(), Some(host));
    let port = &spec.ports.unwrap()[0];
    assert_eq!((port.name.as_deref(), port.port), (Some("http"), 8000));
    assert!(named.slices.is_empty() && named.ingress.is_some());
    assert_eq!(unused, [owned(Kind::EndpointSlice, "chat-gateway")]);
    // HTTPRoutes may not refer to names.
    let (copied, unused) = entrance(include_str!("inputs/http_route.yaml"));
    assert_eq!(copied.service.spec.unwrap().external_name, None);
    assert_eq!((copied.slices.len(), unused), (1, vec![]));
}

#[test]
fn an_http_route_has_as_many_hosts_as_it_may_and_no_other_class_has_its_name() {
    let hosts: Vec<String> = (10..43)
        .map(|number| format!("{{ host: h{number}.com }}"))
        .collect();
    let more = "{ host: a.com, path: /a }, { host: '' }";
    let spec = format!(
        "{MINIMAL}\nroutes: [{}, {more}]\nhttpRoute: {{ parentRefs: [{{ name: public }}] }}",
        hosts.join(", ")
    );
    let routes = || {
        let built = build(valid(&spec, Live::default()), &settings());
        built.objects.entrance.unwrap().http_routes
    };
    let sizes: Vec<usize> = routes().iter().map(|it| it.spec.hostnames.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 34);
    assert_eq!(sizes.iter().filter(|size| **size == 0).count(), 1);
    assert!(sizes.iter().all(|size| *size <= 16), "{sizes:?}");
    let names = || {
        let name = |route: HTTPRoute| route.metadata.name.unwrap();
        routes().into_iter().map(name).collect::<Vec<_>>()
    };
    let distinct: std::collections::BTreeSet<_> = names().into_iter().collect();
    assert_eq!(distinct.len(), sizes.len());
    assert_eq!((&*names()[0], names()), ("chat", names()));
    for name in &names()[1..] {
        let (_, hash) = name.rsplit_once('-').unwrap();
        assert!(name.starts_with("chat-") && hash.len() == 16, "{name}");
    }
}

#[test]
fn the_purge_job() {
    let valid = valid("code: { inline: { server.js: x } }", Live::default());
    let (_, job) = purge(&valid, &settings(), 2);
    insta::assert_snapshot!(serde_saphyr::to_string(&job).unwrap());
}

#[test]
fn a_databases_authority_is_mounted_beside_its_url_for_the_purge_as_well() {
    let of = |spec: &str| {
        let (_, job) = purge(&valid(spec, Live::default()), &settings(), 1);
        let pod = job.spec.unwrap().template.spec.unwrap();
        let args = pod.containers[0].args.clone().unwrap().join(" ");
        let volume = pod.volumes.unwrap().remove(0);
        (args, volume)
    };
    let with = "storage: { database: { ca: { configMapKeyRef: { name: authorities, key: pg } } } }";
    let (args, volume) = of(&format!("{MINIMAL}\n{with}"));
    assert!(
        args.ends_with(
            "--store-file /etc/portside/database/url --store-ca-file /etc/portside/database/ca.crt"
        ),
        "{args}"
    );
    let expected = "{ name: database, projected: { sources: [\
        { secret: { name: portside-database, items: [{ key: url, path: url }], optional: true } }, \
        { configMap: { name: authorities, items: [{ key: pg, path: ca.crt }], optional: true } }] } }";
    assert_eq!(volume, yaml(expected));
    let (args, volume) = of(MINIMAL);
    assert!(!args.contains("--store-ca-file"), "{args}");
    assert!(volume.projected.is_none());
}

pub(super) const MINIMAL: &str = "code: { inline: { server.js: x } }";

/// What the cluster has once `spec` was applied by an operator of that version.
pub(super) fn live(spec: &str, version: &str) -> Live {
    let mut settings = settings();
    settings.version = version.to_owned();
    settings.sidecar_image = format!("portside/sidecar:{version}");
    let built = build(valid(spec, Live::default()), &settings);
    let names = built.objects.names().into_iter();
    let code = names.filter(|(kind, _)| *kind == Kind::ConfigMap);
    let code = code.map(|(_, name)| name);
    Live {
        owned: code.map(|name| owned(Kind::ConfigMap, &name)).collect(),
        deployment: built.objects.deployment.map(Arc::new),
        pods: vec![],
    }
}

fn owned(kind: Kind, name: &str) -> Owned {
    Owned {
        kind,
        name: name.to_owned(),
        uid: None,
        fingerprint: 0,
    }
}

fn image(built: &Built) -> &str {
    let spec = built
        .objects
        .deployment
        .as_ref()
        .unwrap()
        .spec
        .as_ref()
        .unwrap();
    let containers = &spec.template.spec.as_ref().unwrap().containers;
    containers[0].image.as_deref().unwrap()
}

fn version(built: &Built) -> &str {
    let deployment = built.objects.deployment.as_ref().unwrap();
    &deployment.metadata.annotations.as_ref().unwrap()[names::OPERATOR_VERSION_ANNOTATION]
}

#[test]
fn another_operator_keeps_the_pods() {
    let before = live(MINIMAL, "0.0.9");
    let kept = build(valid(MINIMAL, before.clone()), &settings());
    assert_eq!(
        (image(&kept), version(&kept)),
        ("portside/sidecar:0.0.9", "0.0.9")
    );
    assert!(kept.objects.code.is_none());
    assert_eq!(garbage(&kept, true), []);

    let scaled = format!("{MINIMAL}\nscaling: {{ replicas: 2 }}");
    let scaled = build(valid(&scaled, before.clone()), &settings());
    let spec = scaled
        .objects
        .deployment
        .as_ref()
        .unwrap()
        .spec
        .as_ref()
        .unwrap();
    assert_eq!(
        (spec.replicas, image(&scaled)),
        (Some(2), "portside/sidecar:0.0.9")
    );

    let changed = build(
        valid("code: { inline: { server.js: y } }", before.clone()),
        &settings(),
    );
    assert_eq!(
        (image(&changed), version(&changed)),
        ("portside/sidecar:0.1.0", "0.1.0")
    );

    let code_lost = Live {
        owned: vec![],
        ..before
    };
    let remade = build(valid(MINIMAL, code_lost), &settings());
    assert_eq!(version(&remade), "0.1.0");
    assert!(remade.objects.code.is_some());
}

/// What the pods of this version have beside those of earlier ones comes with the next change of a class.
#[test]
fn pods_without_a_port_for_the_api_server_of_workers_stay() {
    let mut before = live(MINIMAL, "0.0.9");
    let mut older = (*before.deployment.unwrap()).clone();
    let template = &mut older.spec.as_mut().unwrap().template;
    let spec = template.spec.as_mut().unwrap();
    let volumes = spec.volumes.as_mut().unwrap();
    volumes.retain(|volume| volume.name != names::RUNTIME_VOLUME);
    let sidecar = &mut spec.containers[0];
    let mounts = sidecar.volume_mounts.as_mut().unwrap();
    mounts.retain(|mount| mount.name != names::RUNTIME_VOLUME);
    let ports = sidecar.ports.as_mut().unwrap();
    ports.retain(|port| port.container_port != i32::from(names::MANAGE_PORT));
    let older_pods = template.clone();
    before.deployment = Some(Arc::new(older));
    let kept = build(valid(MINIMAL, before), &settings());
    let spec = kept.objects.deployment.unwrap().spec.unwrap();
    assert_eq!(spec.template, older_pods);
    let fresh = build(valid(MINIMAL, Live::default()), &settings());
    let spec = fresh.objects.deployment.unwrap().spec.unwrap();
    assert_ne!(spec.template, older_pods);
}

#[test]
fn the_same_operator_mends_its_template() {
    let mut before = live(MINIMAL, "0.1.0");
    let mut tampered = (*before.deployment.unwrap()).clone();
    let spec = tampered
        .spec
        .as_mut()
        .unwrap()
        .template
        .spec
        .as_mut()
        .unwrap();
    spec.containers[0].image = Some("other".to_owned());
    before.deployment = Some(Arc::new(tampered));
    assert_eq!(
        image(&build(valid(MINIMAL, before), &settings())),
        "portside/sidecar:0.1.0"
    );
}

#[test]
fn what_cannot_work_leaves_what_does() {
    let missing = "code: { configMap: { name: gone } }\nsuspend: true";
    let nothing = build(valid(missing, Live::default()), &settings());
    assert!(nothing.objects.deployment.is_none() && nothing.objects.code.is_none());

    let kept = build(valid(missing, live(MINIMAL, "0.1.0")), &settings());
    let spec = kept
        .objects
        .deployment
        .as_ref()
        .unwrap()
        .spec
        .as_ref()
        .unwrap();
    assert_eq!(spec.replicas, Some(0));
    assert_eq!(image(&kept), "portside/sidecar:0.1.0");
    assert_eq!(garbage(&kept, true), []);
}

#[test]
fn garbage_is_what_is_owned_and_not_wanted() {
    let mut before = live(MINIMAL, "0.1.0");
    let old = "chat-code-0000000000";
    let mounted = "chat-code-1111111111";
    before.owned.extend([
        owned(Kind::ConfigMap, old),
        owned(Kind::ConfigMap, mounted),
        owned(Kind::Ingress, "chat"),
        owned(Kind::Service, "chat-gateway"),
        owned(Kind::Service, "chat-workers"),
        owned(Kind::Job, "chat-purge"),
    ]);
    let pod: Pod = yaml(&format!(
        "spec: {{ containers: [], volumes: [{{ name: app, configMap: {{ name: {mounted} }} }}] }}"
    ));
    before.pods.push(Arc::new(pod));
    let built = build(valid(MINIMAL, before.clone()), &settings());
    let names = |rolled_out| -> Vec<String> {
        let garbage = garbage(&built, rolled_out).into_iter();
        garbage
            .map(|one| format!("{}/{}", one.kind.as_str(), one.name))
            .collect()
    };
    let always = ["Ingress/chat", "Service/chat-gateway", "Job/chat-purge"];
    assert_eq!(names(false), always);
    assert_eq!(
        names(true),
        [&["ConfigMap/chat-code-0000000000"], &always[..]].concat()
    );

    let routed = format!("{MINIMAL}\nroutes: [{{ host: a.com }}]");
    let routed = build(valid(&routed, before), &settings());
    let garbage = garbage(&routed, false);
    assert_eq!(garbage, [owned(Kind::Job, "chat-purge")]);
}

#[test]
fn whom_pods_believe_is_beside_them_where_there_is_an_api_server_of_workers() {
    let map = || owned(Kind::ConfigMap, "chat-runtime");
    let with = |trust: Trust, apiserver: bool| {
        let mut valid = valid(MINIMAL, live(MINIMAL, "0.1.0"));
        valid.trust = trust;
        let mut settings = settings();
        settings.apiserver.take_if(|_| !apiserver);
        let built = build(valid, &settings);
        let garbage = garbage(&built, true);
        (built.objects, garbage)
    };
    let (objects, unused) = with(Trust::In("authorities".into()), true);
    let Some(RuntimeMap::Whole(written)) = &objects.runtime else {
        panic!("not written");
    };
    assert_eq!(written.data.as_ref().unwrap()["ca.crt"], "authorities");
    assert_eq!((written.immutable, unused), (None, vec![]));
    let ports = |objects: &Objects| serde_json::to_string(&objects.network_policy).unwrap();
    assert!(ports(&objects).contains("\"manage\""));

    // An operator that has just begun leaves it.
    let (objects, unused) = with(Trust::Unread, true);
    assert!(matches!(objects.runtime, Some(RuntimeMap::Left(_))));
    assert_eq!(unused, []);

    let (objects, unused) = with(Trust::Nobody, false);
    assert!(objects.runtime.is_none());
    assert_eq!(unused, [map()]);
    assert!(!ports(&objects).contains("\"manage\""));
}

#[test]
fn metrics_are_for_the_platform_where_it_says_for_whom() {
    let from = |peers: &str| {
        let mut settings = settings();
        settings.metrics_from = serde_json::from_str(peers).unwrap();
        let objects = build(valid(MINIMAL, live(MINIMAL, "0.1.0")), &settings).objects;
        let rules = objects.network_policy.spec.unwrap().ingress.unwrap();
        let rule = (rules.into_iter())
            .find(|rule| serde_json::to_string(&rule.ports).is_ok_and(|it| it.contains("admin")));
        serde_json::to_string(&rule.unwrap().from).unwrap()
    };
    assert_eq!(from("[]"), r#"[{"namespaceSelector":{}}]"#);
    let peer = r#"{"namespaceSelector":{"matchLabels":{"team":"watch"}}}"#;
    let named = from(&format!("[{peer}]"));
    for part in [peer, r#"component":"gateway""#, r#"component":"operator""#] {
        assert!(named.contains(part), "{named}");
    }
    assert!(!named.contains(r#"{"namespaceSelector":{}}"#), "{named}");
}

#[test]
fn a_deployment_of_an_older_shape_is_no_obstacle() {
    let bare = Live {
        deployment: Some(deployment(
            "metadata: { name: chat-workers }\nspec: { selector: {}, template: {} }",
        )),
        ..Live::default()
    };
    assert_eq!(version(&build(valid(MINIMAL, bare), &settings())), "0.1.0");
}
