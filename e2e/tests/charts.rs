//! The charts, rendered without a cluster. Needs `helm`: the program in `HELM`, else on `PATH`; without one these
//! tests say so and pass. `UPDATE_GOLDEN=1` writes the expected files anew.
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and helpers outside of #[test] are tests too"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::{Value, json};

const NAMESPACED: &[&str] = &["--set", "watchNamespaces={team-a,team-b}"];
const API_SERVER: &[&str] = &["--set", "apiserver.enabled=true"];
const HOST_POLICY: &[&str] = &[
    "--set",
    "hostPolicy.enabled=true",
    "--show-only=templates/policy.yaml",
];
/// Everything that can be turned on.
const FULL: &[&str] = &[
    "--set",
    "replicaCount=2,networkPolicy.enabled=true,podMonitor.enabled=true,serviceMonitor.enabled=true,hostPolicy.enabled=true",
    "--set",
    "apiserver.enabled=true",
    "--set",
    "postgres.enabled=true,postgres.password=correct-horse,postgres.namespaces={team-a,team-b}",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn chart(name: &str) -> PathBuf {
    root().join("charts").join(name)
}

/// Runs helm, or tells that there is none.
fn helm(args: &[&str]) -> Option<Output> {
    let program = env::var_os("HELM").unwrap_or_else(|| "helm".into());
    match Command::new(&program).args(args).output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!(
                "skipped: {} does not run; install helm, or set HELM",
                program.display()
            );
            None
        }
    }
}

/// The chart as text.
fn rendered(name: &str, options: &[&str]) -> Option<String> {
    let output = template(name, options)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {options:?}: {errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn template(name: &str, options: &[&str]) -> Option<Output> {
    let path = chart(name);
    let fixed = ["template", name, path.to_str().unwrap()];
    let version = ["--kube-version", "1.33", "--namespace", "portside-system"];
    helm(&[&fixed[..], &version[..], options].concat())
}

fn documents(yaml: &str) -> Vec<Value> {
    yaml.split("\n---\n")
        .map(|document| serde_saphyr::from_str::<Value>(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// The objects of a chart.
fn objects(name: &str, options: &[&str]) -> Option<Vec<Value>> {
    rendered(name, options).map(|text| documents(text.trim_start_matches("---\n")))
}

fn pod_template(object: &Value) -> Option<&Value> {
    object.pointer("/spec/template/spec")
}

/// Compares with a committed file.
fn golden(name: &str, actual: &str) {
    let path = chart("portside/tests/golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} is not what the chart renders; look at the difference, then UPDATE_GOLDEN=1",
        path.display()
    );
}

#[test]
fn lint_finds_nothing() {
    for name in ["portside", "portside-crds"] {
        let path = chart(name);
        let path = path.to_str().unwrap();
        let Some(output) = helm(&["lint", "--strict", "--kube-version", "1.33", path]) else {
            return;
        };
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn the_operator_is_told_the_gateways_name_if_ingresses_are_to_lead_there_by_it() {
    let named = ["--set", "gateway.byName=true,gateway.service.port=81"];
    let (Some(plain), Some(named)) = (rendered("portside", &[]), rendered("portside", &named))
    else {
        return;
    };
    let flag = "--gateway-dns-name=portside-gateway.portside-system.svc.cluster.local:81";
    assert!(!plain.contains("--gateway-dns-name") && named.contains(flag));
}

#[test]
fn the_definition_is_the_generated_one() {
    let file = "serverlessworkerclasses.yaml";
    let generated = fs::read_to_string(root().join("crds/generated").join(file)).unwrap();
    let copy = chart("portside-crds").join("files").join(file);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&copy, &generated).unwrap();
    }
    assert!(
        fs::read_to_string(&copy).unwrap() == generated,
        "copy crds/generated/{file} to {}",
        copy.display()
    );
    let Some(mut objects) = objects("portside-crds", &[]) else {
        return;
    };
    assert_eq!(objects.len(), 1);
    let rendered = &mut objects[0];
    assert_eq!(
        rendered["metadata"]["annotations"]["helm.sh/resource-policy"],
        "keep"
    );
    let mut expected: Value = documents(&generated).remove(0);
    rendered["metadata"].take();
    expected["metadata"].take();
    simplify(&mut expected);
    simplify(rendered);
    assert_eq!(*rendered, expected);
}

/// Writes every number alike: helm makes 1 of 1.0.
fn simplify(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(simplify),
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Number(number) => *value = json!(number.as_f64()),
        _ => {}
    }
}

#[test]
fn permissions_are_the_ones_looked_at() {
    let roles = [
        "--show-only=templates/rbac/operator.yaml",
        "--show-only=templates/rbac/gateway.yaml",
        "--show-only=templates/rbac/users.yaml",
        "--show-only=templates/operator/cleanup.yaml",
    ];
    let all = ["--set", "rbac.aggregate=true"];
    for (file, options) in [("rbac.yaml", &[][..]), ("rbac-namespaced.yaml", NAMESPACED)] {
        let Some(text) = rendered("portside", &[&roles[..], &all, options].concat()) else {
            return;
        };
        assert!(!text.contains("secrets"), "nothing here may read Secrets");
        assert!(!text.contains('*'), "nothing here may do everything");
        golden(file, &text);
    }
}

/// With the API server of workers, beside all that is there without.
#[test]
fn permissions_for_workers_are_the_ones_looked_at() {
    let roles = [
        "--show-only=templates/rbac/apiserver.yaml",
        "--show-only=templates/rbac/workers.yaml",
        "--show-only=templates/operator/cleanup.yaml",
    ];
    let all = ["--set", "rbac.aggregate=true"];
    let options = [&roles[..], &all, API_SERVER].concat();
    for (file, more) in [
        ("rbac-apiserver.yaml", &[][..]),
        ("rbac-apiserver-namespaced.yaml", NAMESPACED),
    ] {
        let Some(text) = rendered("portside", &[&options[..], more].concat()) else {
            return;
        };
        assert!(!text.contains('*'), "nothing here may do everything");
        golden(file, &text);
        let objects = documents(text.trim_start_matches("---\n"));
        let rules = objects.iter().filter_map(|one| one["rules"].as_array());
        for rule in rules.flatten() {
            if rule["resources"] == json!(["secrets"]) && rule["verbs"] != json!(["create"]) {
                let own = json!(["portside-apiserver-ca", "portside-apiserver-tls"]);
                assert_eq!(rule["resourceNames"], own, "no other Secrets");
            }
            if rule["resources"] == json!(["apiservices"]) {
                assert_eq!(rule["resourceNames"], json!([API_SERVICE]), "no others");
            }
        }
    }
}

const API_SERVICE: &str = "v1alpha1.runtime.portside.dev";

/// The object of that kind and name.
fn named<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let found = objects
        .iter()
        .find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// What a role lets its subjects do: each resource with its verbs.
fn grants(role: &Value) -> Vec<(String, Vec<String>)> {
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().unwrap().iter();
        all.map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let rules = role["rules"].as_array().unwrap().iter();
    let each = rules.flat_map(|rule| {
        let verbs = texts(&rule["verbs"]);
        let resources = texts(&rule["resources"]).into_iter();
        resources.map(move |resource| (resource, verbs.clone()))
    });
    each.collect()
}

#[test]
fn nothing_is_there_of_an_api_server_of_workers_unless_it_is_asked_for() {
    let all = ["--set", "networkPolicy.enabled=true,rbac.aggregate=true"];
    let Some(text) = rendered("portside", &all) else {
        return;
    };
    for trace in ["apiserver", "runtime.portside.dev", "secrets"] {
        assert!(!text.contains(trace), "{trace}");
    }
}

#[test]
fn the_api_server_of_workers_is_found_by_all_who_need_it() {
    let Some(objects) = objects("portside", FULL) else {
        return;
    };
    const NAME: &str = "portside-apiserver";
    let registration = named(&objects, "APIService", API_SERVICE);
    let service = json!({ "name": NAME, "namespace": "portside-system", "port": 443 });
    assert_eq!(registration["spec"]["service"], service);
    // Helm would take away again what the operator puts there.
    assert!(registration["spec"].get("caBundle").is_none());
    let service = named(&objects, "Service", NAME);
    assert_eq!(service["spec"]["ports"][0]["port"], 443);
    let operator = named(&objects, "Deployment", "portside-operator");
    let args = &pod_template(operator).unwrap()["containers"][0]["args"];
    assert!(
        args.to_string()
            .contains("\"--apiserver=portside-apiserver\"")
    );
    let cleanup = named(&objects, "Job", "portside-cleanup");
    let args = &pod_template(cleanup).unwrap()["containers"][0]["args"];
    assert!(
        args.to_string()
            .contains("\"--apiserver=portside-apiserver\"")
    );

    assert_eq!(service["spec"]["sessionAffinity"], "ClientIP");

    let deployment = named(&objects, "Deployment", NAME);
    let pods = pod_template(deployment).unwrap();
    // By all of the labels that no other pod has replicas find each other, at the port of this name.
    let labels = deployment["spec"]["selector"]["matchLabels"].as_object();
    let args = pods["containers"][0]["args"].to_string();
    for (label, value) in labels.unwrap() {
        let arg = format!("--replica-label={label}={}", value.as_str().unwrap());
        assert!(args.contains(&arg), "{arg}");
    }
    assert_eq!(pods["containers"][0]["ports"][0]["name"], "https");
    let tls = json!({ "secretName": "portside-apiserver-tls" });
    assert_eq!(pods["volumes"][0]["secret"], tls);
    for kind in [
        "NetworkPolicy",
        "ServiceMonitor",
        "PodMonitor",
        "PodDisruptionBudget",
    ] {
        named(&objects, kind, NAME);
    }
    // By these the operator lets it through the network policies of classes.
    let labels = &named(&objects, "Deployment", NAME)["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], "portside");
    assert_eq!(labels["app.kubernetes.io/component"], "apiserver");
}

#[test]
fn the_api_server_of_workers_may_watch_what_it_watches() {
    for (kind, more) in [("ClusterRole", &[][..]), ("Role", NAMESPACED)] {
        let Some(objects) = objects("portside", &[API_SERVER, more].concat()) else {
            return;
        };
        let grants = grants(named(&objects, kind, "portside-apiserver"));
        for resource in ["serverlessworkerclasses", "pods"] {
            let granted = grants.iter().find(|(name, _)| name == resource);
            assert_eq!(granted.unwrap().1, ["get", "list", "watch"], "{resource}");
        }
        if kind == "Role" {
            // Its own namespace need not be one of those whose workers it shows.
            let role = named(&objects, kind, "portside-apiserver-replicas");
            assert_eq!(role["metadata"]["namespace"], "portside-system");
            let pods = ("pods".to_owned(), vec!["list".into(), "watch".into()]);
            assert_eq!(self::grants(role), [pods]);
        }
    }
}

/// As with Secrets: what is stored may be anybody's.
#[test]
fn whoever_may_only_view_workers_does_not_see_what_they_store() {
    let Some(objects) = objects("portside", API_SERVER) else {
        return;
    };
    let view = grants(named(&objects, "ClusterRole", "portside-workers-view"));
    let expected = [
        ("serverlessworkers", &["get", "list", "watch"][..]),
        ("serverlessworkers/log", &["get"]),
    ];
    let expected = expected.map(|(name, verbs)| {
        let verbs = verbs.iter().map(|&verb| verb.to_owned()).collect();
        (name.to_owned(), verbs)
    });
    assert_eq!(view, expected);
    let edit = grants(named(&objects, "ClusterRole", "portside-workers-edit"));
    for one in view {
        assert!(edit.contains(&one), "{one:?}");
    }
    for (resource, verb) in [
        ("serverlessworkers", "delete"),
        ("serverlessworkers/state", "get"),
        ("serverlessworkers/state", "update"),
        ("serverlessworkers/state", "delete"),
        ("serverlessworkers/sql", "create"),
        ("serverlessworkers/exec", "create"),
        ("serverlessworkers/inspect", "create"),
        ("serverlessworkers/wake", "create"),
        ("serverlessworkers/sleep", "create"),
        ("serverlessworkers/move", "create"),
    ] {
        let has = |(name, verbs): &(String, Vec<String>)| {
            name == resource && verbs.iter().any(|one| one == verb)
        };
        assert!(edit.iter().any(has), "{verb} {resource}");
    }
}

/// A hook that has no role fails, and with it the uninstall.
#[test]
fn without_roles_there_is_no_hook_that_needs_one() {
    let hooks = |create: bool| {
        let option = format!("rbac.create={create}");
        let objects = objects("portside", &["--set", &option])?;
        let annotation = |object: &Value| {
            let annotations = &object["metadata"]["annotations"];
            annotations["helm.sh/hook"].as_str().map(str::to_owned)
        };
        Some(objects.iter().filter_map(annotation).count())
    };
    let with = hooks(true);
    assert!(with.is_none_or(|hooks| hooks > 0));
    assert!(matches!(hooks(false), None | Some(0)));
}

/// Operators of two installations in one namespace, each for namespaces of its own, wait for each other otherwise.
#[test]
fn each_release_has_a_lease_of_its_own() {
    let Some(text) = rendered("portside", &["--set", "fullnameOverride=second"]) else {
        return;
    };
    assert!(text.contains("- --lease-name=second-operator\n"));
    assert!(text.contains("resourceNames: [second-operator]\n"));
}

/// Whoever may edit a namespace may not thereby run code at the gateway's hosts.
#[test]
fn classes_are_granted_only_where_that_is_asked_for() {
    let aggregates = |options: &[&str]| {
        let text = rendered("portside", options)?;
        Some(text.contains("rbac.authorization.k8s.io/aggregate-to-"))
    };
    let asked = aggregates(&["--set", "rbac.aggregate=true"]);
    assert!(matches!(asked, None | Some(true)));
    assert!(matches!(aggregates(&[]), None | Some(false)));
    assert!(matches!(aggregates(API_SERVER), None | Some(false)));
}

#[test]
fn watched_namespaces_take_no_cluster_roles() {
    let options = [NAMESPACED, &["--set", "rbac.clusterFinalizers=false"]].concat();
    let Some(objects) = objects("portside", &options) else {
        return;
    };
    let kinds: Vec<_> = objects.iter().map(|object| &object["kind"]).collect();
    assert!(!kinds.contains(&&json!("ClusterRole")));
    assert!(!kinds.contains(&&json!("ClusterRoleBinding")));
    let arguments = |component: &str| {
        let object = objects.iter().find(|object| {
            object["kind"] == "Deployment"
                && object["metadata"]["labels"]["app.kubernetes.io/component"] == component
        });
        object.unwrap()["spec"]["template"]["spec"]["containers"][0]["args"].to_string()
    };
    for component in ["operator", "gateway"] {
        assert!(arguments(component).contains("--watch-namespace=team-b"));
    }
}

/// A namespace that goes takes the Roles in it along.
#[test]
fn classes_can_be_let_go_from_outside_of_their_namespace() {
    let Some(objects) = objects("portside", NAMESPACED) else {
        return;
    };
    let of = |kind: &str| {
        let mut found = objects.iter().filter(|object| object["kind"] == kind);
        let one = found.next().unwrap();
        assert!(found.next().is_none());
        one
    };
    let rules = of("ClusterRole")["rules"].to_string();
    assert!(rules.contains("serverlessworkerclasses") && rules.contains("patch"));
    for other in ["create", "delete", "pods", "configmaps", "deployments"] {
        assert!(!rules.contains(other), "{other}");
    }
    let account = &of("ClusterRoleBinding")["subjects"][0]["name"];
    assert_eq!(account, "portside-operator");
}

#[test]
fn the_host_policy_is_the_one_looked_at() {
    let (Some(off), Some(text)) = (
        rendered("portside", &[]),
        rendered("portside", &[HOST_POLICY, NAMESPACED].concat()),
    ) else {
        return;
    };
    assert!(!off.contains("AdmissionPolicy"), "it is off by default");
    golden("policy.yaml", &text);
    let more = ["--set", "hostPolicy.ingresses=true"];
    let more = rendered("portside", &[HOST_POLICY, &more].concat());
    golden("policy-ingresses.yaml", &more.unwrap());
}

#[test]
fn whoever_collects_metrics_is_known_to_the_operator() {
    let peer = "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.team=watch";
    let (Some(all), Some(some)) = (
        objects("portside", FULL),
        objects("portside", &[FULL, &["--set", peer]].concat()),
    ) else {
        return;
    };
    let args = |objects: &[Value]| {
        let operator = named(objects, "Deployment", "portside-operator");
        pod_template(operator).unwrap()["containers"][0]["args"].to_string()
    };
    assert!(!args(&all).contains("--metrics-from"));
    let flag = r#"--metrics-from=[{\"namespaceSelector\":{\"matchLabels\":{\"team\":\"watch\"}}}]"#;
    assert!(args(&some).contains(flag), "{}", args(&some));
}

#[test]
fn more_namespaces_can_have_the_charts_database() {
    let peer = "networkPolicy.postgresFrom[0].namespaceSelector.matchLabels.team=c";
    let Some(objects) = objects("portside", &[FULL, &["--set", peer]].concat()) else {
        return;
    };
    let policy = named(&objects, "NetworkPolicy", "portside-postgres");
    let from = policy["spec"]["ingress"][0]["from"].as_array().unwrap();
    assert_eq!(from.len(), 2, "{policy}");
    assert_eq!(from[1]["namespaceSelector"]["matchLabels"]["team"], "c");
}

#[test]
fn every_pod_fits_the_restricted_standard() {
    let Some(objects) = objects("portside", FULL) else {
        return;
    };
    let pods: Vec<_> = objects.iter().filter_map(pod_template).collect();
    let all = "operator, gateway, API server, Postgres, clean-up";
    assert_eq!(pods.len(), 5, "{all}");
    for pod in pods {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{pod}");
        let seccomp = &pod["securityContext"]["seccompProfile"]["type"];
        assert_eq!(seccomp, "RuntimeDefault", "{pod}");
        assert_eq!(pod["enableServiceLinks"], false, "{pod}");
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{container}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{container}");
            assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }));
            assert!(container["resources"]["requests"].is_object());
        }
    }
}

#[test]
fn rendering_twice_is_the_same() {
    let Some(first) = rendered("portside", FULL) else {
        return;
    };
    assert_eq!(Some(first), rendered("portside", FULL));
}

#[test]
fn another_password_restarts_postgres_which_sets_it_unless_the_data_went_with_the_pod() {
    let render_with = |password: &str, more: &str| {
        let values = format!("postgres.enabled=true,postgres.password={password}{more}");
        objects("portside", &["--set", &values])
    };
    let render = |password| render_with(password, "");
    let mark = |objects: Vec<Value>| {
        let postgres = objects.into_iter().find(|object| {
            object["kind"] == "Deployment" && object["metadata"]["name"] == "portside-postgres"
        });
        let template = &postgres.unwrap()["spec"]["template"];
        template["metadata"]["annotations"]["checksum/password"].clone()
    };
    let (Some(one), Some(same), Some(other)) = (
        render("correct-horse"),
        render("correct-horse"),
        render("battery-staple"),
    ) else {
        return;
    };
    let one = mark(one);
    assert!(one.is_string());
    assert_eq!(mark(same), one);
    assert_ne!(mark(other), one);
    let in_memory = render_with("correct-horse", ",postgres.persistence.enabled=false");
    assert!(mark(in_memory.unwrap()).is_null());
}

#[test]
fn each_namespace_gets_the_database() {
    let Some(objects) = objects("portside", FULL) else {
        return;
    };
    let urls: Vec<_> = objects
        .iter()
        .filter(|object| object["metadata"]["name"] == "portside-database")
        .map(|object| {
            let namespace = object["metadata"]["namespace"].as_str().unwrap();
            (namespace, object["stringData"]["url"].as_str().unwrap())
        })
        .collect();
    let url =
        "postgres://portside:correct-horse@portside-postgres.portside-system.svc:5432/portside";
    assert_eq!(urls, [("team-a", url), ("team-b", url)]);
}

#[test]
fn wrong_values_are_refused() {
    for (option, complaint) in [
        ("postgres.enabled=true", "postgres.password is required"),
        ("postgres.password=p@ss/word:1", "/postgres/password"),
        ("replicas=3", "replicas"),
        ("gateway.image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.digest=latest", "digest"),
        ("hostPolicy.annotation=it's", "annotation"),
        ("apiserver.service.type=NodePort", "service"),
    ] {
        let Some(output) = template("portside", &["--set", option]) else {
            return;
        };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{option} was accepted");
        assert!(errors.contains(complaint), "{option}: {errors}");
    }
}

#[test]
fn a_digest_wins_over_a_tag() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let option = format!("image.digest={digest},image.tag=1.2.3,sidecar.image.tag=2.0.0");
    let Some(text) = rendered("portside", &["--set", &option]) else {
        return;
    };
    assert!(text.contains(&format!("image: portside/operator@{digest}\n")));
    assert!(text.contains("--sidecar-image=portside/sidecar:2.0.0\n"));
}
