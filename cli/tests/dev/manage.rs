//! `portside workers`, `portside state`, `portside logs` and `portside exec`, against `portside dev`.

use std::process::{Output, Stdio};
use std::time::Duration;

use portside_store::testing::PostgresServer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::harness::{App, within};
use crate::{counter, errors, folder, portside};

/// Each path has a counter of its own.
const SERVER: &str = r#"export default {
  async fetch(request) {
    const { port } = new ServerlessWorker("./counter.js", new URL(request.url).pathname.slice(1));
    const { promise, resolve } = Promise.withResolvers();
    port.onmessage = ({ data }) => resolve(data);
    port.postMessage("count");
    return Response.json(await promise);
  },
};
"#;

pub fn counters() -> TempDir {
    folder(&[("server.js", SERVER), ("counter.js", &counter("one"))])
}

/// What a command says of the application; it must succeed.
pub async fn ask(app: &App, arguments: &[&str]) -> String {
    let output = run(app, arguments).await;
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        errors(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub async fn run(app: &App, arguments: &[&str]) -> Output {
    let url = format!("http://{}", app.address());
    let command = [arguments, &["--url", &url]].concat();
    portside(app.folder(), &command).await
}

/// The command fails, and says this.
pub async fn fails(app: &App, arguments: &[&str], why: &str) {
    let output = run(app, arguments).await;
    assert!(!output.status.success(), "{arguments:?}");
    assert!(
        errors(&output).contains(why),
        "{arguments:?}: {}",
        errors(&output)
    );
}

pub async fn json(app: &App, arguments: &[&str]) -> Value {
    let said = ask(app, &[arguments, &["-o", "json"]].concat()).await;
    serde_json::from_str(&said).unwrap()
}

/// Lists, shows, puts to sleep, changes and deletes workers of an application that has counted `names`, each once.
async fn are_managed(app: &App, names: &[&str]) {
    let table = ask(app, &["workers", "list"]).await;
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), names.len() + 1, "{table}");
    assert!(
        rows[0].starts_with("WORKER") && rows[0].contains("STATE"),
        "{table}"
    );
    for name in names {
        let row = rows
            .iter()
            .find(|row| row.starts_with(&format!("counter.js#{name} ")));
        assert!(row.unwrap().contains(" awake "), "{table}");
    }
    let worker = format!("counter.js#{}", names[0]);
    let shown = json(app, &["workers", "get", &worker]).await;
    assert_eq!(
        (&shown["state"], &shown["keys"]),
        (&json!("awake"), &json!(1))
    );
    let said = ask(
        app,
        &["exec", &worker, "[name, await storage.get('count')]"],
    )
    .await;
    assert_eq!(said, format!("[ \"{}\", 1 ]\n", names[0]));
    let thrown = run(app, &["exec", &worker, "missing"]).await;
    assert!(!thrown.status.success());
    let said = errors(&thrown);
    assert!(said.contains("missing is not defined"), "{said}");
    let by_id = json(app, &["workers", "get", shown["id"].as_str().unwrap()]).await;
    assert_eq!(by_id["address"], json!(worker));
    assert!(
        ask(app, &["workers", "get", &worker, "-o", "yaml"])
            .await
            .contains("state: awake")
    );

    ask(app, &["workers", "sleep", &worker]).await;
    let asleep = json(app, &["workers", "list", "--state", "asleep"]).await;
    let addresses: Vec<_> = asleep["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["address"])
        .collect();
    assert_eq!(addresses, [&json!(worker)]);
    ask(app, &["workers", "wake", &worker]).await;

    assert_eq!(ask(app, &["state", "get", &worker, "count"]).await, "1\n");
    ask(app, &["state", "put", &worker, "count", "41"]).await;
    assert_eq!(app.get(&format!("/{}", names[0])).await.json()["count"], 42);
    ask(
        app,
        &[
            "state",
            "put",
            &worker,
            "note",
            r#"{"$date": "2026-01-02T03:04:05Z"}"#,
        ],
    )
    .await;
    let keys = ask(app, &["state", "list", &worker]).await;
    let rows: Vec<Vec<&str>> = keys
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["KEY", "BYTES", "VALUE"]);
    assert_eq!((rows[1][0], rows[1][2]), ("count", "42"));
    assert_eq!(
        (rows[2][0], rows[2][2]),
        ("note", r#"{"$date":"2026-01-02T03:04:05Z"}"#)
    );
    ask(app, &["state", "delete", &worker, "note"]).await;
    let failed = run(app, &["state", "get", &worker, "note"]).await;
    assert!(
        errors(&failed).contains("there is no key \"note\""),
        "{}",
        errors(&failed)
    );

    ask(app, &["workers", "delete", &worker]).await;
    assert_eq!(app.get(&format!("/{}", names[0])).await.json()["count"], 1);
}

/// A command that goes on, and what it says, line by line.
pub struct Following {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Following {
    pub fn start(app: &App, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portside"))
            .args(arguments)
            .args(["--url", &format!("http://{}", app.address())])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            lines,
            _child: child,
        }
    }

    /// The next line, if there is one within a second.
    pub async fn soon(&mut self) -> Option<String> {
        let line = tokio::time::timeout(Duration::from_secs(1), self.lines.next_line()).await;
        line.ok()?.unwrap()
    }

    /// The next line that has this in it; the ones before are not looked at.
    pub async fn find(&mut self, text: &str) -> String {
        let found = async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line = line.expect("it goes on until it is ended");
                if line.contains(text) {
                    return line;
                }
            }
        };
        within(text, found).await
    }
}

/// Follows workers that wake and sleep, and what they log, of an application that has counted `name`. They may move where pods are new
/// that get their share.
async fn are_followed(app: &App, name: &str, may_move: bool) {
    let first = format!("counter.js#{name}");
    let mut watch = Following::start(app, &["workers", "list", "--watch"]);
    watch.find("WORKER").await;
    assert!(watch.find(&first).await.contains("awake"));
    let mut log = Following::start(app, &["logs", "--follow", "--tail", "1"]);
    log.find("counted").await;

    for worker in ["new-1", "new-2", "new-3"] {
        app.get(&format!("/{worker}")).await;
        let address = format!("counter.js#{worker}");
        assert!(watch.find(&address).await.contains("awake"));
        log.find(&format!("[{address}] counted")).await;
        ask(app, &["workers", "sleep", &address]).await;
        assert!(watch.find(&address).await.contains("asleep"));
        ask(app, &["workers", "wake", &address]).await;
        assert!(watch.find(&address).await.contains("awake"));
        ask(app, &["workers", "delete", &address]).await;
        watch.find(&address).await;
        let logged = async {
            loop {
                let log = ask(app, &["logs", &address]).await;
                if !log.is_empty() || !may_move {
                    return log;
                }
                // It has left its lines behind.
                app.get(&format!("/{worker}")).await;
            }
        };
        let log = within("what it has logged", logged).await;
        assert_eq!(log, format!("[{address}] counted\n"));
    }
    let output = run(app, &["logs", "nobody"]).await;
    assert!(errors(&output).contains("SCRIPT#NAME"), "{output:?}");
}

#[tokio::test]
async fn workers_and_their_log_are_followed() {
    let app = App::serve(counters(), &[]).await;
    app.get("/a").await;
    are_followed(&app, "a", false).await;
}

#[tokio::test]
async fn workers_of_all_pods_and_their_log_are_followed() {
    let store = PostgresServer::shared().database().await;
    let app = App::serve(counters(), &["--pods", "3", "--store", &store]).await;
    app.get("/a").await;
    are_followed(&app, "a", true).await;
}

#[tokio::test]
async fn programs_that_watch_are_told_that_a_worker_is_gone() {
    let app = App::serve(counters(), &[]).await;
    app.get("/first").await;
    let mut watch = Following::start(&app, &["workers", "list", "--watch", "-o", "json"]);
    // The end of the list; what comes then is a line each.
    watch.find("\"bytes\"").await;
    app.get("/a").await;
    let worker = "counter.js#a";
    let mut next = async || -> Value {
        let line = watch.find("{\"id\"").await;
        serde_json::from_str(&line).unwrap()
    };
    let awake = next().await;
    assert_eq!(
        (&awake["address"], &awake["state"]),
        (&json!(worker), &json!("awake"))
    );
    ask(&app, &["workers", "sleep", worker]).await;
    let asleep = next().await;
    assert_eq!(
        (&asleep["state"], &asleep["gone"]),
        (&json!("asleep"), &Value::Null)
    );
    ask(&app, &["workers", "delete", worker]).await;
    assert_eq!(next().await["gone"], json!(true));
}

#[tokio::test]
async fn values_of_any_size_are_shown_and_numbers_are_numbers() {
    let app = App::serve(counters(), &[]).await;
    let worker = "counter.js#x";
    let wide = format!("\"{}\"", "x".repeat(70_000));
    ask(&app, &["state", "put", worker, "wide", &wide]).await;
    let shown = ask(&app, &["state", "get", worker, "wide"]).await;
    assert_eq!(shown, format!("{wide}\n"));
    let list = ask(&app, &["state", "list", worker]).await;
    assert!(list.contains(&wide), "{} characters", list.len());

    let value = r#"{"a": 1, "b": [0.5, {"c": -3}]}"#;
    ask(&app, &["state", "put", worker, "nested", value]).await;
    let yaml = ask(&app, &["state", "get", worker, "nested", "-o", "yaml"]).await;
    assert!(!yaml.contains("serde_json"), "{yaml}");
    for part in ["a: 1\n", "- 0.5\n", "c: -3\n"] {
        assert!(yaml.contains(part), "{yaml}");
    }

    for (given, shown) in [("1e999", "Infinity"), ("-1e999", "-Infinity")] {
        ask(&app, &["state", "put", worker, "large", given]).await;
        let entry = json(&app, &["state", "get", worker, "large"]).await;
        assert_eq!(entry["value"], json!({"$number": shown}), "{given}");
        let read = ask(&app, &["exec", worker, "await storage.get('large')"]).await;
        assert_eq!(read, format!("{shown}\n"));
    }
}

#[tokio::test]
async fn a_stack_is_shown_in_lines() {
    let worker =
        "export const fails = () => {\n  throw new Error('no\\u001b');\n};\nexport default {};\n";
    let files = [("server.js", SERVER), ("counter.js", worker)];
    let app = App::serve(folder(&files), &[]).await;
    let thrown = run(&app, &["exec", "counter.js#x", "module.fails()"]).await;
    let said = errors(&thrown);
    let begin = "portside: Error: no\\u{1b}\n    at ";
    assert!(
        said.starts_with(begin) && said.contains("counter.js:2:"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_worker_s_name_makes_no_lines_of_the_log() {
    let app = App::serve(counters(), &[]).await;
    app.get("/first").await;
    let name = "x\n\u{1b}[2J[server] forged";
    let worker = format!("counter.js#{name}");
    ask(&app, &["exec", &worker, "console.log('said')"]).await;
    let log = ask(&app, &["logs"]).await;
    let line = "[counter.js#x\\n\\u{1b}[2J[server] forged] said\n";
    assert!(log.contains(line), "{log:?}");
    app.wrote(line).await;
}

#[tokio::test]
async fn workers_are_managed_from_another_terminal() {
    let app = App::serve(counters(), &[]).await;
    assert_eq!(json(&app, &["workers", "list"]).await, json!({"items": []}));
    for name in ["a", "b"] {
        app.get(&format!("/{name}")).await;
    }
    are_managed(&app, &["a", "b"]).await;
}

#[tokio::test]
async fn workers_of_all_pods_are_managed() {
    let store = PostgresServer::shared().database().await;
    let app = App::serve(counters(), &["--pods", "3", "--store", &store]).await;
    let names: Vec<String> = (0..12).map(|number| format!("w{number}")).collect();
    for name in &names {
        assert_eq!(app.get(&format!("/{name}")).await.status, 200);
    }
    // Which has to come from each pod.
    let log = ask(&app, &["logs"]).await;
    for name in &names {
        let line = format!("[counter.js#{name}] counted");
        assert_eq!(log.matches(&line).count(), 1, "{name}: {log}");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    are_managed(&app, &names).await;
}

#[tokio::test]
async fn a_worker_is_moved_to_another_pod() {
    let store = PostgresServer::shared().database().await;
    let app = App::serve(counters(), &["--pods", "3", "--store", &store]).await;
    let worker = "counter.js#ann";
    let mut count = 0;
    let mut pod = async || {
        count += 1;
        assert_eq!(app.get("/ann").await.json()["count"], count);
        let shown = json(&app, &["workers", "get", worker]).await;
        shown["pod"].as_str().unwrap().to_owned()
    };
    let first = pod().await;
    // Pods that are new take what is their share, so it may be moving already.
    let moved = async || loop {
        let output = run(&app, &["workers", "move", worker]).await;
        if output.status.success() {
            return String::from_utf8(output.stdout).unwrap();
        }
    };
    let said = within("a pod that takes it", moved()).await;
    let second = said
        .trim()
        .strip_prefix("counter.js#ann moved to ")
        .unwrap();
    assert_ne!(second, first);
    assert_eq!(pod().await, second);
    let said = ask(&app, &["workers", "move", worker, "--to", &first]).await;
    assert_eq!(said, format!("counter.js#ann moved to {first}\n"));
    assert_eq!(pod().await, first);
    let failed = run(&app, &["workers", "move", worker, "--to", "nobody"]).await;
    assert!(
        errors(&failed).contains("no pod nobody runs") && errors(&failed).contains(second),
        "{}",
        errors(&failed)
    );
}

#[tokio::test]
async fn what_cannot_be_is_said_with_the_next_step() {
    let app = App::serve(counters(), &[]).await;
    for (arguments, why) in [
        (
            &["workers", "get", "counter.js#x"][..],
            "not stored, and not awake",
        ),
        (&["workers", "get", "else.js#x"], "no script and no class"),
        (
            &["state", "put", "counter.js#x", "k", "text"],
            "a text is given in quotes",
        ),
        (
            &["workers", "move", "counter.js#x"],
            "there is no other pod",
        ),
        (
            &["state", "sql", "counter.js#x", "SELECT 1"],
            "only Durable Objects have SQL",
        ),
    ] {
        fails(&app, arguments, why).await;
    }
    let nobody = portside(
        app.folder(),
        &["workers", "list", "--url", "http://127.0.0.1:1"],
    )
    .await;
    assert!(
        errors(&nobody).contains("start the application with portside dev"),
        "{}",
        errors(&nobody)
    );
    // Pages of elsewhere that a browser of this machine shows may not ask.
    let headers = [("origin", "https://elsewhere.example")];
    for path in [
        "/cdn-cgi/portside/workers",
        "/cdn-cgi/portside/workers/counter.js%23x",
    ] {
        let reply = app.request(hyper::Method::GET, path, &headers, "").await;
        assert_eq!(reply.status, 403, "{path}");
    }
}

#[tokio::test]
async fn a_value_is_read_from_standard_input() {
    let app = App::serve(counters(), &[]).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_portside"));
    command.args(["state", "put", "counter.js#in", "count", "-"]);
    command.args(["--url", &format!("http://{}", app.address())]);
    let file = app.folder().join("value.json");
    std::fs::write(&file, "6").unwrap();
    command.stdin(std::fs::File::open(&file).unwrap());
    let status = within("the end", command.status()).await.unwrap();
    assert!(status.success());
    assert_eq!(app.get("/in").await.json()["count"], 7);
}
