//! A class in the cluster, and what its status says.

use std::sync::Arc;
use std::time::Duration;

use portside_crds::sidecar::{OWNERSHIP_PATH, Ownership, STATUS_PATH, SidecarStatus, State};
use portside_testkit::Site;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::until;
use crate::test::Test;

/// How long a class may take to start: images are there, but the machine may be busy.
const START: Duration = Duration::from_secs(120);

/// A class of a test.
#[derive(Debug, Clone)]
pub struct Class {
    test: Arc<Test>,
    /// Its name.
    pub name: String,
}

/// What every tool that follows kstatus makes of a status.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is being worked on.
    InProgress(String),
    /// It cannot work: the message says why.
    Failed(String),
    /// It is as the class asks.
    Current,
}

impl Class {
    /// A class that may not exist yet.
    pub fn new(test: &Arc<Test>, name: &str) -> Self {
        Self {
            test: Arc::clone(test),
            name: name.to_owned(),
        }
    }

    /// Creates or changes it. A route is added.
    pub async fn apply(&self, spec: Value) {
        let mut spec = spec;
        spec["routes"] = json!([{ "host": self.test.host(&self.name) }]);
        let rest = json!({ "spec": spec });
        self.test
            .apply(
                "portside.dev/v1alpha1",
                "ServerlessWorkerClass",
                &self.name,
                rest,
            )
            .await;
    }

    /// Where it is reached.
    pub fn site(&self) -> Site {
        self.test.site(&self.name)
    }

    /// The object.
    pub async fn get(&self) -> Value {
        let found = self
            .test
            .cluster
            .get(&self.test.namespace, &self.object())
            .await;
        found.unwrap_or_else(|| panic!("{} is gone", self.name))
    }

    fn object(&self) -> String {
        format!("serverlessworkerclass/{}", self.name)
    }

    /// Waits, as a user would, until `kubectl wait` sees it ready, and then until requests are answered.
    pub async fn ready(&self) {
        let timeout = format!("--timeout={}s", START.as_secs());
        let wait = ["wait", "--for=condition=Ready", &self.object(), &timeout];
        self.kubectl(&wait).await;
        self.current().await;
    }

    /// Waits until the status says that all is as the class asks.
    pub async fn current(&self) {
        let what = format!("{} to be as it asks", self.name);
        until(&what, START, async || match verdict(&self.get().await) {
            Verdict::Current => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }

    /// Waits until the status says that the class cannot work, and returns the whole object.
    pub async fn failed(&self) -> Value {
        let what = format!("{} to be refused", self.name);
        until(&what, START, async || {
            let object = self.get().await;
            match verdict(&object) {
                Verdict::Failed(_) => Ok(object),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Waits until a condition has a status and a reason.
    pub async fn condition(&self, kind: &str, status: &str, reason: &str) -> Value {
        let what = format!("{kind}={status} {reason} of {}", self.name);
        until(&what, START, async || {
            let object = self.get().await;
            let found = condition(&object, kind);
            if found["status"] == status && found["reason"] == reason {
                return Ok(found.clone());
            }
            Err(object["status"]["conditions"].to_string())
        })
        .await
    }

    /// Waits until another code runs than that of `digest`.
    pub async fn code_other_than(&self, digest: &str) {
        let what = format!("new code of {}", self.name);
        until(&what, START, async || {
            let object = self.get().await;
            let code = &object["status"]["code"];
            let done = code["observedDigest"] != digest && code["observedDigest"] == code["digest"];
            if done && verdict(&object) == Verdict::Current {
                return Ok(());
            }
            Err(object["status"].to_string())
        })
        .await;
    }

    /// The digest of the code that runs.
    pub async fn digest(&self) -> String {
        let object = self.get().await;
        object["status"]["code"]["observedDigest"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Its pods that are not on their way out, the oldest first.
    pub async fn pods(&self) -> Vec<Value> {
        let selector = format!(
            "portside.dev/class={},portside.dev/component=sidecar",
            self.name
        );
        let pods = self
            .test
            .cluster
            .list(&self.test.namespace, "pods", &selector)
            .await;
        let mut pods: Vec<_> = pods
            .into_iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .collect();
        pods.sort_by_key(|pod| pod["metadata"]["creationTimestamp"].to_string());
        pods
    }

    /// Its pods, and what each that can be asked says of itself.
    pub async fn states(&self) -> Vec<(Value, Ownership)> {
        let mut states = Vec::new();
        for pod in self.pods().await {
            if let Some(state) = self.ask(&pod, OWNERSHIP_PATH).await {
                states.push((pod, state));
            }
        }
        states
    }

    /// How many workers a pod has awake.
    pub async fn awake(&self, pod: &Value) -> Option<u64> {
        let status: SidecarStatus = self.ask(pod, STATUS_PATH).await?;
        Some(status.workers.awake)
    }

    async fn ask<T: DeserializeOwned>(&self, pod: &Value, path: &str) -> Option<T> {
        let cluster = &self.test.cluster;
        let asked = cluster
            .ask(&self.test.namespace, name(pod), 9090, path)
            .await;
        Some(serde_json::from_str(&asked.ok()?).unwrap())
    }

    /// Waits until there are so many pods, and all of them serve.
    pub async fn all_serve(&self, count: usize) -> Vec<(Value, Ownership)> {
        let what = format!("{count} pods of {} that serve", self.name);
        until(&what, START, async || {
            let (pods, states) = (self.pods().await.len(), self.states().await);
            let serve = |(_, said): &(Value, Ownership)| said.state == State::Serving;
            if pods == count && states.len() == count && states.iter().all(serve) {
                return Ok(states);
            }
            let said: Vec<_> = states.iter().map(|(_, said)| said.state).collect();
            Err(format!("{pods} pods, {said:?}"))
        })
        .await
    }

    /// Waits until exactly one pod says that it is active alone.
    pub async fn one_active(&self) -> (Value, Ownership) {
        let what = format!("one active pod of {}", self.name);
        until(&what, START, async || {
            let mut active = self.states().await;
            active.retain(|(_, said)| said.state == State::Active);
            match active.len() {
                1 => Ok(active.remove(0)),
                other => Err(format!("{other} are")),
            }
        })
        .await
    }

    /// Runs kubectl in its namespace.
    pub async fn kubectl(&self, args: &[&str]) -> String {
        let namespace = ["-n", &self.test.namespace];
        self.test
            .cluster
            .kubectl(&[&namespace, args].concat())
            .await
    }

    /// Changes it by a merge patch.
    pub async fn patch(&self, patch: &Value) {
        let patch = patch.to_string();
        self.kubectl(&["patch", &self.object(), "--type=merge", "--patch", &patch])
            .await;
    }

    /// Deletes it and waits until it and its pods are gone.
    pub async fn delete(&self) {
        self.kubectl(&["delete", &self.object(), "--timeout=120s"])
            .await;
        let what = format!("the end of the pods of {}", self.name);
        until(&what, START, async || {
            let selector = format!("portside.dev/class={}", self.name);
            let left = self
                .test
                .cluster
                .list(&self.test.namespace, "pods", &selector)
                .await;
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{} left", left.len()))
            }
        })
        .await;
    }
}

/// Who a pod is: another one of the same name has another.
pub fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// A pod's name.
pub fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap()
}

/// One condition of an object, or null.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .and_then(|all| all.iter().find(|condition| condition["type"] == kind))
        .unwrap_or(&Value::Null)
}

/// Reads a status in kstatus' order.
pub fn verdict(object: &Value) -> Verdict {
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return Verdict::InProgress("not seen yet".to_owned());
    }
    let message = |kind| {
        condition(object, kind)["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    if condition(object, "Reconciling")["status"] == "True" {
        return Verdict::InProgress(message("Reconciling"));
    }
    if condition(object, "Stalled")["status"] == "True" {
        return Verdict::Failed(message("Stalled"));
    }
    if condition(object, "Ready")["status"] == "True" {
        return Verdict::Current;
    }
    Verdict::InProgress(message("Ready"))
}
