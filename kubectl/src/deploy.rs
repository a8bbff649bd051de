//! `kubectl portside deploy`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use portside_bundle::cluster::{self, ManifestsError};
use portside_crds::conditions::holds;
use portside_crds::{ConditionType, ServerlessWorkerClass};
use portside_verbs::source::SourceArgs;
use portside_verbs::{block_on, printable, problems};
use serde_json::Value as Json;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::status::why;

/// Who applies: as kubectl does, so that either goes on with what the other has applied.
const FIELD_MANAGER: &str = "kubectl";

/// Arguments of `kubectl portside deploy`.
#[derive(clap::Args)]
#[command(after_help = "\
The folder needs a class.yaml, which says the name. What is applied is what portside bundle --manifests prints.

Examples:
  kubectl portside deploy examples/chat-room
  kubectl portside deploy . --namespace team-a --timeout 5m")]
pub struct Args {
    #[command(flatten)]
    cluster: Cluster,
    /// The application's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// How long to wait until it serves: 90s, 5m; 0s waits for nothing
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    timeout: Duration,
    /// Take over what others have set of the class by server-side apply
    #[arg(long)]
    force_conflicts: bool,
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let options = self.source.clone().into();
        let reading = tokio::runtime::Runtime::new()?;
        let bundled = reading.block_on(problems::bundled(&self.dir, &options));
        let Some(bundled) = bundled else {
            return Ok(ExitCode::FAILURE);
        };
        let manifests = match cluster::manifests(&bundled) {
            Err(ManifestsError::Unfit(found)) => {
                problems::print(&found);
                return Ok(ExitCode::FAILURE);
            }
            manifests => manifests?,
        };
        block_on(async {
            let (client, namespace) = self.cluster.connect().await?;
            let objects = documents(&manifests)?;
            for object in &objects {
                self.cluster
                    .must_mean(object["metadata"]["namespace"].as_str())?;
            }
            let (mut class, mut is_other_code) = (None, false);
            let mut replaced = None;
            for object in objects {
                let (before, applied) = self.apply(&client, &namespace, &object).await?;
                if object["kind"] == "ServerlessWorkerClass" {
                    replaced = before.and_then(|class| digest(&class.data));
                    class = Some(applied);
                } else {
                    is_other_code |= before.is_none_or(|before| before.data != applied.data);
                }
            }
            let class = class.ok_or_else(|| anyhow!("the folder has no class"))?;
            let wanted = Wanted {
                generation: class.metadata.generation,
                not: replaced.filter(|_| is_other_code),
            };
            self.wait(client, &class, wanted).await
        })
    }

    /// The object as it was, if it was there, and as it is now.
    async fn apply(
        &self,
        client: &Client,
        namespace: &str,
        object: &Json,
    ) -> anyhow::Result<(Option<DynamicObject>, DynamicObject)> {
        let (api, name, kind) = place(client, namespace, object);
        let before = api.get_opt(&name).await;
        let before = before.context("the cluster does not answer")?;
        let mut params = PatchParams::apply(FIELD_MANAGER);
        params.force = self.force_conflicts;
        let applied = api.patch(&name, &params, &Patch::Apply(object)).await;
        let applied = applied.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 409 => anyhow!(
                "{}: --force-conflicts takes it over",
                printable(&status.message)
            ),
            kube::Error::Api(status) => anyhow!(printable(&status.message)),
            other => anyhow!(other).context("the cluster does not answer"),
        })?;
        eprintln!("{}/{name} applied", kind.to_lowercase());
        Ok((before, applied))
    }

    /// Until the class serves what was applied, or cannot.
    async fn wait(
        &self,
        client: Client,
        class: &DynamicObject,
        wanted: Wanted,
    ) -> anyhow::Result<()> {
        if self.timeout.is_zero() {
            return Ok(());
        }
        let name = class.metadata.name.clone().unwrap_or_default();
        let namespace = class.metadata.namespace.clone().unwrap_or_default();
        let api: Api<ServerlessWorkerClass> = Api::namespaced(client, &namespace);
        let awaited = wanted.clone();
        let is_decided = move |class: Option<&ServerlessWorkerClass>| {
            class.is_none_or(|class| outcome(class, &awaited).is_some())
        };
        let decided = timeout(
            self.timeout,
            await_condition(api.clone(), &name, is_decided),
        )
        .await;
        let class = match decided {
            Ok(class) => class.context("the cluster does not answer any more")?,
            Err(_) => api.get_opt(&name).await?,
        };
        let class = class.ok_or_else(|| anyhow!("the class {name} was deleted"))?;
        match outcome(&class, &wanted) {
            Some(Ok(())) => {
                let url = class.status.as_ref().and_then(|it| it.url.as_deref());
                writeln!(
                    std::io::stdout(),
                    "{}",
                    url.unwrap_or("it serves, and has no route")
                )?;
                Ok(())
            }
            Some(Err(stalled)) => bail!("it cannot serve: {stalled}"),
            None => bail!(
                "it does not serve yet: {}; look with kubectl portside status {name} --namespace {namespace}",
                why(&class, ConditionType::Ready)
            ),
        }
    }
}

/// What the operator must have seen.
#[derive(Debug, Clone, Default)]
struct Wanted {
    /// This generation of the class, or a later one.
    generation: Option<i64>,
    /// Other code than that of this digest: what is in a ConfigMap can change without the class.
    not: Option<String>,
}

/// Where an object is to be, its name and its kind.
fn place(client: &Client, namespace: &str, object: &Json) -> (Api<DynamicObject>, String, String) {
    let text = |field: &Json| field.as_str().unwrap_or_default().to_owned();
    let (group, version) = match text(&object["apiVersion"]).split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), text(&object["apiVersion"])),
    };
    let kind = text(&object["kind"]);
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(&group, &version, &kind));
    let named = object["metadata"]["namespace"].as_str();
    let namespace = named.unwrap_or(namespace);
    let api = Api::namespaced_with(client.clone(), namespace, &resource);
    (api, text(&object["metadata"]["name"]), kind)
}

/// The digest of the code that a class asks for, as far as the operator has seen.
fn digest(class: &Json) -> Option<String> {
    class["status"]["code"]["digest"]
        .as_str()
        .map(str::to_owned)
}

/// Whether the class serves what is wanted, or why it cannot; nothing if that is not decided yet.
fn outcome(class: &ServerlessWorkerClass, wanted: &Wanted) -> Option<Result<(), String>> {
    let status = class.status.as_ref()?;
    let digest = status.code.as_ref().and_then(|code| code.digest.as_ref());
    let is_old = wanted.not.is_some() && digest == wanted.not.as_ref();
    if status.observed_generation < wanted.generation || is_old {
        return None;
    }
    if holds(&status.conditions, ConditionType::Ready) {
        return Some(Ok(()));
    }
    let is_stalled = holds(&status.conditions, ConditionType::Stalled);
    is_stalled.then(|| Err(why(class, ConditionType::Stalled)))
}

/// The documents of a YAML text that `portside bundle` writes.
fn documents(text: &str) -> anyhow::Result<Vec<Json>> {
    let parts = text.split("\n---\n");
    let read = parts.map(|part| serde_saphyr::from_str(part).context("a manifest is no YAML"));
    read.collect()
}

/// A time as kubectl has it: a number and s, m or h.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time, as 90s or 5m are");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_class_is_decided_once_its_own_generation_is() {
        let class = |conditions: Json| -> ServerlessWorkerClass {
            let mut class = json!({
                "apiVersion": "portside.dev/v1alpha1",
                "kind": "ServerlessWorkerClass",
                "metadata": {"name": "chat", "generation": 2},
                "spec": {"code": {"inline": {"server.js": "export default {}"}}},
                "status": {"observedGeneration": 2, "conditions": conditions},
            });
            class["status"]["conditions"] = conditions_at(&class["status"]["conditions"]);
            serde_json::from_value(class).unwrap()
        };
        let of = |generation| Wanted {
            generation: Some(generation),
            not: None,
        };
        let mut ready = class(json!([["Ready", "True", "Succeeded", ""]]));
        assert_eq!(outcome(&ready, &of(2)), Some(Ok(())));
        assert_eq!(outcome(&ready, &of(3)), None);
        // The same generation, before the operator has seen the code that has changed.
        let other = Wanted {
            not: Some("old".to_owned()),
            ..of(2)
        };
        let mut has = |digest: &str| {
            let code = json!({"digest": digest});
            ready.status.as_mut().unwrap().code = serde_json::from_value(code).unwrap();
            outcome(&ready, &other)
        };
        assert_eq!(has("old"), None);
        assert_eq!(has("new"), Some(Ok(())));
        let stalled = class(json!([
            ["Ready", "False", "CodeFailed", "it threw"],
            ["Stalled", "True", "CodeFailed", "it threw"]
        ]));
        assert_eq!(
            outcome(&stalled, &of(2)),
            Some(Err("CodeFailed: it threw".to_owned()))
        );
        let on_its_way = class(json!([["Ready", "Unknown", "Progressing", ""]]));
        assert_eq!(outcome(&on_its_way, &of(2)), None);
    }

    fn conditions_at(short: &Json) -> Json {
        let all = short.as_array().unwrap().iter();
        let all = all.map(|it| {
            json!({
                "type": it[0], "status": it[1], "reason": it[2], "message": it[3],
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        });
        all.collect()
    }

    #[test]
    fn times_are_read_as_kubectl_has_them() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "m", "-1s", "1.5m", "5é"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn manifests_are_read_one_by_one() {
        let read = documents("kind: A\ndata: \"x\"\n---\nkind: B\n").unwrap();
        assert_eq!(
            read,
            [json!({"kind": "A", "data": "x"}), json!({"kind": "B"})]
        );
    }
}
