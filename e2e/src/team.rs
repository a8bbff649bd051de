//! A team that shares the cluster with others: what its own credentials, and its own pods, can do.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::until;
use crate::test::Test;

/// Its ServiceAccount, and the Role by which it has classes.
const ACCOUNT: &str = "team";
const CLASSES: &str = "classes";

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// It was made.
    Connected,
    /// The other end has said that nobody listens there: packets get through.
    Closed,
    /// Nothing came back.
    Nothing,
}

/// Whoever works in a namespace: with the usual role there, and with Portside's for classes and for what workers store.
#[derive(Debug)]
pub struct Team {
    /// Its namespace.
    pub test: Arc<Test>,
    folder: TempDir,
}

impl Team {
    /// The team of a namespace.
    pub async fn of(test: &Arc<Test>) -> Self {
        test.apply("v1", "ServiceAccount", ACCOUNT, json!({})).await;
        let rules = json!([{
            "apiGroups": ["portside.dev"],
            "resources": ["serverlessworkerclasses", "serverlessworkerclasses/scale"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        }]);
        test.apply(RBAC, "Role", CLASSES, json!({ "rules": rules }))
            .await;
        for (kind, name) in [
            ("ClusterRole", "edit"),
            ("ClusterRole", "portside-workers-edit"),
            ("Role", CLASSES),
        ] {
            let role =
                json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
            let subject =
                json!({ "kind": "ServiceAccount", "name": ACCOUNT, "namespace": test.namespace });
            let rest = json!({ "roleRef": role, "subjects": [subject] });
            let name = format!("{ACCOUNT}-{name}");
            test.apply(RBAC, "RoleBinding", &name, rest).await;
        }
        let team = Self {
            test: Arc::clone(test),
            folder: tempfile::tempdir().unwrap(),
        };
        team.log_in().await;
        team
    }

    /// Writes a configuration of kubectl with the team's token, and waits until its roles are known.
    async fn log_in(&self) {
        let cluster = &self.test.cluster;
        let create = ["create", "token", ACCOUNT, "--duration=1h"];
        let token = cluster
            .kubectl(&[&["-n", &self.test.namespace], &create[..]].concat())
            .await;
        let view = ["config", "view", "--raw", "--minify", "-o", "json"];
        let mut config: Value = serde_json::from_str(&cluster.kubectl(&view).await).unwrap();
        config["users"][0]["user"] = json!({ "token": token.trim() });
        fs::write(self.file("kubeconfig"), config.to_string()).unwrap();
        until("the team's roles", Duration::from_secs(30), async || {
            self.kubectl(&["get", "pods,swc,serverlessworkers"]).await
        })
        .await;
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs kubectl in its namespace, with its token.
    ///
    /// # Errors
    /// What it said, when it fails.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        let kubeconfig = self.file("kubeconfig");
        let who = ["--kubeconfig", &kubeconfig, "-n", &self.test.namespace];
        self.test.cluster.try_kubectl(&[&who, args].concat()).await
    }

    /// Sends something to a path of the API server, or creates it (no path).
    ///
    /// # Errors
    /// Why that is refused.
    pub async fn create(&self, path: &str, object: &Value) -> Result<String, String> {
        let file = self.file("object.json");
        fs::write(&file, object.to_string()).unwrap();
        let raw = ["--raw", path];
        let raw = if path.is_empty() { &[][..] } else { &raw };
        let create = [&["create", "-f", &file][..], raw].concat();
        self.kubectl(&create).await
    }

    /// Asks for what it has no right to.
    ///
    /// # Panics
    /// When it is not refused for that reason.
    pub async fn is_forbidden(&self, args: &[&str]) {
        forbidden(&args.join(" "), self.kubectl(args).await);
    }

    /// Starts a pod that listens at port 8080 and else does nothing until it is told.
    pub async fn pod(&self, name: &str, labels: &Value) -> String {
        let listen = "/bin/busybox nc -ll -p 8080 -e /bin/busybox true & wait";
        let context = json!({
            "runAsNonRoot": true, "runAsUser": 999, "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
        });
        let settings = &self.test.cluster.settings;
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": self.test.namespace, "labels": labels },
            "spec": { "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "containers": [{
                "name": "shell",
                "image": format!("{}/postgres:{}", settings.repository, settings.tag),
                "imagePullPolicy": settings.pull_policy,
                "command": ["/bin/busybox", "sh", "-c", listen],
                "securityContext": context,
            }] },
        });
        self.create("", &pod).await.unwrap();
        let object = format!("pod/{name}");
        let wait = ["wait", "--for=condition=Ready", &object, "--timeout=60s"];
        self.kubectl(&wait).await.unwrap();
        let ip = ["get", &object, "-o", "jsonpath={.status.podIP}"];
        self.kubectl(&ip).await.unwrap()
    }

    /// Has one of its pods connect to some addresses, each with its port, all at once.
    ///
    /// # Panics
    /// When it cannot be told what became of one.
    pub async fn reaches(&self, pod: &str, places: &[(&str, u16)]) -> Vec<Reached> {
        let each = places.iter().enumerate().map(|(index, (address, port))| {
            let connect = format!("/bin/busybox nc -w 2 {address} {port} -e /bin/busybox true");
            format!("{{ said=$({connect} 2>&1); echo \"{index} $? $said\"; }} &")
        });
        let script = format!("{} wait", each.collect::<Vec<_>>().join(" "));
        let exec = ["exec", pod, "--", "/bin/busybox", "sh", "-c", &script];
        let said = self.kubectl(&exec).await.unwrap();
        let become_of = |index: usize| {
            let begin = format!("{index} ");
            let line = said.lines().find_map(|line| line.strip_prefix(&begin));
            match line.unwrap_or_default() {
                "0 " => Reached::Connected,
                line if line.contains("refused") => Reached::Closed,
                line if line.contains("timed out") => Reached::Nothing,
                _ => panic!("{pod} cannot tell what {:?} says: {said}", places[index]),
            }
        };
        (0..places.len()).map(become_of).collect()
    }
}

/// Fails unless the API server has refused something for want of a right.
pub fn forbidden(what: &str, answer: Result<String, String>) {
    match answer {
        Ok(said) => panic!("{what} was allowed: {said}"),
        Err(said) => assert!(
            said.to_lowercase().contains("forbidden"),
            "{what} was refused otherwise: {said}"
        ),
    }
}
