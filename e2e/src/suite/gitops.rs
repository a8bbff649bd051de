//! Classes in a git repository: what docs/tasks/gitops.md tells, with Flux's controllers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portside_crds::sidecar::{Ownership, State};
use serde_json::{Value, json};

use super::deletion::rows;
use super::failures::answers_again;
use crate::apps;
use crate::argo::{Argo, Health};
use crate::class::{Class, condition, uid};
use crate::cluster::until;
use crate::flux::Flux;
use crate::load;
use crate::page;
use crate::test::Test;

/// What is tested here.
pub(super) const PAGE: &str = include_str!("../../../docs/tasks/gitops.md");
const CLASS: &str = "chat/class.yaml";
const KUSTOMIZATION: &str = "chat/kustomization.yaml";

/// The page's files, for the repository that is served here.
pub(super) fn files(test: &Test, flux: &Flux) -> BTreeMap<String, String> {
    let mut files = page::files(PAGE, test);
    for text in files.values_mut() {
        *text = text.replace("https://git.example.com/team-a/apps", &flux.url);
    }
    files
}

/// Writes the page's application, with this in its answers.
fn write_application(flux: &Flux, files: &BTreeMap<String, String>, version: &str) {
    for (name, text) in files.iter().filter(|(name, _)| name.starts_with("chat/")) {
        flux.write(name, text);
    }
    write_code(flux, version);
}

fn write_code(flux: &Flux, version: &str) {
    let code = apps::ledger_code(version);
    for (name, text) in code["inline"].as_object().unwrap() {
        flux.write(&format!("chat/{name}"), text.as_str().unwrap());
    }
}

/// Waits until a version answers.
async fn answers(class: &Class, version: &str) {
    let site = class.site();
    until(version, Duration::from_secs(60), async || {
        let reply = site.get("/probe").await;
        match reply.status {
            200 if reply.json()["version"] == version => Ok(()),
            status => Err(format!("{status} {}", reply.text())),
        }
    })
    .await;
}

/// The managers of what a class's spec has.
async fn managers_of_spec(class: &Class) -> Vec<String> {
    let get = ["get", "swc", &class.name, "--show-managed-fields"];
    let object = class.kubectl(&[&get[..], &["-o", "json"]].concat()).await;
    let object: Value = serde_json::from_str(&object).unwrap();
    let managed = object["metadata"]["managedFields"].as_array().unwrap();
    let of_spec = managed
        .iter()
        .filter(|it| !it["fieldsV1"]["f:spec"].is_null());
    let names = of_spec.map(|it| it["manager"].as_str().unwrap().to_owned());
    names.collect()
}

/// Apply, drift, new code, broken code, and both ways to suspend.
pub async fn flux_keeps_a_class_as_the_repository_has_it(test: Arc<Test>) {
    let Some(flux) = Flux::start(&test).await else {
        return;
    };
    let argo = Argo::new(&test);
    let files = files(&test, &flux);
    write_application(&flux, &files, "one");
    let revision = flux.commit().await;
    test.cluster.try_apply(&files["flux.yaml"]).await.unwrap();
    flux.ready("chat", &revision).await;
    let class = Class::new(&test, "chat");
    answers(&class, "one").await;
    load::add(&class.site(), "/kept", "one").await;
    argo.health(&class, Health::Healthy).await;
    assert_eq!(managers_of_spec(&class).await, ["kustomize-controller"]);

    put_back(&flux, &class).await;
    new_code(&flux, &class).await;
    broken_code(&test, &flux, &class, &argo).await;
    suspended(&flux, &class, &argo).await;
    assert_eq!(load::entries(&class.site(), "/kept").await, ["one"]);
    flux.end().await;
}

/// What kubectl has changed is put back, and what it has added is taken away; the number of replicas stays, as the repository leaves it out.
async fn put_back(flux: &Flux, class: &Class) {
    let greeting =
        |text: &str| json!({ "spec": { "env": [{ "name": "GREETING", "value": text }] } });
    class.patch(&greeting("somebody's")).await;
    let added = json!({ "spec": { "limits": { "idle": "30s" } } });
    class.patch(&added).await;
    class
        .kubectl(&["scale", "swc", &class.name, "--replicas=2"])
        .await;
    flux.reconciled("chat").await;
    let object = class.get().await;
    assert_eq!(object["spec"]["env"][0]["value"], "hello");
    assert_eq!(object["spec"]["limits"], Value::Null);
    assert_eq!(object["spec"]["scaling"]["replicas"], 2);
    class.all_serve(2).await;

    flux.suspend("chat", true).await;
    class.patch(&greeting("in an emergency")).await;
    class.current().await;
    flux.ask("kustomization/chat").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        class.get().await["spec"]["env"][0]["value"],
        "in an emergency"
    );
    flux.suspend("chat", false).await;
    flux.reconciled("chat").await;
    assert_eq!(class.get().await["spec"]["env"][0]["value"], "hello");
}

/// New code is a change of the class, so the Kustomization is ready when the new code serves, not before.
async fn new_code(flux: &Flux, class: &Class) {
    let before = class.digest().await;
    write_code(flux, "two");
    let revision = flux.commit().await;
    flux.ready("chat", &revision).await;
    assert_ne!(class.digest().await, before);
    answers(class, "two").await;
}

/// The Kustomization says which class fails, the class says why, and the code before goes on, in new pods as well.
async fn broken_code(test: &Test, flux: &Flux, class: &Class, argo: &Argo) {
    flux.write(
        "chat/server.js",
        "const table = {};\ntable.missing.field;\nexport default { fetch() {} };\n",
    );
    let revision = flux.commit().await;
    let refused = flux.refused("chat", &revision).await;
    let message = refused["message"].as_str().unwrap();
    let named = format!(
        "ServerlessWorkerClass/{}/chat status: 'Failed'",
        test.namespace
    );
    assert!(message.contains(&named), "{message}");
    let object = class.failed().await;
    let stalled = condition(&object, "Stalled")["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(stalled.contains("server.js:2:"), "{stalled}");
    let said = argo.health(class, Health::Degraded).await;
    assert!(said.is_none_or(|said| said == stalled), "{stalled}");
    answers(class, "two").await;

    // The code before is in neither the repository nor the class, and is not needed there.
    let serving = &class.pods().await[0];
    class
        .kubectl(&["delete", "pod", crate::class::name(serving), "--wait=false"])
        .await;
    let old = uid(serving);
    until("two pods without it", Duration::from_secs(90), async || {
        let states = class.states().await;
        let serve =
            |(pod, said): &&(Value, Ownership)| uid(pod) != old && said.state == State::Serving;
        match states.iter().filter(serve).count() {
            2 => Ok(()),
            serving => Err(format!("{serving} of {} serve", states.len())),
        }
    })
    .await;
    answers_again(class, "kept").await;
    answers(class, "two").await;

    write_code(flux, "three");
    let revision = flux.commit().await;
    flux.ready("chat", &revision).await;
    answers(class, "three").await;
}

/// A suspended class is what the repository asks for, so the Kustomization is ready.
async fn suspended(flux: &Flux, class: &Class, argo: &Argo) {
    flux.replace(CLASS, "\nspec:\n", "\nspec:\n  suspend: true\n");
    let revision = flux.commit().await;
    flux.ready("chat", &revision).await;
    argo.health(class, Health::Suspended).await;
    assert_eq!(class.site().get("/kept").await.status, 503);
    flux.replace(CLASS, "  suspend: true\n", "");
    let revision = flux.commit().await;
    flux.ready("chat", &revision).await;
    answers(class, "three").await;
    argo.health(class, Health::Healthy).await;
}

/// A class that leaves the repository is deleted, and its state as its policy says; also where its database's Secret goes with it.
pub async fn flux_prunes_a_class_and_its_state_as_it_says(test: Arc<Test>) {
    let Some(flux) = Flux::start(&test).await else {
        return;
    };
    let files = files(&test, &flux);
    write_application(&flux, &files, "one");
    let kustomization = files[KUSTOMIZATION].clone();
    let empty = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
    let revision = flux.commit().await;
    test.cluster.try_apply(&files["flux.yaml"]).await.unwrap();
    flux.ready("chat", &revision).await;
    let class = Class::new(&test, "chat");
    load::add(&class.site(), "/kept", "one").await;

    flux.write(KUSTOMIZATION, empty);
    let revision = flux.commit().await;
    flux.ready("chat", &revision).await;
    gone(&test).await;
    assert_eq!(rows(&test, "chat").await, 1);

    // It comes back, with its state, and is to take it along the next time.
    flux.write(KUSTOMIZATION, &kustomization);
    flux.replace(
        CLASS,
        "\nspec:\n",
        "\nspec:\n  storage: { deletionPolicy: Delete }\n",
    );
    let revision = flux.commit().await;
    flux.ready("chat", &revision).await;
    assert_eq!(load::entries(&class.site(), "/kept").await, ["one"]);
    flux.write(KUSTOMIZATION, empty);
    let revision = flux.commit().await;
    flux.ready("chat", &revision).await;
    gone(&test).await;
    assert_eq!(rows(&test, "chat").await, 0);
    flux.end().await;
}

pub(super) async fn gone(test: &Test) {
    until(
        "the class to be gone",
        Duration::from_secs(120),
        async || {
            let found = test.cluster.get(&test.namespace, "swc/chat").await;
            found.map_or(Ok(()), |object| {
                Err(object["status"]["conditions"].to_string())
            })
        },
    )
    .await;
}

/// `${…}` in JavaScript is Flux's where a Kustomization substitutes, unless the ConfigMap says otherwise or it is written `$${…}`.
pub async fn flux_substitutes_where_it_is_not_told_otherwise(test: Arc<Test>) {
    let Some(flux) = Flux::start(&test).await else {
        return;
    };
    let files = files(&test, &flux);
    let code = "export const greet = (name) => `Hello ${name}, ${domain}`;\n";
    let escaped = code.replace("${name", "$${name");
    for (name, text) in [("as-it-is", code), ("told", code), ("escaped", &escaped)] {
        flux.write(&format!("chat/{name}.js"), text);
    }
    flux.write("chat/host.yaml", HOST);
    let as_it_is = "- { name: as-it-is, files: [code.js=as-it-is.js] }\n";
    flux.write(KUSTOMIZATION, &format!("{CONFIG_MAPS}{as_it_is}"));
    let revision = flux.commit().await;
    let prune = "  prune: true\n";
    let substitute = format!("{prune}  postBuild: {{ substitute: {{ domain: example.com }} }}\n");
    let followed = files["flux.yaml"].replace(prune, &substitute);
    assert_ne!(followed, files["flux.yaml"]);
    test.cluster.try_apply(&followed).await.unwrap();
    let refused = flux.refused("chat", &revision).await;
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("as-it-is") && message.contains(r#""name""#),
        "{message}"
    );

    flux.write(KUSTOMIZATION, CONFIG_MAPS);
    let revision = flux.commit().await;
    flux.ready("chat", &revision).await;
    let data = async |name: &str| {
        let name = format!("configmap/{name}");
        let map = test.cluster.get(&test.namespace, &name).await.unwrap();
        map["data"].clone()
    };
    assert_eq!(data("host").await, json!({ "host": "chat.example.com" }));
    assert_eq!(data("told").await, json!({ "code.js": code }));
    let half = code.replace("${domain}", "example.com");
    assert_eq!(data("escaped").await, json!({ "code.js": half }));
    flux.end().await;
}

const HOST: &str = "
apiVersion: v1
kind: ConfigMap
metadata: { name: host }
data: { host: 'chat.${domain}' }
";

const CONFIG_MAPS: &str = "
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [host.yaml]
generatorOptions: { disableNameSuffixHash: true }
configMapGenerator:
- { name: escaped, files: [code.js=escaped.js] }
- name: told
  files: [code.js=told.js]
  options: { annotations: { kustomize.toolkit.fluxcd.io/substitute: disabled } }
";
