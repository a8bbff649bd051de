//! `portside sidecar run`: a pod's process, with what the kubelet would give it.
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and helpers outside of #[test] are tests too"
)]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use hyper::Method;
use portside_crds::sidecar::{Termination, TerminationReason};
use portside_store::testing::PostgresServer;
use portside_testkit::{Site, eventually, within};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Counts in a worker: each answer is one more than what was stored before it.
const SERVER: &str = r#"export default {
  fetch() {
    const { port } = new ServerlessWorker("./counter.js", "c");
    return new Promise((resolve, reject) => {
      port.onmessage = ({ data }) => resolve(new Response(String(data)));
      port.onclose = () => reject(new Error("the counter went away"));
      port.postMessage("hit");
    });
  },
};
"#;
const COUNTER: &str = r#"let count = (await storage.get("count")) ?? 0;
export default {
  connect({ ports: [port] }) {
    port.onmessage = () => {
      count += 1;
      storage.put("count", count);
      port.postMessage(count);
    };
  },
};
"#;

/// A pod's folders and ports, and its container.
struct Pod {
    folder: TempDir,
    listen: u16,
    admin: u16,
    process: Option<Child>,
}

impl Pod {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let app = folder.path().join("app");
        for name in ["app", "env"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(app.join("server.js"), SERVER).unwrap();
        fs::write(app.join("counter.js"), COUNTER).unwrap();
        // Ports that were free a moment ago.
        let [listen, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        Self {
            folder,
            listen: port(&listen),
            admin: port(&admin),
            process: None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a container. Its log is in a file.
    fn start(&mut self, more: &[&str]) {
        let log = fs::File::create(self.path("log")).unwrap();
        let file = |name: &str| self.path(name).display().to_string();
        let process = Command::new(env!("CARGO_BIN_EXE_portside"))
            .args(["sidecar", "run", "--class", "test/counter"])
            .args(["--listen", &format!("127.0.0.1:{}", self.listen)])
            .args(["--admin", &format!("127.0.0.1:{}", self.admin)])
            .args(["--store-file", &file("url"), "--app", &file("app")])
            .args(["--env-dir", &file("env"), "--assets", &file("assets")])
            .args(["--told", &file("told"), "--termination-log", &file("ended")])
            .args(more)
            .env("PORTSIDE_LOG", "info")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        self.process = Some(process.unwrap());
    }

    /// Waits until the container has ended, and gives why as the kubelet reads it.
    async fn ended(&mut self) -> Termination {
        let mut process = self.process.take().unwrap();
        let status = within("the container's end", process.wait()).await;
        assert!(!status.unwrap().success(), "{}", self.log());
        let ended = fs::read_to_string(self.path("ended")).unwrap();
        Termination::from_log(&ended).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// The status and text of a path of the admin port, once that is open.
    async fn asked(&self, path: &str) -> (u16, String) {
        let site = Site::at(&format!("127.0.0.1:{}", self.admin));
        eventually("the admin port", async || {
            let reply = site.try_request(Method::GET, path, &[], "").await.ok()?;
            Some((reply.status, reply.text().to_owned()))
        })
        .await
    }

    async fn ready(&self) {
        eventually("the pod to be ready", async || {
            (self.asked("/readyz").await.0 == 200).then_some(())
        })
        .await;
    }

    fn site(&self) -> Site {
        Site::at(&format!("127.0.0.1:{}", self.listen))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_waits_is_alive_and_says_for_what() {
    let mut pod = Pod::new();
    pod.start(&[]);
    assert_eq!(pod.ended().await.reason, TerminationReason::DatabaseMissing);
    // The next container waits for what this one has told.
    pod.start(&[]);
    assert_eq!(pod.asked("/livez").await.0, 200);
    eventually("what is missing to be told", async || {
        let (status, text) = pod.asked("/readyz").await;
        assert_eq!(status, 503);
        text.contains("waiting for the database's URL (DatabaseMissing)\n")
            .then_some(())
    })
    .await;
    for path in ["/metrics", "/ownership"] {
        assert_eq!(pod.asked(path).await.0, 503);
    }
    fs::write(pod.path("url"), PostgresServer::shared().database().await).unwrap();
    pod.ready().await;
    assert!(pod.asked("/metrics").await.1.contains("portside_sidecar_"));
    assert_eq!(pod.asked("/ownership").await.0, 200);
    assert_eq!(pod.site().get("/").await.text(), "1");
}
