//! Flux's controllers, as processes beside the cluster that look after one namespace, and the git repository that they follow.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::class::condition;
use crate::cluster::until;
use crate::test::Test;

/// For a revision to be applied, or to be refused: new pods start, and Flux looks every five seconds.
const RECONCILED: Duration = Duration::from_secs(180);

/// The programs, and what they share.
pub struct Flux {
    test: Arc<Test>,
    programs: PathBuf,
    /// The repository, bare, and a clone in which it is changed.
    folder: TempDir,
    /// Where the repository is served.
    pub url: String,
    processes: Vec<Child>,
}

impl Flux {
    /// Starts them, with their definitions in the cluster; nothing is followed yet. `None`, with a word about it, where they are not built.
    pub async fn start(test: &Arc<Test>) -> Option<Self> {
        let Some(programs) = test.cluster.settings.third_party.clone() else {
            eprintln!("skipped: Flux is not built; see scripts/third-party");
            return None;
        };
        let definitions = programs.join("flux-definitions");
        let apply = [
            "apply",
            "--server-side",
            "-f",
            definitions.to_str().unwrap(),
        ];
        test.cluster.kubectl(&apply).await;
        let definitions = definitions.to_str().unwrap();
        test.cluster.established(&["-f", definitions]).await;
        let mut flux = Self {
            test: Arc::clone(test),
            programs,
            folder: tempfile::tempdir().unwrap(),
            url: String::new(),
            processes: Vec::new(),
        };
        flux.repository().await;
        flux.controllers();
        Some(flux)
    }

    /// Makes the repository and serves it.
    async fn repository(&mut self) {
        let root = self.folder.path().to_owned();
        git(
            &root,
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                "served/apps.git",
            ],
        )
        .await;
        git(&root, &["clone", "--quiet", "served/apps.git", "work"]).await;
        let mut server = Command::new(self.programs.join("git-server"))
            .arg(root.join("served"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let address = lines.next_line().await.unwrap().unwrap();
        self.url = format!("http://{address}/apps.git");
        self.processes.push(server);
    }

    fn controllers(&mut self) {
        let served = format!("127.0.0.1:{}", free_port());
        let artifacts = self.folder.path().join("artifacts");
        fs::create_dir(&artifacts).unwrap();
        let source = [
            format!("--storage-addr={served}"),
            format!("--storage-adv-addr={served}"),
            format!("--storage-path={}", artifacts.display()),
        ];
        let kustomize = ["--requeue-dependency=2s".to_owned()];
        for (name, options) in [
            ("source-controller", &source[..]),
            ("kustomize-controller", &kustomize),
        ] {
            let log = self
                .test
                .cluster
                .settings
                .logs
                .join(format!("{}-{name}.log", self.test.namespace));
            let log = File::create(log).unwrap();
            let process = Command::new(self.programs.join(name))
                .args([
                    "--watch-all-namespaces=false",
                    "--metrics-addr=0",
                    "--health-addr=0",
                ])
                .args(options)
                .env("RUNTIME_NAMESPACE", &self.test.namespace)
                .env("TMPDIR", self.folder.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            self.processes.push(process);
        }
    }

    /// The file in the clone.
    fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join("work").join(path)
    }

    /// Writes a file, which the next commit has.
    pub fn write(&self, path: &str, text: &str) {
        let file = self.file(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// Replaces something in a file, which the next commit has.
    ///
    /// # Panics
    /// When the file does not have it.
    pub fn replace(&self, path: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.file(path)).unwrap();
        assert!(text.contains(old), "{path} has no {old:?}: {text}");
        self.write(path, &text.replace(old, new));
    }

    /// Commits all that was written, and tells the source-controller. Returns the revision.
    pub async fn commit(&self) -> String {
        let work = self.folder.path().join("work");
        git(&work, &["add", "--all"]).await;
        let author = [
            "-c",
            "user.name=somebody",
            "-c",
            "user.email=somebody@example.com",
        ];
        let commit = ["commit", "--quiet", "--message=change"];
        git(&work, &[&author[..], &commit].concat()).await;
        git(&work, &["push", "--quiet", "origin", "HEAD:main"]).await;
        let revision = git(&work, &["rev-parse", "HEAD"]).await.trim().to_owned();
        if self.get("gitrepository", "apps").await.is_some() {
            self.ask("gitrepository/apps").await;
        }
        revision
    }

    /// Has an object of Flux reconciled now, as `flux reconcile` does.
    pub async fn ask(&self, object: &str) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos();
        let at = format!("reconcile.fluxcd.io/requestedAt={now}");
        self.kubectl(&["annotate", "--overwrite", object, &at])
            .await;
    }

    async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let what = format!("{kind}/{name}");
        self.test.cluster.get(&self.test.namespace, &what).await
    }

    async fn kubectl(&self, args: &[&str]) -> String {
        let namespace = ["-n", &self.test.namespace];
        self.test
            .cluster
            .kubectl(&[&namespace, args].concat())
            .await
    }

    /// Waits until a revision is applied and all that it has is ready.
    pub async fn ready(&self, kustomization: &str, revision: &str) {
        let applied = ("lastAppliedRevision", "True");
        self.judged(kustomization, revision, applied).await;
    }

    /// Waits until a revision is refused, and returns the condition that says so.
    pub async fn refused(&self, kustomization: &str, revision: &str) -> Value {
        let tried = ("lastAttemptedRevision", "False");
        self.judged(kustomization, revision, tried).await
    }

    /// Waits until that is the revision in this field, and Ready is so; returns the condition.
    async fn judged(&self, kustomization: &str, revision: &str, so: (&str, &str)) -> Value {
        let (field, is_ready) = so;
        let what = format!("Kustomization {kustomization}: Ready={is_ready} with {revision}");
        until(&what, RECONCILED, async || {
            let object = self.get("kustomization", kustomization).await;
            let object = object.unwrap_or_default();
            let at = object["status"][field].as_str();
            let ready = condition(&object, "Ready");
            if at.is_some_and(|it| it.ends_with(revision)) && ready["status"] == is_ready {
                return Ok(ready.clone());
            }
            Err(object["status"].to_string())
        })
        .await
    }

    /// Has the Kustomization looked at again, and waits until it was.
    pub async fn reconciled(&self, kustomization: &str) {
        self.ask(&format!("kustomization/{kustomization}")).await;
        let what = format!("Kustomization {kustomization} to be looked at");
        until(&what, RECONCILED, async || {
            let object = self.get("kustomization", kustomization).await.unwrap();
            let asked = &object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
            let done = object["status"]["lastHandledReconcileAt"] == *asked
                && condition(&object, "Reconciling").is_null();
            if done {
                Ok(())
            } else {
                Err(object["status"].to_string())
            }
        })
        .await;
    }

    /// Stops or resumes a Kustomization, as `flux suspend` and `flux resume` do.
    pub async fn suspend(&self, kustomization: &str, suspend: bool) {
        let patch = json!({ "spec": { "suspend": suspend } }).to_string();
        let what = format!("kustomization/{kustomization}");
        self.kubectl(&["patch", &what, "--type=merge", "--patch", &patch])
            .await;
    }

    /// Ends what it looks after: with its controllers gone, nobody takes their finalizers off.
    pub async fn end(self) {
        let kinds =
            "kustomizations.kustomize.toolkit.fluxcd.io,gitrepositories.source.toolkit.fluxcd.io";
        self.kubectl(&["delete", kinds, "--all", "--timeout=120s"])
            .await;
    }
}

impl Drop for Flux {
    /// A test that failed leaves objects whose finalizers nobody would take off, and with them its namespace.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for object in ["kustomization/chat", "gitrepository/apps"] {
            let patch = r#"{"metadata":{"finalizers":null}}"#;
            let namespace = &self.test.namespace;
            let _ = std::process::Command::new(&self.test.cluster.settings.kubectl)
                .args([
                    "-n",
                    namespace,
                    "patch",
                    object,
                    "--type=merge",
                    "-p",
                    patch,
                ])
                .status();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Runs git, as nobody in particular.
async fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
