//! The cluster, by way of kubectl: what works here works for users.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::settings::Settings;

/// The namespace of the operator and the gateway.
pub const SYSTEM: &str = "portside-system";

/// A cluster to test on.
#[derive(Debug)]
pub struct Cluster {
    /// Where things are.
    pub settings: Settings,
}

impl Cluster {
    /// Connects to nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Runs kubectl and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub async fn kubectl(&self, args: &[&str]) -> String {
        let outcome = self.try_kubectl(args).await;
        outcome.unwrap_or_else(|problem| panic!("kubectl {}: {problem}", args.join(" ")))
    }

    /// Runs kubectl.
    ///
    /// # Errors
    /// What it said, when it fails.
    pub async fn try_kubectl(&self, args: &[&str]) -> Result<String, String> {
        run(&self.settings.kubectl, args, "").await
    }

    /// Runs kubectl of another version, one of [`Settings::kubectls`].
    ///
    /// # Panics
    /// When it fails.
    pub async fn kubectl_of(&self, program: &Path, args: &[&str]) -> String {
        let outcome = run(program, args, "").await;
        outcome
            .unwrap_or_else(|problem| panic!("{} {}: {problem}", program.display(), args.join(" ")))
    }

    /// Runs helm.
    ///
    /// # Errors
    /// What it said, when it fails.
    pub async fn try_helm(&self, args: &[&str]) -> Result<String, String> {
        run(&self.settings.helm, args, "").await
    }

    /// Creates or changes an object, as `kubectl apply` does.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn apply(&self, object: &Value) {
        let outcome = self.try_apply(&object.to_string()).await;
        outcome.unwrap_or_else(|problem| panic!("apply {object}: {problem}"));
    }

    /// Creates or changes what a manifest has.
    ///
    /// # Errors
    /// Why the server refuses it.
    pub async fn try_apply(&self, manifest: &str) -> Result<String, String> {
        let args = ["apply", "--server-side", "-f", "-"];
        run(&self.settings.kubectl, &args, manifest).await
    }

    /// Asks whether the server would take a manifest.
    ///
    /// # Errors
    /// Why it would not.
    pub async fn would_take(&self, manifest: &Value) -> Result<(), String> {
        let args = ["apply", "--server-side", "--dry-run=server", "-f", "-"];
        let taken = run(&self.settings.kubectl, &args, &manifest.to_string()).await;
        taken.map(|_| ())
    }

    /// An object, if it is there: `get("team-a", "deployment/x")`. Lists are objects too: `get("team-a", "pods")`.
    pub async fn get(&self, namespace: &str, what: &str) -> Option<Value> {
        self.select(namespace, what, "").await
    }

    /// The same with a label selector.
    pub async fn select(&self, namespace: &str, what: &str, selector: &str) -> Option<Value> {
        let args = [
            "-n",
            namespace,
            "get",
            what,
            "--ignore-not-found",
            "-o",
            "json",
            "-l",
            selector,
        ];
        let args = if selector.is_empty() {
            &args[..7]
        } else {
            &args[..]
        };
        let text = self.kubectl(args).await;
        (!text.trim().is_empty()).then(|| serde_json::from_str(&text).unwrap())
    }

    /// The items of a list.
    pub async fn list(&self, namespace: &str, what: &str, selector: &str) -> Vec<Value> {
        let list = self.select(namespace, what, selector).await;
        list.map_or_else(Vec::new, |list| {
            list["items"].as_array().cloned().unwrap_or_default()
        })
    }

    /// Asks a pod over HTTP, by way of the API server.
    ///
    /// # Errors
    /// Whatever keeps it from answering with success within seconds.
    pub async fn ask(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        path: &str,
    ) -> Result<String, String> {
        let url = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
        let args = ["get", "--raw", &url];
        let asking = self.try_kubectl(&args);
        match tokio::time::timeout(Duration::from_secs(3), asking).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// Asks for a pod's end, as the drain of a node does: politely again where its budget does not allow it now.
    ///
    /// # Panics
    /// When it never does.
    pub async fn evict(&self, namespace: &str, pod: &str) {
        let url = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
        let eviction = serde_json::json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": pod, "namespace": namespace },
        });
        until(
            &format!("the eviction of {pod}"),
            Duration::from_secs(120),
            async || self.post(&url, &eviction).await,
        )
        .await;
    }

    /// Posts something to a path of the API server, and returns what it answers.
    ///
    /// # Errors
    /// What it said, when it refuses that.
    pub async fn post(&self, path: &str, body: &Value) -> Result<String, String> {
        let args = ["create", "--raw", path, "-f", "-"];
        run(&self.settings.kubectl, &args, &body.to_string()).await
    }

    /// Starts a kubectl that does not end by itself.
    pub fn follow(&self, args: &[&str]) -> Followed {
        let mut command = Command::new(&self.settings.kubectl);
        command.args(args);
        Followed::start(command)
    }

    /// Puts something to a path of the API server.
    ///
    /// # Errors
    /// What it said, when it refuses that.
    pub async fn put(&self, path: &str, body: &Value) -> Result<(), String> {
        let args = ["replace", "--raw", path, "-f", "-"];
        let put = run(&self.settings.kubectl, &args, &body.to_string()).await;
        put.map(|_| ())
    }

    /// Waits until definitions are served: `crd/NAME`, or `-f` and a file or folder of them.
    pub async fn established(&self, what: &[&str]) {
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
        let wait = [&wait[..], what].concat();
        // kubectl fails at one that was made this moment, and has no status yet.
        until("definitions", Duration::from_secs(60), async || {
            self.try_kubectl(&wait).await
        })
        .await;
    }

    /// Waits until a Deployment is rolled out.
    pub async fn rolled_out(&self, namespace: &str, name: &str) {
        let deployment = format!("deployment/{name}");
        self.kubectl(&[
            "-n",
            namespace,
            "rollout",
            "status",
            &deployment,
            "--timeout=120s",
        ])
        .await;
    }

    /// Writes what there is to know about a namespace into a folder, and the most telling part to standard error.
    pub async fn explain(&self, namespace: &str, folder: &Path) {
        // An earlier run may have left other pods' logs.
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
        let all = "serverlessworkerclasses,deployments,pods,services,endpointslices,ingresses,jobs";
        for (file, args) in [
            ("objects.yaml", &["get", all, "-o", "yaml"][..]),
            ("describe.txt", &["describe", "pods"]),
            ("events.txt", &["get", "events", "--sort-by=.lastTimestamp"]),
        ] {
            let said = self.said(namespace, args).await;
            std::fs::write(folder.join(file), said).unwrap();
        }
        let pods = self.said(namespace, &["get", "pods", "-o", "name"]).await;
        for pod in pods.lines().filter(|line| line.starts_with("pod/")) {
            let name = pod.trim_start_matches("pod/");
            for (previous, suffix) in [("--previous=false", ""), ("--previous=true", ".previous")] {
                let logs = ["logs", pod, "--all-containers", "--tail=5000", previous];
                if let Ok(said) = self
                    .try_kubectl(&[&["-n", namespace], &logs[..]].concat())
                    .await
                {
                    std::fs::write(folder.join(format!("{name}{suffix}.log")), said).unwrap();
                }
            }
        }
        let classes =
            "-o=custom-columns=CLASS:.metadata.name,CONDITIONS:.status.conditions[*].message";
        for args in [
            &["get", "swc", classes][..],
            &["get", "pods", "-o", "wide"],
            &[
                "get",
                "events",
                "--sort-by=.lastTimestamp",
                "--field-selector=type=Warning",
            ],
        ] {
            eprintln!("--- {namespace}: kubectl {}", args.join(" "));
            eprintln!("{}", self.said(namespace, args).await);
        }
        eprintln!("--- more in {}", folder.display());
    }

    /// What kubectl says, be it an error.
    async fn said(&self, namespace: &str, args: &[&str]) -> String {
        let outcome = self.try_kubectl(&[&["-n", namespace], args].concat()).await;
        outcome.unwrap_or_else(|problem| problem)
    }
}

/// A kubectl that goes on, until this is dropped.
pub struct Followed {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Followed {
    /// Starts a program that does not end by itself.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            _process: process,
            lines,
        }
    }

    /// The next line that has all of these in it.
    ///
    /// # Panics
    /// When none comes within a minute.
    pub async fn line(&mut self, wanted: &[&str]) -> String {
        let mut others = vec![];
        let found = async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("it ended, without {wanted:?}"));
                if wanted.iter().all(|part| line.contains(part)) {
                    return line;
                }
                others.push(line);
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), found).await;
        found.unwrap_or_else(|_| panic!("no line with {wanted:?} in a minute: {others:?}"))
    }
}

/// Runs a program to its end, with `input` as its standard input.
///
/// # Errors
/// What it said, when it fails.
pub async fn run(program: &Path, args: &[&str], input: &str) -> Result<String, String> {
    let mut process = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{} does not run: {error}", program.display()))?;
    let mut stdin = process.stdin.take().unwrap();
    // A program that does not read to the end has its reasons, which it prints.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = process.wait_with_output().await.unwrap();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    ))
}

/// Asks `probe` twice a second until it answers `Ok`, and returns how long that took.
///
/// # Panics
/// When it has not after `patience`, with what it answered last.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        match probe().await {
            Ok(answer) => return answer,
            Err(last) if start.elapsed() > patience => {
                panic!("waited {patience:?} in vain for {what}; last: {last}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}
