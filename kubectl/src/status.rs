//! `kubectl portside status`

use std::process::ExitCode;

use anyhow::anyhow;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use portside_crds::conditions::get;
use portside_crds::{ConditionType, ServerlessWorkerClass};
use portside_verbs::{Output, block_on, printable};

use crate::cluster::Cluster;

/// Arguments of `kubectl portside status`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kubectl portside status
  kubectl portside status chat-room -o yaml")]
pub struct Args {
    #[command(flatten)]
    cluster: Cluster,
    /// Which class; else all of the namespace
    name: Option<String>,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Args {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let (client, namespace) = self.cluster.connect().await?;
            let api: Api<ServerlessWorkerClass> = Api::namespaced(client, &namespace);
            let Some(name) = &self.name else {
                let classes = api.list(&ListParams::default()).await?.items;
                if classes.is_empty() {
                    eprintln!("there are no classes in the namespace {namespace}");
                }
                return self.output.write(&classes, || {
                    let rows = classes.iter().map(row);
                    [header()].into_iter().chain(rows).collect()
                });
            };
            let class = api.get_opt(name).await?;
            let class = class.ok_or_else(|| {
                anyhow!("there is no class {name} in the namespace {namespace}: kubectl get swc shows those there are")
            })?;
            self.output.write(&class, || details(&class))
        })
    }
}

fn header() -> Vec<String> {
    ["CLASS", "READY", "REASON", "PODS", "AWAKE", "URL"]
        .map(String::from)
        .to_vec()
}

fn row(class: &ServerlessWorkerClass) -> Vec<String> {
    let status = class.status.clone().unwrap_or_default();
    let ready = get(&status.conditions, ConditionType::Ready);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        class.name_any(),
        or_none(ready.map(|it| it.status.clone())),
        or_none(ready.map(|it| printable(&it.reason))),
        format!("{}/{}", status.ready_replicas, class.spec.scaling.replicas),
        or_none(status.workers.map(|it| it.awake.to_string())),
        or_none(status.url.as_deref().map(printable)),
    ]
}

/// The class as a table, and below it each condition with what it says.
fn details(class: &ServerlessWorkerClass) -> Vec<Vec<String>> {
    let mut rows = vec![header(), row(class), vec![]];
    rows.push(
        ["CONDITION", "STATUS", "REASON", "MESSAGE"]
            .map(String::from)
            .to_vec(),
    );
    let status = class.status.clone().unwrap_or_default();
    rows.extend(status.conditions.iter().map(|it| {
        let texts = [&it.type_, &it.status, &it.reason, &it.message];
        texts.map(|text| printable(text)).to_vec()
    }));
    rows
}

/// What a condition says, with its reason.
pub fn why(class: &ServerlessWorkerClass, kind: ConditionType) -> String {
    let status = class.status.as_ref();
    match status.and_then(|status| get(&status.conditions, kind)) {
        Some(one) => printable(&format!("{}: {}", one.reason, one.message)),
        None => "the operator has not looked at it: does it run?".to_owned(),
    }
}
