//! One test: a namespace of its own, what it applies there, and what it says when it fails.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use libtest_mimic::Trial;
use portside_testkit::Site;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::class::Class;
use crate::cluster::{Cluster, SYSTEM};
use crate::release::{database_url, namespace_object};

/// What a test works with.
#[derive(Debug)]
pub struct Test {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The test's own namespace. It admits restricted pods only, and has a database.
    pub namespace: String,
    /// The namespaces of its tenants.
    tenants: Mutex<Vec<String>>,
}

/// A runtime for one test.
pub fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

/// Makes a test of a function.
pub fn trial<F: Future<Output = ()>>(
    cluster: &Arc<Cluster>,
    name: &'static str,
    body: impl FnOnce(Arc<Test>) -> F + Send + 'static,
) -> Trial {
    let cluster = Arc::clone(cluster);
    Trial::test(name, move || {
        runtime().block_on(async {
            let test = Arc::new(Test::begin(cluster, name).await);
            let outcome = AssertUnwindSafe(body(Arc::clone(&test)))
                .catch_unwind()
                .await;
            if outcome.is_err() {
                test.explain().await;
            }
            if outcome.is_ok() || !test.cluster.settings.keep {
                test.end().await;
            }
            outcome.unwrap_or_else(|panic| resume_unwind(panic));
        });
        Ok(())
    })
}

impl Test {
    /// Works in a namespace that is there.
    pub fn of(cluster: Arc<Cluster>, namespace: String) -> Self {
        Self {
            cluster,
            namespace,
            tenants: Mutex::default(),
        }
    }

    async fn begin(cluster: Arc<Cluster>, name: &str) -> Self {
        let (_, short) = name.rsplit_once("::").expect("module::function");
        Self::within(cluster, format!("portside-e2e-{}", short.replace('_', "-"))).await
    }

    /// Works in a new namespace.
    async fn within(cluster: Arc<Cluster>, namespace: String) -> Self {
        let delete = [
            "delete",
            "namespace",
            &namespace,
            "--ignore-not-found",
            "--timeout=120s",
        ];
        cluster.kubectl(&delete).await;
        cluster.apply(&namespace_object(&namespace)).await;
        let test = Self::of(cluster, namespace);
        test.apply(
            "v1",
            "Secret",
            "portside-database",
            json!({
                "stringData": { "url": database_url() },
            }),
        )
        .await;
        test
    }

    /// Another team, with a namespace of its own that is like the test's.
    pub async fn tenant(&self, name: &str) -> Arc<Self> {
        let namespace = format!("{}-{name}", self.namespace);
        let tenant = Self::within(Arc::clone(&self.cluster), namespace).await;
        self.tenants.lock().unwrap().push(tenant.namespace.clone());
        Arc::new(tenant)
    }

    /// Its namespace, and its tenants'.
    fn namespaces(&self) -> Vec<String> {
        let tenants = self.tenants.lock().unwrap().clone();
        [vec![self.namespace.clone()], tenants].concat()
    }

    /// Leaves the namespaces to end on their own, which takes a while; the last test waits for all of them.
    async fn end(&self) {
        for namespace in self.namespaces() {
            let delete = [
                "delete",
                "namespace",
                &namespace,
                "--ignore-not-found",
                "--wait=false",
            ];
            self.cluster.kubectl(&delete).await;
        }
    }

    async fn explain(&self) {
        let logs = self.cluster.settings.logs.join(&self.namespace);
        for namespace in self.namespaces() {
            let folder = self.cluster.settings.logs.join(&namespace);
            self.cluster.explain(&namespace, &folder).await;
        }
        self.cluster.explain(SYSTEM, &logs.join(SYSTEM)).await;
    }

    /// Creates or changes an object of the namespace; `rest` is what it has besides its name.
    pub async fn apply(&self, version: &str, kind: &str, name: &str, rest: Value) {
        let mut object = rest;
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"] = json!({ "name": name, "namespace": self.namespace });
        self.cluster.apply(&object).await;
    }

    /// Makes a ConfigMap of all files in a folder, as `kubectl create configmap --from-file` does.
    pub async fn config_map(&self, name: &str, folder: &Path) {
        let from = format!("--from-file={}", folder.display());
        let create = ["-n", &self.namespace, "create", "configmap", name, &from];
        let manifest = self
            .cluster
            .kubectl(&[&create[..], &["--dry-run=client", "-o", "json"]].concat())
            .await;
        let outcome = self.cluster.try_apply(&manifest).await;
        outcome.unwrap_or_else(|problem| panic!("ConfigMap {name}: {problem}"));
    }

    /// Applies a class: `spec` and a route for it. Waits for nothing.
    pub async fn class(self: &Arc<Self>, name: &str, spec: Value) -> Class {
        let class = Class::new(self, name);
        class.apply(spec).await;
        class
    }

    /// Where a class is reached.
    pub fn site(&self, class: &str) -> Site {
        Site {
            address: self.cluster.settings.entry.clone(),
            host: self.host(class),
        }
    }

    /// The host of a class's route.
    pub fn host(&self, class: &str) -> String {
        format!("{class}.{}.example", self.namespace)
    }

    /// A folder of the repository's examples.
    pub fn example(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples")
            .join(name)
    }
}
