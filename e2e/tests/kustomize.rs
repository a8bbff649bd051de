//! kustomize and classes: `charts/portside/kustomizeconfig.yaml`. Needs `kubectl`, which has kustomize in it; without one the test that runs
//! it says so and passes.
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and helpers outside of #[test] are tests too"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

/// What names a ConfigMap or a Secret of the class's namespace, by what it is in.
fn names_another(parent: &str, name: &str) -> bool {
    const PARENTS: [&str; 5] = [
        "configMap",
        "configMapKeyRef",
        "imagePullSecrets",
        "pullSecret",
        "secretKeyRef",
    ];
    name == "secretName" || (name == "name" && PARENTS.contains(&parent))
}

/// The paths of all that names another object, as kustomize writes them.
fn references(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(items) = schema.get("items") {
        references(items, path, found);
    }
    let parent = path.rsplit('/').next().unwrap();
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        if names_another(parent, name) {
            found.insert(path.clone());
        }
        references(inner, &path, found);
    }
}

/// What the definition does not look into: containers and volumes are Kubernetes' own.
fn is_kubernetes_own(path: &str) -> bool {
    ["extraContainers", "initContainers", "volumes"]
        .iter()
        .any(|field| path.starts_with(&format!("spec/pod/{field}/")))
}

#[test]
fn the_configuration_has_every_reference_of_a_class() {
    let definition = yaml("crds/generated/serverlessworkerclasses.yaml");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut expected = BTreeSet::new();
    references(&schema["properties"]["spec"], "spec", &mut expected);
    assert!(
        expected.contains("spec/code/configMap/name"),
        "{expected:?}"
    );

    let configuration = yaml("charts/portside/kustomizeconfig.yaml");
    let kinds = configuration["nameReference"].as_array().unwrap();
    let fields = kinds
        .iter()
        .flat_map(|kind| kind["fieldSpecs"].as_array().unwrap());
    let known: BTreeSet<_> = fields
        .map(|field| field["path"].as_str().unwrap().to_owned())
        .filter(|path| !is_kubernetes_own(path))
        .collect();
    assert_eq!(known, expected);
}

const CLASS: &str = "
apiVersion: portside.dev/v1alpha1
kind: ServerlessWorkerClass
metadata: { name: chat }
spec:
  code: { configMap: { name: made }, oci: { pullSecret: { name: secret } } }
  env:
    - { name: PLAIN, value: made }
    - { name: KEY, valueFrom: { configMapKeyRef: { name: made, key: key } } }
    - { name: SECRET, valueFrom: { secretKeyRef: { name: secret, key: key } } }
  ingress: { tls: { secretName: secret } }
  storage: { database: { secretKeyRef: { name: secret }, ca: { configMapKeyRef: { name: made } } } }
  pod:
    imagePullSecrets: [{ name: secret }]
    volumes:
      - { name: made, configMap: { name: made } }
      - { name: secret, secret: { secretName: secret } }
      - { name: both, projected: { sources: [{ configMap: { name: made } }, { secret: { name: secret } }] } }
    extraContainers:
      - name: beside
        envFrom: [{ configMapRef: { name: made } }, { secretRef: { name: secret } }]
        env: [{ name: KEY, valueFrom: { secretKeyRef: { name: secret, key: key } } }]
    initContainers:
      - { name: before, env: [{ name: KEY, valueFrom: { configMapKeyRef: { name: made, key: key } } }] }
";

const GENERATED: &str = "
resources: [class.yaml]
configMapGenerator: [{ name: made, literals: [key=value] }]
secretGenerator: [{ name: secret, literals: [key=value] }]
";

/// The class as kustomize makes it, and the names that it has given to the ConfigMap and the Secret.
fn built(more: &str) -> Option<(String, [String; 2])> {
    let folder = tempfile::tempdir().unwrap();
    let configuration =
        fs::read_to_string(root().join("charts/portside/kustomizeconfig.yaml")).unwrap();
    for (name, text) in [
        ("class.yaml", CLASS),
        ("portside.yaml", &configuration),
        ("kustomization.yaml", &format!("{GENERATED}{more}")),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let kubectl = env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
    let Ok(output) = Command::new(kubectl)
        .arg("kustomize")
        .arg(folder.path())
        .output()
    else {
        eprintln!("skipped: kubectl does not run; install it, or set KUBECTL");
        return None;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut documents: Vec<Value> = text
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect();
    let class = documents.pop().unwrap();
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    Some((
        class["spec"].to_string(),
        [name(&documents[0]), name(&documents[1])],
    ))
}

#[test]
fn a_class_follows_generated_names_with_the_configuration_only() {
    let Some((spec, names)) = built("configurations: [portside.yaml]") else {
        return;
    };
    for (name, times) in names.iter().zip([7, 9]) {
        assert_eq!(spec.matches(name.as_str()).count(), times, "{name}: {spec}");
    }
    assert!(spec.contains(r#""name":"PLAIN","value":"made""#), "{spec}");

    let (spec, names) = built("").unwrap();
    assert!(
        names.iter().all(|name| !spec.contains(name.as_str())),
        "{names:?}: {spec}"
    );
}
