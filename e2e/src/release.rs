//! The charts as they are installed for the tests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::cluster::{Cluster, SYSTEM, until};
use crate::settings::Settings;

/// The password of the release's Postgres.
const PASSWORD: &str = "for-tests-only";

/// The database that classes have unless they ask for another.
const DATABASE: &str = "portside";

/// The namespace that gets its database Secret from the chart; all others are given it by the tests.
pub const SERVED: &str = "portside-e2e-served";

/// The URL of the release's Postgres.
pub fn database_url() -> String {
    database_at(DATABASE)
}

/// The URL of another database there.
pub fn database_at(name: &str) -> String {
    format!("postgres://portside:{PASSWORD}@portside-postgres.{SYSTEM}.svc:5432/{name}")
}

/// Runs a statement in the release's Postgres, as its superuser, and gives what it says.
pub async fn sql(cluster: &Cluster, statement: &str) -> String {
    sql_in(cluster, DATABASE, statement).await
}

/// The same in another database.
pub async fn sql_in(cluster: &Cluster, database: &str, statement: &str) -> String {
    let program = ["exec", "deployment/portside-postgres", "--", "sh", "-c"];
    let psql = format!(
        "PGPASSWORD=$(cat /etc/portside/password) psql -h 127.0.0.1 -U portside -d {database} -At -c \"{statement}\""
    );
    let said = cluster
        .kubectl(&[&["-n", SYSTEM], &program[..], &[&psql]].concat())
        .await;
    said.trim().to_owned()
}

/// A label of namespaces that the tests have made: what each is for.
const PURPOSE: &str = "portside-e2e";

/// [`PURPOSE`] of namespaces from which metrics may be collected.
pub const COLLECTOR: &str = "collector";

/// A peer in the chart's `networkPolicy`: the namespaces that are for something.
fn peer(list: &str, purpose: &str) -> String {
    format!("networkPolicy.{list}[0].namespaceSelector.matchLabels.{PURPOSE}={purpose}")
}

/// Both charts, installed by helm.
#[derive(Debug, Clone)]
pub struct Release<'a> {
    cluster: &'a Cluster,
    /// The folder of the charts.
    charts: PathBuf,
    /// Whether it has a Postgres.
    has_postgres: bool,
}

impl<'a> Release<'a> {
    /// Nothing is installed yet.
    pub fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            charts: charts(),
            has_postgres: true,
        }
    }

    /// The same of the charts in another folder, of whatever version, and with a database of somebody else's.
    pub fn without_postgres(cluster: &'a Cluster, charts: PathBuf) -> Self {
        Self {
            cluster,
            charts,
            has_postgres: false,
        }
    }

    /// Installs both charts, in namespaces that admit only restricted pods.
    pub async fn install(&self) {
        // What an earlier run has kept runs other programs under the same names.
        self.uninstall("portside").await;
        for namespace in [SYSTEM, SERVED] {
            // What an earlier run leaves may still be going.
            let gone = format!("the end of the old {namespace}");
            until(&gone, Duration::from_secs(180), async || {
                let found = self
                    .cluster
                    .get("default", &format!("namespace/{namespace}"))
                    .await;
                match found {
                    Some(found) if found["status"]["phase"] == "Terminating" => {
                        Err("terminating".to_owned())
                    }
                    _ => Ok(()),
                }
            })
            .await;
            self.cluster.apply(&namespace_object(namespace)).await;
        }
        self.crds().await;
        self.upgrade(&self.cluster.settings.tag).await;
    }

    /// Installs, or upgrades to, the images of a tag, and waits until all of it runs.
    pub async fn upgrade(&self, tag: &str) {
        self.upgrade_with(tag, &[]).await;
    }

    /// The same with other values as well, as `--set` takes them.
    pub async fn upgrade_with(&self, tag: &str, more: &[String]) {
        let settings = &self.cluster.settings;
        let mut values = vec![
            "networkPolicy.enabled=true,logLevel=info".to_owned(),
            peer("metricsFrom", COLLECTOR),
        ];
        if self.has_postgres {
            values.extend(postgres_values(settings));
            values.push(format!("postgres.namespaces={{{SERVED}}}"));
            // The namespaces of tests come and go.
            values.push(peer("postgresFrom", "test"));
        }
        let mut images = vec![
            ("image", "operator"),
            ("gateway.image", "gateway"),
            ("sidecar.image", "sidecar"),
        ];
        // Version 0.1.0 has none.
        if self.charts.join("portside/templates/apiserver").exists() {
            values.push("apiserver.enabled=true".to_owned());
            images.push(("apiserver.image", "apiserver"));
        }
        values.extend(image_values(settings, tag, &images));
        values.extend_from_slice(more);
        let mut options = vec!["--wait".to_owned(), "--timeout=180s".to_owned()];
        for value in values {
            options.extend(["--set".to_owned(), value]);
        }
        if let Some(file) = &settings.values {
            options.extend(["--values".to_owned(), file.display().to_string()]);
        }
        self.helm_install("portside", &options).await;
    }

    /// Installs the definitions.
    pub async fn crds(&self) {
        // Somebody may have applied the definition by hand before.
        let options = ["--take-ownership".to_owned()];
        self.helm_install("portside-crds", &options).await;
        let name = "crd/serverlessworkerclasses.portside.dev";
        self.cluster.established(&[name]).await;
    }

    /// Uninstalls what is installed and waits until all of it is gone.
    pub async fn remove(&self) {
        for name in ["portside", "portside-crds"] {
            self.uninstall(name).await;
        }
        let definition = "customresourcedefinitions/serverlessworkerclasses.portside.dev";
        let delete = ["delete", "--ignore-not-found", "--timeout=120s"];
        for what in [
            definition,
            &format!("namespace/{SERVED}"),
            &format!("namespace/{SYSTEM}"),
        ] {
            self.cluster.kubectl(&[&delete[..], &[what]].concat()).await;
        }
    }

    /// Uninstalls a chart, if it is installed.
    pub async fn uninstall(&self, name: &str) {
        let args = [
            "-n",
            SYSTEM,
            "uninstall",
            name,
            "--ignore-not-found",
            "--wait",
            "--timeout=180s",
        ];
        let outcome = self.cluster.try_helm(&args).await;
        outcome.unwrap_or_else(|problem| panic!("helm uninstall {name}: {problem}"));
    }

    async fn helm_install(&self, name: &str, options: &[String]) {
        let chart = self.charts.join(name);
        let chart = chart.to_str().unwrap();
        let mut args = vec!["-n", SYSTEM, "upgrade", "--install", name, chart];
        args.extend(options.iter().map(String::as_str));
        if let Err(problem) = self.cluster.try_helm(&args).await {
            let logs = self.cluster.settings.logs.join(SYSTEM);
            self.cluster.explain(SYSTEM, &logs).await;
            panic!("helm {}: {problem}", args.join(" "));
        }
    }
}

/// The charts of the present version.
pub fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts")
}

/// Which images these are, by their keys in the chart's values and their names.
pub fn image_values(settings: &Settings, tag: &str, images: &[(&str, &str)]) -> Vec<String> {
    let (repository, pull_policy) = (&settings.repository, &settings.pull_policy);
    let value = |(key, name): &(&str, &str)| {
        format!(
            "{key}.repository={repository}/{name},{key}.tag={tag},{key}.pullPolicy={pull_policy}"
        )
    };
    images.iter().map(value).collect()
}

fn postgres_values(settings: &Settings) -> Vec<String> {
    let mut values = vec![
        "postgres.enabled=true,postgres.persistence.enabled=false".to_owned(),
        format!("postgres.password={PASSWORD}"),
    ];
    // Postgres stays as it is when the rest is upgraded.
    let image = [("postgres.image", "postgres")];
    values.extend(image_values(settings, &settings.tag, &image));
    values
}

/// Applies what one of the present chart's templates makes of these values in a namespace, of which no release knows.
pub async fn apply_template(cluster: &Cluster, template: &str, namespace: &str, values: &[String]) {
    let chart = charts().join("portside");
    let only = format!("--show-only=templates/{template}");
    let mut args = vec!["template", "portside", chart.to_str().unwrap(), &only];
    // Without a cluster to ask it takes some old version.
    args.extend(["--namespace", namespace, "--kube-version", "1.33"]);
    for value in values {
        args.extend(["--set", value]);
    }
    let rendered = cluster.try_helm(&args).await;
    let manifest = rendered.unwrap_or_else(|problem| panic!("helm template: {problem}"));
    let applied = cluster.try_apply(&manifest).await;
    applied.unwrap_or_else(|problem| panic!("{problem}"));
}

/// A Postgres like the chart's in a namespace, for its classes.
pub async fn postgres_in(cluster: &Cluster, namespace: &str) {
    let mut values = postgres_values(&cluster.settings);
    values.push(format!("postgres.namespaces={{{namespace}}}"));
    apply_template(cluster, "postgres/postgres.yaml", namespace, &values).await;
    cluster.rolled_out(namespace, "portside-postgres").await;
}

/// A namespace that admits only pods which fit the restricted standard.
pub fn namespace_object(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": name, "labels": {
            PURPOSE: "test",
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        } },
    })
}
