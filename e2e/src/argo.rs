//! Argo CD's engine and its Lua machine, as the program in e2e/third-party/argo.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::class::Class;
use crate::cluster::{run, until};
use crate::test::Test;

/// Argo CD's word for how an object is.
#[derive(Debug, Clone, Copy)]
pub enum Health {
    /// It is as it should be.
    Healthy,
    /// It cannot work.
    Degraded,
    /// Somebody has stopped it.
    Suspended,
}

/// The program, for the namespace of a test.
#[derive(Debug)]
pub struct Argo {
    test: Arc<Test>,
    program: Option<PathBuf>,
}

impl Argo {
    /// Where it is not built, says so once, and finds everything well.
    pub fn new(test: &Arc<Test>) -> Self {
        let programs = test.cluster.settings.third_party.as_ref();
        let program = programs
            .map(|folder| folder.join("argo"))
            .filter(|program| program.exists());
        if program.is_none() {
            eprintln!("skipped: Argo CD's engine is not built; see scripts/third-party");
        }
        Self {
            test: Arc::clone(test),
            program,
        }
    }

    /// Whether it is built.
    pub const fn is_there(&self) -> bool {
        self.program.is_some()
    }

    /// Waits until a class is of this health, and returns the message.
    pub async fn health(&self, class: &Class, wanted: Health) -> Option<String> {
        self.program.as_ref()?;
        let what = format!("{} to be {wanted:?}", class.name);
        let said = until(&what, Duration::from_secs(120), async || {
            let said = self.health_of(&class.get().await).await;
            if said["status"] == format!("{wanted:?}") {
                Ok(said)
            } else {
                Err(said.to_string())
            }
        })
        .await;
        said["message"].as_str().map(str::to_owned)
    }

    /// Asks whether Argo CD's own definition would take an Application.
    ///
    /// # Panics
    /// When it would not.
    pub async fn takes(&self, application: &str) {
        let program = self.program.as_ref().unwrap();
        let definition = program.with_file_name("application-crd.yaml");
        let definition = definition.to_str().unwrap();
        let cluster = &self.test.cluster;
        cluster
            .kubectl(&["apply", "--server-side", "-f", definition])
            .await;
        cluster.established(&["-f", definition]).await;
        let taken = cluster.try_apply(application).await;
        taken.unwrap_or_else(|problem| panic!("{application}: {problem}"));
        cluster.kubectl(&["delete", "-f", definition]).await;
    }

    /// What it says of an object.
    pub async fn health_of(&self, object: &Value) -> Value {
        self.run("health", &object.to_string()).await
    }

    /// The objects that are not as this has them.
    pub async fn diff(&self, manifests: &str) -> Value {
        self.run("diff", manifests).await
    }

    /// Makes the cluster as this has it.
    ///
    /// # Panics
    /// When some of it cannot be made so.
    pub async fn sync(&self, manifests: &str) -> Value {
        let synced = self.run("sync", manifests).await;
        let done = |one: &Value| one["status"] == "Synced" || one["status"] == "Pruned";
        assert!(synced.as_array().unwrap().iter().all(done), "{synced}");
        synced
    }

    async fn run(&self, command: &str, input: &str) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/portside/health.lua");
        let health = format!("--health={}", script.display());
        let namespace = format!("--namespace={}", self.test.namespace);
        let program = self.program.as_ref().unwrap();
        let said = run(program, &[&health, &namespace, command], input).await;
        let said = said.unwrap_or_else(|problem| panic!("argo {command}: {problem}"));
        serde_json::from_str(&said).unwrap()
    }
}
