//! `portside dev --pods`: processes that share the workers, behind a gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use hyper::Method;
use portside_store::testing::PostgresServer;
use portside_testkit::Site;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

use crate::found::rooms;
use crate::harness::{App, eventually};
use crate::{counter, errors, folder, portside, write};

/// Each path has a counter of its own.
const SERVER: &str = r#"export default {
  async fetch(request) {
    const { port } = new ServerlessWorker("./counter.js", new URL(request.url).pathname);
    const { promise, resolve, reject } = Promise.withResolvers();
    port.onmessage = ({ data }) => resolve(data);
    port.onclose = ({ code }) => reject(new Error(code));
    port.postMessage("count");
    return Response.json(await promise);
  },
};
"#;

fn counters() -> TempDir {
    folder(&[("server.js", SERVER), ("counter.js", &counter("one"))])
}

/// On a database of its own.
async fn serve(folder: TempDir, pods: &str) -> App {
    let store = PostgresServer::shared().database().await;
    App::serve(folder, &["--pods", pods, "--store", &store]).await
}

/// Who ask while something happens.
const CLIENTS: usize = 6;

/// What clients were told while something happened: the answers, by counter, in their order.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    counts: Mutex<BTreeMap<String, Vec<u64>>>,
}

impl Load {
    /// Asks some counters again and again while `what` happens, and for some answers of each after that.
    ///
    /// # Panics
    /// A request fails, or a counter loses or repeats a number.
    async fn during(app: &App, what: impl Future<Output = ()>) -> usize {
        let load = Self::default();
        let clients = join_all((0..CLIENTS).map(|n| load.ask(app, format!("/c{n}"))));
        let happening = async {
            load.answers(3).await;
            what.await;
            load.answers(3).await;
            load.over.store(true, Ordering::Relaxed);
        };
        tokio::join!(clients, happening);
        let counts = load.counts.into_inner().unwrap();
        for (path, counts) in &counts {
            let wanted: Vec<u64> = (counts[0]..).take(counts.len()).collect();
            assert_eq!(*counts, wanted, "{path}");
        }
        counts.values().map(Vec::len).sum()
    }

    async fn ask(&self, app: &App, path: String) {
        while !self.over.load(Ordering::Relaxed) {
            let reply = app.get(&path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text());
            let count = reply.json()["count"].as_u64().unwrap();
            let mut counts = self.counts.lock().unwrap();
            counts.entry(path.clone()).or_default().push(count);
        }
    }

    /// Waits until each counter has answered so often again.
    async fn answers(&self, count: usize) {
        let now = || self.counts.lock().unwrap().clone();
        let before = now();
        eventually("more answers", async || {
            let now = now();
            let has = |path: &str| now.get(path).map_or(0, Vec::len);
            let had = |path: &str| before.get(path).map_or(0, Vec::len);
            let mut all = (0..CLIENTS).map(|n| format!("/c{n}"));
            all.all(|path| has(&path) >= had(&path) + count)
                .then_some(())
        })
        .await;
    }
}

/// The pods in whose log a counter has counted.
fn counting_pods(output: &str) -> BTreeSet<&str> {
    let lines = output.lines().filter(|line| line.ends_with("] counted"));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(pod, _)| pod)
        .collect()
}

/// The processes that this one has started and that run, the newest last.
fn children(parent: u32) -> Vec<i32> {
    let running = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name, in brackets, may have anything in it.
            let (_, fields) = stat.rsplit_once(") ")?;
            let mut fields = fields.split(' ');
            let (state, of) = (fields.next()?, fields.next()?);
            (of == parent.to_string() && state != "Z").then_some(pid)
        });
    let mut running: Vec<i32> = running.collect();
    running.sort_unstable();
    running
}

fn runs(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with('Z'))
    })
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

async fn gone(pids: &[i32]) {
    eventually("the end of all processes", async || {
        (!pids.iter().any(|&pid| runs(pid))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn pods_share_the_workers_and_new_code_takes_over_without_a_failed_request() {
    let mut app = serve(counters(), "3").await;
    app.wrote("portside: 3 pods share it").await;
    let each = async |pods: [&str; 3]| {
        eventually("workers in each pod", async || {
            for n in 0..24 {
                assert_eq!(app.get(&format!("/c{n}")).await.status, 200);
            }
            let output = app.output();
            let counting = counting_pods(&output);
            pods.iter().all(|pod| counting.contains(pod)).then_some(())
        })
        .await;
    };
    each(["pod-1", "pod-2", "pod-3"]).await;
    // Each request is told once, by the pod that answered it, with the worker wherever that is.
    app.get("/once").await;
    let told = "ms counter.js#/once\n";
    app.wrote(told).await;
    assert_eq!(app.output().matches(told).count(), 1);

    let answers = Load::during(&app, async {
        write(app.folder(), "counter.js", &counter("two"));
        app.wrote("portside: reloaded").await;
        assert_eq!(app.get("/other").await.json()["version"], "two");
    })
    .await;
    assert!(answers > CLIENTS * 6);
    app.wrote("pod-4 ").await;

    // Broken code, of both kinds, replaces nothing.
    let broken = "portside: not reloaded, the previous code still runs";
    write(app.folder(), "counter.js", "\nexport default {{\n");
    app.wrote("counter.js:2:17: ").await;
    app.wrote(broken).await;
    let before = app.output().len();
    write(app.folder(), "counter.js", &counter("three"));
    write(app.folder(), "server.js", "\nnull.x;\nexport default {};");
    eventually("the reason", async || {
        let output = app.output();
        let said = &output[before..];
        (said.contains("server.js:2:6") && said.contains(broken)).then_some(())
    })
    .await;
    assert_eq!(
        app.get("/other").await.json(),
        json!({ "count": 2, "version": "two" })
    );
    app.stop().await;
}

/// What a pod's line says it is.
fn places(output: &str, what: &str) -> Vec<Site> {
    let lines = output
        .lines()
        .filter(|line| line.contains("a pod takes part"));
    let places = lines.filter_map(|line| line.split_once(what)?.1.split(' ').next());
    places.map(Site::at).collect()
}

#[tokio::test]
async fn each_pod_says_where_it_is_and_counts_what_its_requests_reach() {
    let store = PostgresServer::shared().database().await;
    let options = ["--pods", "2", "--store", &store];
    let app = App::serve_with(counters(), &options, "error,portside=info").await;
    app.wrote("portside: 2 pods share it").await;
    let output = app.output();
    let pods = places(&output, "http=")
        .into_iter()
        .zip(places(&output, "admin="));
    let pods: Vec<_> = pods.collect();
    assert_eq!(pods.len(), 2, "{output}");
    for (http, admin) in &pods {
        // Each has half of the workers, once they have shared them.
        eventually("links to workers of both pods", async || {
            for n in 0..24 {
                assert_eq!(http.get(&format!("/c{n}")).await.status, 200);
            }
            let metrics = admin.get("/metrics").await.text().to_owned();
            let count = |target: &str| -> u64 {
                let name = format!("portside_sidecar_links_opened_total{{target=\"{target}\"}} ");
                let line = metrics.lines().find_map(|line| line.strip_prefix(&*name));
                line.expect(&name).parse().unwrap()
            };
            (count("here") > 0 && count("elsewhere") > 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_pod_that_is_killed_loses_nothing_and_another_takes_its_place() {
    let app = serve(counters(), "3").await;
    let pods = children(app.pid());
    assert_eq!(pods.len(), 3);
    // Clients whose requests it had are told so: they may not be repeated.
    let post = async || app.request(Method::POST, "/posted", &[], "").await;
    assert_eq!(post().await.json()["count"], 1);
    kill(pods[1]);
    app.wrote("portside: pod-2 ended (signal: 9 (SIGKILL)): another one takes its place")
        .await;
    eventually("an answer", async || {
        (post().await.status == 200).then_some(())
    })
    .await;
    assert!(post().await.json()["count"].as_u64().unwrap() >= 3);
    eventually("a pod in its place", async || {
        (children(app.pid()).len() == 3).then_some(())
    })
    .await;
    // A path that was asked before may go to the pod that it used.
    let mut path = 0;
    eventually("the new pod to be asked", async || {
        path += 1;
        assert_eq!(app.get(&format!("/new{path}")).await.status, 200);
        app.output().contains("pod-4 ").then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_however_it_ends() {
    let mut app = serve(counters(), "2").await;
    app.get("/a").await;
    let mut pods = children(app.pid());
    app.stop().await;
    assert!(!pods.iter().any(|&pid| runs(pid)), "Ctrl-C waits for them");

    app.run().await;
    assert_eq!(app.get("/a").await.json()["count"], 2);
    pods = children(app.pid());
    assert_eq!(pods.len(), 2);
    app.kill().await;
    gone(&pods).await;
}

#[tokio::test]
async fn objects_assets_variables_crons_and_alarms_are_there() {
    let folder = rooms();
    write(folder.path(), "public/page.txt", "a page\n");
    let file = folder.path().join("wrangler.jsonc");
    let text = fs::read_to_string(&file).unwrap();
    let assets = r#""assets": { "directory": "public" }, "triggers""#;
    fs::write(&file, text.replace("\"triggers\"", assets)).unwrap();
    let app = serve(folder, "2").await;
    app.wrote("  variables  GREETING, TOKEN").await;
    assert_eq!(app.get("/page.txt").await.text(), "a page\n");
    for n in 0..8 {
        assert_eq!(app.get(&format!("/room{n}")).await.text(), "1");
    }
    for n in 0..8 {
        // Whichever pod is asked first, the one with the object runs it.
        let alarm = format!("/cdn-cgi/handler/alarm?class=Room&name=room{n}");
        let reply = app.get(&alarm).await;
        assert_eq!((reply.status, reply.text()), (200, "ok"), "{alarm}");
        assert_eq!(app.get(&alarm).await.status, 404, "it has come");
    }
    let cron = app.get("/cdn-cgi/handler/scheduled?cron=a&time=7").await;
    assert_eq!(cron.text(), "ok");
    app.wrote(" ran 1 for a at 7\n").await;
    assert!(!app.output().contains(" 421 "));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let folder = counters();
    for (args, message) in [
        (&["--inspect"][..], "leave --pods out to debug"),
        (&["--inspect-brk=0"], "leave --pods out to debug"),
        (
            &["--store", "sqlite:x"],
            "names sqlite: name a postgres:// URL",
        ),
        (&["--store", "postgres://127.0.0.1:1/x"], "storage: "),
    ] {
        let args = [&["dev", "--port", "0", "--pods", "2"], args].concat();
        let output = portside(folder.path(), &args).await;
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(errors(&output).contains(message), "{}", errors(&output));
    }
    for count in ["0", "33", "many"] {
        let output = portside(folder.path(), &["dev", "--pods", count]).await;
        assert_eq!(output.status.code(), Some(2), "{count}");
    }
    if is_root() {
        let output = portside(folder.path(), &["dev", "--port", "0", "--pods", "2"]).await;
        assert_eq!(output.status.code(), Some(1));
        let said = errors(&output);
        assert!(said.contains("Postgres does not run as root"), "{said}");
        assert!(said.contains("--store postgres://"), "{said}");
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A folder for somebody who is not root.
fn unprivileged(folder: &Path) -> Option<(u32, u32)> {
    const NOBODY: u32 = 65534;
    let group = folder.metadata().unwrap().gid();
    is_root().then(|| {
        chown(folder, Some(NOBODY), None).unwrap();
        (NOBODY, group)
    })
}

#[tokio::test]
async fn without_a_store_there_is_a_postgres_that_keeps_the_state_and_ends_with_it() {
    let folder = counters();
    let user = unprivileged(folder.path());
    let mut app = App::serve_as(user, folder, &["--pods", "2"]).await;
    assert_eq!(app.get("/a").await.json()["count"], 1);
    let processes = children(app.pid());
    assert_eq!(processes.len(), 3, "two pods, and who has Postgres");
    let server = children(processes[0].unsigned_abs());
    assert!(!server.is_empty());

    let options = [
        "dev",
        "--port",
        "0",
        "--pods",
        "2",
        "--store",
        "postgres://x/x",
    ];
    let output = portside(app.folder(), &options).await;
    assert!(errors(&output).contains("another portside dev --pods runs this folder"));

    app.stop().await;
    assert!(!processes.iter().chain(&server).any(|&pid| runs(pid)));
    app.run().await;
    assert_eq!(app.get("/a").await.json()["count"], 2);
    let processes = children(app.pid());
    let server = children(processes[0].unsigned_abs());
    app.kill().await;
    gone(&processes).await;
    gone(&server).await;
    app.run().await;
    assert_eq!(app.get("/a").await.json()["count"], 3);
}
