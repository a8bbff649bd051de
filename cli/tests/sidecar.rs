//! `portside sidecar run`: a pod's process, with what the kubelet would give it.
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and helpers outside of #[test] are tests too"
)]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Method;
use portside_crds::sidecar::{Ownership, Termination, TerminationReason};
use portside_store::testing::PostgresServer;
use portside_testkit::{Site, eventually, within};
use rustix::process::{Pid, Signal, kill_process};
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
    peer: u16,
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
        let free = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [listen, admin, peer] = free.map(|free| free.local_addr().unwrap().port());
        Self {
            folder,
            listen,
            admin,
            peer,
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
            .args(["--peer-listen", &format!("127.0.0.1:{}", self.peer)])
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

/// Longer than requests had once, and shorter than they may take.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_has_begun_has_its_time_when_the_pod_ends() {
    let mut pod = Pod::new();
    let slow = "export default { async fetch() { await new Promise((it) => setTimeout(it, 13_000)); return new Response('late'); } };";
    fs::write(pod.path("app/server.js"), slow).unwrap();
    fs::write(pod.path("url"), PostgresServer::shared().database().await).unwrap();
    pod.start(&["--grace", "90"]);
    pod.ready().await;
    let site = pod.site();
    let asked = tokio::spawn(async move { site.get("/").await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut process = pod.process.take().unwrap();
    let id = Pid::from_raw(process.id().unwrap().cast_signed()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    let answer = within("the answer", asked).await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "late"));
    let status = within("the pod's end", process.wait()).await.unwrap();
    assert!(status.success(), "{}", pod.log());
}

/// With TLS, an authority of its own and writes all the time: not one fails, and the process is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_is_followed_while_clients_write() {
    let (server, tls) = PostgresServer::start_with_tls();
    server
        .run("CREATE ROLE app LOGIN PASSWORD 's3cret-1'")
        .await;
    server.run("CREATE DATABASE app OWNER app").await;
    let url = |password: &str| format!("postgres://app:{password}@localhost:{}/app", tls.port);
    let mut pod = Pod::new();
    fs::write(pod.path("url"), url("s3cret-1")).unwrap();
    fs::write(pod.path("ca.crt"), &tls.authority).unwrap();
    let ca = pod.path("ca.crt").display().to_string();
    pod.start(&["--store-ca-file", &ca]);
    pod.ready().await;

    let (site, is_over) = (pod.site(), Arc::new(AtomicBool::new(false)));
    let stop = Arc::clone(&is_over);
    let writing = tokio::spawn(async move {
        let mut count = 0;
        while !stop.load(Ordering::SeqCst) {
            count += 1;
            let reply = site.get("/").await;
            assert_eq!((reply.status, reply.text()), (200, &*count.to_string()));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        count
    });
    // Every kind of connection is there.
    eventually("renewals of the lease", async || {
        let said: Ownership = serde_json::from_str(&pod.asked("/ownership").await.1).unwrap();
        (said.renewals > Some(2)).then_some(())
    })
    .await;
    server.run("ALTER ROLE app PASSWORD 's3cret-2'").await;
    fs::write(pod.path("url"), url("s3cret-3")).unwrap();
    let told = async |what: &str| {
        eventually(what, async || pod.log().contains(what).then_some(())).await;
    };
    told("cannot be used: the old one stays").await;
    fs::write(pod.path("url"), url("s3cret-2")).unwrap();
    told("new connections use it").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    is_over.store(true, Ordering::SeqCst);
    let count = writing
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", pod.log()));
    assert!(count > 100, "{count}");
    assert!(!pod.log().contains("s3cret"));
    let running = pod.process.as_mut().unwrap().try_wait();
    assert!(running.unwrap().is_none(), "{}", pod.log());
}
