//! Classes whose database has standbys: what docs/tasks/postgres.md tells of CloudNativePG.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::{Cluster, until};
use crate::load::Load;
use crate::node::Process;
use crate::page;
use crate::test::Test;

const PAGE: &str = include_str!("../../../docs/tasks/postgres.md");
/// Its namespace, and its Deployment there.
const OPERATOR: [&str; 2] = ["cnpg-system", "cnpg-controller-manager"];
/// The page's database.
const DATABASE: &str = "clusters.postgresql.cnpg.io/database";
/// For an image to become a server that follows the primary.
const STARTED: Duration = Duration::from_secs(300);
/// How many volumes there are: one for each server of the page's, and one for the server that comes for a lost one.
const VOLUMES: usize = 4;

/// Another server becomes the primary, then the primary is lost with its volume: classes go on by themselves, with all they confirmed.
pub async fn a_switchover_and_a_lost_primary_lose_nothing(test: Arc<Test>) {
    let cluster = &test.cluster;
    let Some(programs) = &cluster.settings.third_party else {
        eprintln!("skipped: CloudNativePG is not built; see scripts/third-party");
        return;
    };
    let operator = operator(cluster, programs).await;
    let _folder = volumes(&test).await;
    let files = page::files(PAGE, &test);
    let database = Database::new(&test, &files["database.yaml"]).await;
    database.healthy().await;

    let class = page::chat(&test, &files, "1").await;
    class.all_serve(2).await;
    let load = Load::start(&class.site(), 4);
    load.goes_on(Duration::from_secs(30)).await;

    let switched = Instant::now();
    database.switch_over().await;
    load.goes_on(Duration::from_secs(120)).await;
    let took = switched.elapsed();
    eprintln!("with another primary, all were answered again after {took:?}");
    database.healthy().await;
    let second = database.primary().await;

    let lost = Instant::now();
    database.lose(&second).await;
    database.primary_other_than(&second).await;
    load.goes_on(Duration::from_secs(120)).await;
    let took = lost.elapsed();
    eprintln!("without the primary, all were answered again after {took:?}");
    database.healthy().await;
    load.goes_on(Duration::from_secs(60)).await;
    let outcome = load.finish().await;
    // Nobody knows what became of the writes under way. What comes then waits for another primary, some seconds.
    outcome.fails_at_most(16, "two primaries gone, four clients");
    assert!(outcome.confirmed > 100, "{outcome:?}");
    for pod in class.pods().await {
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    }

    class.delete().await;
    database.delete().await;
    forget_volumes(&test).await;
    cluster.kubectl(&["delete", "-f", &operator]).await;
}

/// Installs the operator with its own manifest, which is returned, and the image that was built.
async fn operator(cluster: &Cluster, programs: &Path) -> String {
    let settings = &cluster.settings;
    let image = format!("{}/cloudnative-pg:{}", settings.repository, settings.tag);
    let manifest = programs.join("cloudnative-pg.yaml");
    let text = fs::read_to_string(&manifest)
        .unwrap()
        .replace("ghcr.io/cloudnative-pg/cloudnative-pg:1.28.0", &image)
        .replace(
            "imagePullPolicy: Always",
            &format!("imagePullPolicy: {}", settings.pull_policy),
        )
        // Where every processor is busy it would be restarted for being slow.
        .replace("cpu: 100m\n            memory: 200Mi", "memory: 200Mi");
    cluster.try_apply(&text).await.unwrap();
    let [namespace, name] = OPERATOR;
    cluster.rolled_out(namespace, name).await;
    manifest.to_str().unwrap().to_owned()
}

/// Makes volumes for databases, where nobody makes them on demand: in folders of this machine, which has to be the cluster's node.
async fn volumes(test: &Test) -> TempDir {
    forget_volumes(test).await;
    let folder = tempfile::tempdir().unwrap();
    let everybody = || Permissions::from_mode(0o777);
    fs::set_permissions(folder.path(), everybody()).unwrap();
    for number in 0..VOLUMES {
        let path = folder.path().join(number.to_string());
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, everybody()).unwrap();
        let name = format!("{}-{number}", test.namespace);
        let volume = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": { "name": name, "labels": { "test": test.namespace } },
            "spec": {
                "storageClassName": test.namespace,
                "capacity": { "storage": "1Gi" },
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": { "path": path },
            },
        });
        test.cluster.apply(&volume).await;
    }
    folder
}

/// Deletes their objects, those of an earlier run among them.
async fn forget_volumes(test: &Test) {
    let selector = format!("test={}", test.namespace);
    let delete = ["delete", "persistentvolumes", "-l", &selector];
    test.cluster.kubectl(&delete).await;
}

/// The page's database: a primary and standbys.
struct Database {
    test: Arc<Test>,
}

impl Database {
    /// Makes it, with the image and the volumes that there are.
    async fn new(test: &Arc<Test>, file: &str) -> Self {
        let settings = &test.cluster.settings;
        let image = format!("{}/postgres:{}", settings.repository, settings.tag);
        let images = json!({ "spec": { "images": [{ "major": 15, "image": image }] } });
        test.apply("postgresql.cnpg.io/v1", "ImageCatalog", "here", images)
            .await;
        let here = format!(
            "storage: {{ size: 1Gi, storageClass: {} }}
  imagePullPolicy: {}
  postgresUID: 999
  postgresGID: 999
  imageCatalogRef: {{ apiGroup: postgresql.cnpg.io, kind: ImageCatalog, name: here, major: 15 }}",
            test.namespace, settings.pull_policy
        );
        let storage = "storage: { size: 10Gi }";
        assert!(file.contains(storage), "{file}");
        // The operator has been there for a moment only, and the webhooks' certificate may be about to come.
        until("the database to be accepted", STARTED, async || {
            let manifest = file.replace(storage, &here);
            test.cluster.try_apply(&manifest).await
        })
        .await;
        Self {
            test: Arc::clone(test),
        }
    }

    async fn get(&self) -> Value {
        let found = self.test.cluster.get(&self.test.namespace, DATABASE).await;
        found.expect("the database's object")
    }

    /// The name of the primary.
    async fn primary(&self) -> String {
        let database = self.get().await;
        database["status"]["currentPrimary"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits until all servers are there.
    async fn healthy(&self) {
        until("a healthy database", STARTED, async || {
            let database = self.get().await;
            let status = &database["status"];
            let whole = status["readyInstances"] == database["spec"]["instances"];
            if whole && status["phase"] == "Cluster in healthy state" {
                return Ok(());
            }
            Err(format!(
                "{} {} {}",
                status["phase"], status["phaseReason"], status["readyInstances"]
            ))
        })
        .await;
    }

    /// Makes another server the primary, as `kubectl cnpg promote` does.
    async fn switch_over(&self) {
        let status = &self.get().await["status"];
        let before = &status["currentPrimary"];
        let servers = status["instanceNames"].as_array().unwrap();
        let next = servers.iter().find(|server| *server != before).unwrap();
        let wanted =
            json!({ "status": { "targetPrimary": next, "phase": "Switchover in progress" } });
        let patch = wanted.to_string();
        let args = [
            "patch",
            DATABASE,
            "--subresource=status",
            "--type=merge",
            "--patch",
            &patch,
        ];
        self.kubectl(&args).await;
        self.primary_other_than(before.as_str().unwrap()).await;
    }

    async fn primary_other_than(&self, before: &str) {
        until("another primary", STARTED, async || {
            let now = self.primary().await;
            if now == before { Err(now) } else { Ok(()) }
        })
        .await;
    }

    /// Loses a server from one moment to the next, with all that it had stored.
    async fn lose(&self, server: &str) {
        let pod = format!("pod/{server}");
        let running = self.test.cluster.get(&self.test.namespace, &pod).await;
        Process::of(&running.unwrap(), "postgres").signal(Signal::KILL);
        let volume = format!("pvc/{server}");
        self.kubectl(&["delete", &volume, "--wait=false"]).await;
        self.kubectl(&["delete", &pod, "--grace-period=0", "--force"])
            .await;
    }

    async fn delete(self) {
        self.kubectl(&["delete", DATABASE]).await;
        let gone = ["wait", "--for=delete", "pods", "-l"];
        let selector = ["cnpg.io/cluster=database", "--timeout=120s"];
        self.kubectl(&[&gone[..], &selector].concat()).await;
    }

    async fn kubectl(&self, args: &[&str]) {
        let all = [&["-n", &self.test.namespace], args].concat();
        self.test.cluster.kubectl(&all).await;
    }
}
