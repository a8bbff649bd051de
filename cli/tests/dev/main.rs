//! `portside dev`, `init`, `types`, `check` and `bundle` as their users meet them.
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and helpers outside of #[test] are tests too"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its part of it"
)]
#[path = "../harness/mod.rs"]
mod harness;

mod assets;
mod found;
mod init;
mod inspect;
mod manage;
mod pods;
mod seen;
mod types;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use harness::{App, Socket, eventually, within};
use hyper::Method;
use portside_crds::sidecar::BETWEEN_GATEWAY_AND_POD;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

/// Longer than changes of files are gathered. A test that waits too short passes; it cannot fail for that.
const SETTLED: Duration = Duration::from_millis(400);

/// Asks the worker and waits for its answer; `/socket` connects a WebSocket to it.
const SERVER: &str = r#"export default {
  async fetch(request) {
    const url = new URL(request.url);
    const { port } = new ServerlessWorker("./counter.js", "c");
    if (url.pathname === "/socket") {
      const [client, server] = Object.values(new WebSocketPair());
      server.accept();
      port.onmessage = ({ data }) => server.send(JSON.stringify(data));
      port.postMessage("count");
      return new Response(null, { status: 101, webSocket: client });
    }
    const { promise, resolve } = Promise.withResolvers();
    port.onmessage = ({ data }) => resolve(data);
    port.postMessage("count");
    return Response.json(await promise);
  },
};
"#;

fn counter(version: &str) -> String {
    format!(
        r#"let count = (await storage.get("count")) ?? 0;
export default {{
  connect({{ ports: [port] }}) {{
    port.onmessage = async () => {{
      await storage.put("count", ++count);
      console.log("counted");
      port.postMessage({{ count, version: "{version}" }});
    }};
  }},
}};
"#
    )
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        write(folder.path(), path, text);
    }
    folder
}

fn write(folder: &Path, path: &str, text: &str) {
    let file = folder.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

fn counting() -> TempDir {
    folder(&[("server.js", SERVER), ("counter.js", &counter("one"))])
}

/// Runs a command that ends by itself.
async fn portside(folder: &Path, args: &[&str]) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_portside"))
        .args(args)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .kill_on_drop(true)
        .output();
    within(&format!("the end of portside {args:?}"), command)
        .await
        .unwrap()
}

fn errors(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[tokio::test]
async fn changed_code_takes_over_and_state_stays() {
    let app = App::serve(counting(), &[]).await;
    let count = async || app.get("/").await.json();
    assert_eq!(count().await, json!({ "count": 1, "version": "one" }));
    let mut socket: Socket = app.socket("/socket").await;
    assert_eq!(socket.receive().await["count"], 2);

    write(app.folder(), "counter.js", &counter("two"));
    app.wrote("portside: reloaded").await;
    socket.ended().await;
    assert_eq!(count().await, json!({ "count": 3, "version": "two" }));
    let mut again = app.socket("/socket").await;
    assert_eq!(again.receive().await["count"], 4);
    app.wrote("[counter.js#c] counted").await;
}

#[tokio::test]
async fn changes_in_new_folders_are_seen_and_in_folders_that_replace_others() {
    let app = App::serve(counting(), &[]).await;
    let becomes = async |version: &str| {
        eventually(version, async || {
            (app.get("/").await.json()["version"] == version).then_some(())
        })
        .await;
    };
    write(app.folder(), "lib/counter.js", &counter("two"));
    let moved = "export { default } from \"./lib/counter.js\";";
    write(app.folder(), "counter.js", moved);
    becomes("two").await;
    write(app.folder(), "lib/counter.js", &counter("three"));
    becomes("three").await;

    write(app.folder(), "other/counter.js", &counter("four"));
    let lib = app.folder().join("lib");
    fs::remove_dir_all(&lib).unwrap();
    fs::rename(app.folder().join("other"), &lib).unwrap();
    becomes("four").await;
    write(app.folder(), "lib/counter.js", &counter("five"));
    becomes("five").await;
}

#[tokio::test]
async fn a_broken_change_is_located_and_the_old_code_goes_on() {
    let app = App::serve(counting(), &[]).await;
    write(app.folder(), "counter.js", "\nexport default {{\n");
    app.wrote("counter.js:2:17: ").await;
    app.wrote("portside: not reloaded, the previous code still runs")
        .await;
    assert_eq!(app.get("/").await.json()["version"], "one");

    write(app.folder(), "counter.js", &counter("two"));
    app.wrote("portside: reloaded").await;
    assert_eq!(app.get("/").await.json()["version"], "two");
}

#[tokio::test]
async fn a_server_that_throws_while_it_loads_replaces_nothing() {
    let app = App::serve(counting(), &[]).await;
    assert_eq!(app.get("/").await.json()["version"], "one");
    write(app.folder(), "counter.js", &counter("two"));
    write(app.folder(), "server.js", "\nnull.x;\nexport default {};");
    app.wrote("server.js:2:6").await;
    app.wrote("portside: not reloaded, the previous code still runs")
        .await;
    assert_eq!(app.get("/").await.json()["version"], "one");

    write(app.folder(), "server.js", SERVER);
    app.wrote("portside: reloaded").await;
    assert_eq!(app.get("/").await.json()["version"], "two");
}

#[tokio::test]
async fn stack_traces_lead_to_the_sources() {
    let server = r#"import { fail } from "./lib/fail.ts";
import twice from "twice";

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname }: URL = new URL(request.url);
    if (pathname === "/fail") {
      fail("asked to");
    }
    console.warn(`two\nlines`);
    return new Response(String(twice(21)));
  },
};
"#;
    let fail = r#"interface Unused {
  gone: boolean;
}

export function fail(why: string): never {
  throw new TypeError(why);
}
"#;
    let package = r#"{ "name": "twice", "version": "1.0.0", "type": "module", "main": "main.js" }"#;
    let app = App::serve(
        folder(&[
            ("server.ts", server),
            ("lib/fail.ts", fail),
            ("node_modules/twice/package.json", package),
            ("node_modules/twice/main.js", "export default (x) => 2 * x;"),
        ]),
        &[],
    )
    .await;
    assert_eq!(app.get("/").await.text(), "42");
    app.wrote("[server] two\n[server] lines\n").await;

    let reply = app.get("/fail").await;
    assert_eq!(reply.status, 500);
    assert_eq!(
        reply.text(),
        "TypeError: asked to\n    at fail (lib/fail.ts:6:9)\n    at Object.fetch (server.ts:8:7)"
    );
    app.wrote("[server] fetch(): TypeError: asked to\n[server]     at fail (lib/fail.ts:6:9)\n")
        .await;
    let output = app.output();
    assert!(!output.contains("ext:") && !output.contains("file://") && !output.contains('\x1b'));
}

#[tokio::test]
async fn a_module_that_throws_is_shown_and_can_be_repaired() {
    let app = App::serve(
        folder(&[("server.js", "\nnull.x;\nexport default {};")]),
        &[],
    )
    .await;
    let reply = app.get("/").await;
    assert_eq!(reply.status, 500);
    assert!(
        reply.text().ends_with("\n    at server.js:2:6"),
        "{}",
        reply.text()
    );
    let works = "export default { fetch: () => new Response('works') };";
    write(app.folder(), "server.js", works);
    app.wrote("portside: reloaded").await;
    assert_eq!(app.get("/").await.text(), "works");
}

#[tokio::test]
async fn the_command_line_outranks_the_file_and_the_file_the_manifest() {
    let manifest = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata:\n  name: env\n\
                    spec:\n  code:\n    main: server.js\n  env:\n    - { name: A, value: manifest }\n\
                    \x20   - { name: B, value: manifest }\n    - { name: C, value: manifest }\n";
    let folder = folder(&[
        (
            "server.js",
            "export default { fetch: (_, env) => Response.json(env) };",
        ),
        ("class.yaml", manifest),
        ("vars.env", "B=file\nC='file'\n"),
    ]);
    let file = folder.path().join("vars.env");
    let options = ["--env-file", file.to_str().unwrap(), "--var", "C=line=1"];
    let app = App::serve(folder, &options).await;
    assert_eq!(
        app.get("/").await.json(),
        json!({ "A": "manifest", "B": "file", "C": "line=1" })
    );
}

#[tokio::test]
async fn state_is_where_the_store_option_says() {
    let store = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", store.path().join("here.sqlite").display());
    let mut first = App::serve(counting(), &["--store", &url]).await;
    assert_eq!(first.get("/").await.json()["count"], 1);
    assert!(!first.folder().join(".portside").exists());

    let used = portside(first.folder(), &["dev", "--port", "0", "--store", &url]).await;
    assert_eq!(used.status.code(), Some(1));
    assert!(errors(&used).contains("here.sqlite is in use by another process"));

    first.kill().await;
    first.run().await;
    assert_eq!(first.get("/").await.json()["count"], 2);
    first.stop().await;
    first.run().await;
    assert_eq!(first.get("/").await.json()["count"], 3);
}

#[tokio::test]
async fn ctrl_c_waits_for_requests_and_a_second_one_does_not() {
    let server = "export default { async fetch() { console.log('asked'); await new Promise((done) => \
                  setTimeout(done, 1000)); return new Response('done'); } };";
    let mut app = App::serve(folder(&[("server.js", server)]), &[]).await;
    let (reply, ()) = tokio::join!(app.get("/"), async {
        app.wrote("asked").await;
        app.interrupt();
    });
    assert_eq!(reply.text(), "done");
    assert_eq!(app.ended().await.code(), Some(0));

    let server =
        "export default { fetch() { console.log('asked'); return new Promise(() => {}); } };";
    let mut app = App::serve(folder(&[("server.js", server)]), &[]).await;
    let mut client = tokio::net::TcpStream::connect(app.address()).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", app.address());
    tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes())
        .await
        .unwrap();
    app.wrote("asked").await;
    app.interrupt();
    app.wrote("portside: shutting down").await;
    app.interrupt();
    assert_eq!(app.ended().await.code(), Some(130));
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let good = counting();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let none = tempfile::tempdir().unwrap();
    let broken = folder(&[("server.js", "export default {\n  fetch( {\n};\n")]);
    let file = ["dev", "--port", "0", "--env-file", "none.env"];
    for (folder, args, code, message) in [
        (
            &good,
            &["dev", "--port", &port][..],
            1,
            "choose another with --port",
        ),
        (&good, &["dev", "nowhere"], 1, "there is no folder nowhere"),
        (
            &good,
            &["dev", "--var", "secret"],
            1,
            "it must have the form KEY=VALUE",
        ),
        (&good, &file, 1, "none.env cannot be read"),
        (
            &good,
            &["dev", "--store", "mysql://x"],
            1,
            "the store's URL must begin with sqlite:",
        ),
        (
            &none,
            &["dev", "--host", "not a name"],
            2,
            "an IP address or a name of this machine is wanted, such as 127.0.0.1, 0.0.0.0 or localhost",
        ),
        (
            &none,
            &["dev", "--deny-network", "1.2.3.4/99"],
            2,
            "the prefix of an IPv4 network is at most 32",
        ),
        (
            &none,
            &["dev", "--trusted-proxy", "10.0.0.0"],
            2,
            "a network is wanted, such as 10.0.0.0/8 or fd00::/8",
        ),
        (
            &counting(),
            &["dev", "--store", "sqlite:nowhere/x.db"],
            1,
            "there is no folder nowhere",
        ),
        (
            &counting(),
            &["dev", "--store", "sqlite:/tmp"],
            1,
            "/tmp is a folder: a file is wanted",
        ),
        (&none, &["dev"], 1, "no server found"),
        (&broken, &["dev"], 1, "server.js:3:2: "),
    ] {
        let output = portside(folder.path(), args).await;
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        assert!(errors.contains(message), "{args:?}: {errors}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(!errors.contains("secret"), "it may be one: {errors}");
    }
    assert!(!none.path().join(".portside").exists());
}

#[tokio::test]
async fn check_reports_and_bundle_writes_only_what_is_right() {
    let good = counting();
    let output = portside(good.path(), &["check"]).await;
    assert_eq!(
        (output.status.code(), errors(&output)),
        (Some(0), "no problems\n")
    );
    let bundle = async || {
        let output = portside(good.path(), &["bundle", "-o", "app.bundle"]).await;
        assert_eq!(output.status.code(), Some(0));
        errors(&output).to_owned()
    };
    let said = bundle().await;
    let (start, digest) = said.trim_end().split_once(" modules, sha256:").unwrap();
    assert!(start.starts_with("app.bundle: "), "{said}");
    assert_eq!(digest.len(), 64, "{said}");
    assert!(good.path().join("app.bundle").is_file());
    assert_eq!(bundle().await, said, "equal sources, equal bundles");

    let broken = folder(&[("server.js", "import './gone.js';\nexport default {};\n")]);
    for args in [&["check"][..], &["bundle", "-o", "app.bundle"]] {
        let output = portside(broken.path(), args).await;
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
        assert!(errors.starts_with("server.js:1:8: "), "{args:?}: {errors}");
        assert!(errors.ends_with("\n1 problem\n"), "{args:?}: {errors}");
    }
    assert!(!broken.path().join("app.bundle").exists());
}

#[tokio::test]
async fn bundle_writes_manifests_for_a_cluster() {
    let class = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata:\n  name: chat\n  \
                 namespace: team-a\nspec:\n  code:\n    main: server.js\n  routes:\n    - host: chat.example.com\n  \
                 scaling:\n    replicas: 2\n";
    let app = counting();
    write(app.path(), "class.yaml", class);
    let output = portside(app.path(), &["bundle", "--manifests"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let (map, class) = text.split_once("\n---\n").unwrap();
    let start = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: chat-code\n  namespace: \"team-a\"\ndata:\n  \
                 bundle.json: \"{";
    assert!(map.starts_with(start), "{map}");
    let config_map = "  code:\n    configMap:\n      name: chat-code\n  routes:\n  - host: chat.example.com\n  \
                      scaling:\n    replicas: 2\n";
    assert!(class.contains(config_map), "{class}");
    assert!(!class.contains("main:"), "{class}");

    let bundle = portside(app.path(), &["bundle", "-o", "bundle.json"]).await;
    assert_eq!(bundle.status.code(), Some(0));
    let bundle = fs::read_to_string(app.path().join("bundle.json")).unwrap();
    let quoted = map
        .lines()
        .last()
        .unwrap()
        .trim_start()
        .strip_prefix("bundle.json: ");
    assert_eq!(
        serde_json::from_str::<String>(quoted.unwrap()).unwrap(),
        bundle
    );

    fs::remove_file(app.path().join("class.yaml")).unwrap();
    let output = portside(app.path(), &["bundle", "--manifests"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains("no class.yaml"),
        "{}",
        errors(&output)
    );

    write(
        app.path(),
        "class.yaml",
        "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\n\
                                     metadata: { name: big }\nspec: { code: {} }\n",
    );
    write(app.path(), "big.txt", &"x".repeat(1 << 20));
    write(
        app.path(),
        "server.js",
        "import big from './big.txt';\nexport default { fetch: () => new Response(big) };\n",
    );
    let output = portside(app.path(), &["bundle", "--manifests", "-o", "big.yaml"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains("spec.code.oci"),
        "{}",
        errors(&output)
    );
    assert!(!app.path().join("big.yaml").exists());
}

#[tokio::test]
async fn a_change_of_the_configuration_alone_reloads() {
    let wrangler = |flags: &str| {
        format!(
            r#"{{ "name": "app", "main": "server.js", "compatibility_date": "2026-11-01",
                "compatibility_flags": [{flags}] }}"#
        )
    };
    let server = "export default { fetch() { return new Response(navigator.userAgent); } };";
    let files = [("server.js", server), ("wrangler.jsonc", &wrangler(""))];
    let app = App::serve(folder(&files), &[]).await;
    let before = app.get("/").await.text().to_owned();
    write(
        app.folder(),
        "wrangler.jsonc",
        &wrangler(r#""no_global_navigator""#),
    );
    app.wrote("portside: reloaded").await;
    assert_ne!(app.get("/").await.text(), before);
}

#[tokio::test]
async fn only_a_change_of_what_runs_reloads() {
    let unwatched = App::serve(counting(), &["--no-watch"]).await;
    write(unwatched.folder(), "counter.js", &counter("two"));

    let app = App::serve(counting(), &[]).await;
    let mut socket: Socket = app.socket("/socket").await;
    assert_eq!(socket.receive().await["count"], 1);
    // Touched, but the same; then something that nothing imports. Neither costs the socket its worker.
    write(app.folder(), "counter.js", &counter("one"));
    write(app.folder(), "notes.txt", "not imported");
    // A broken change shows that those before it have been looked at.
    tokio::time::sleep(SETTLED).await;
    write(app.folder(), "counter.js", "{");
    app.wrote("not reloaded").await;
    assert!(!app.output().contains("portside: reloaded"));

    write(app.folder(), "counter.js", &counter("two"));
    app.wrote("portside: reloaded").await;
    assert_eq!(app.get("/").await.json()["version"], "two");
    assert_eq!(unwatched.get("/").await.json()["version"], "one");
    assert!(!unwatched.output().contains("reloaded"));
}

#[tokio::test]
async fn a_class_says_which_networks_its_code_reaches() {
    const SERVER: &str = r#"export default {
      async fetch(request) {
        const { pathname, origin } = new URL(request.url);
        if (pathname === "/peer") return new Response("reached");
        return fetch(`${origin}/peer`).catch(({ message }) => new Response(message));
      },
    };"#;
    let class = |network: &str| {
        format!(
            "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata: {{ name: a }}\n\
             spec: {{ code: {{}}, network: {network} }}\n"
        )
    };
    for (network, reached) in [("{}", true), ("{ deny: [127.0.0.0/8] }", false)] {
        let folder = folder(&[("server.js", SERVER), ("class.yaml", &class(network))]);
        let app = App::serve(folder, &[]).await;
        let answer = app.get("/").await;
        assert_eq!(answer.text() == "reached", reached, "{}", answer.text());
    }
}

#[tokio::test]
async fn one_id_follows_a_request_from_the_front_door_to_its_commit() {
    let app = App::serve_with(counting(), &["--trusted-proxy", "127.0.0.0/8"], "debug").await;
    let headers = [("x-request-id", "id-of-the-test")];
    let reply = app.request(Method::GET, "/", &headers, "").await;
    assert_eq!(reply.status, 200);
    for wanted in ["status=200", "runs", "durable"] {
        let what = format!("a line of the log with {wanted} and the id");
        eventually(&what, async || {
            let output = app.output();
            let mut lines = output.lines();
            let is_it = |line: &str| line.contains(wanted) && line.contains("id-of-the-test");
            lines.any(is_it).then_some(())
        })
        .await;
    }
    let output = app.output();
    let durable = output.lines().find(|line| line.contains("durable"));
    assert!(durable.unwrap().contains("counter.js#c"), "{durable:?}");
}

/// Not even a proxy that is trusted can: no gateway is before it.
#[tokio::test]
async fn clients_cannot_say_what_gateways_say_to_pods() {
    let server = r#"export default {
      fetch: ({ headers }) => Response.json([...headers.keys()].filter((name) => name.startsWith("portside-"))),
    };"#;
    let app = App::serve(
        folder(&[("server.js", server)]),
        &["--trusted-proxy", "127.0.0.0/8"],
    )
    .await;
    let mut headers = BETWEEN_GATEWAY_AND_POD.map(|name| (name, "1")).to_vec();
    headers.push(("portside-else", "1"));
    let reply = app.request(Method::GET, "/", &headers, "").await;
    assert_eq!(reply.text(), r#"["portside-else"]"#);
}

/// A control group with a limit of memory, made in that of this process; removed with this.
struct Group(PathBuf);

impl Group {
    /// An error says why there can be none here.
    fn with_memory(bytes: usize) -> Result<Self, String> {
        let groups = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let one = groups.lines().find_map(|line| line.split_once(":memory:"));
        let two = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let (parent, limit) = match (one, two) {
            (Some((_, path)), _) => ("/sys/fs/cgroup/memory", (path, "memory.limit_in_bytes")),
            (None, Some(path)) => ("/sys/fs/cgroup", (path, "memory.max")),
            (None, None) => return Err("this process is in no control group".to_owned()),
        };
        let (path, limit) = limit;
        let parent = Path::new(parent).join(path.trim_start_matches('/'));
        let group = parent.join(format!("portside-dev-{}", std::process::id()));
        fs::create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        let group = Self(group);
        let limited = fs::write(group.0.join(limit), bytes.to_string());
        limited.map_err(|error| format!("no limit can be set: {error}"))?;
        // Swapped pages would not count.
        let _ = fs::write(group.0.join("memory.swappiness"), "0");
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The process that was in it may need a moment to be gone.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[tokio::test]
async fn a_process_that_is_nearly_out_of_memory_turns_away_and_lives() {
    const SERVER: &str = r#"export default {
      fetch(request) {
        const { promise, resolve } = Promise.withResolvers();
        const { port } = new ServerlessWorker("./hungry.js", new URL(request.url).pathname);
        port.onmessage = ({ data }) => resolve(new Response(data));
        port.onerror = ({ error }) => resolve(new Response(error.message, { status: error.overloaded ? 503 : 500 }));
        port.postMessage("hello");
        return promise;
      },
    };"#;
    // Each keeps 4 MiB, and stays awake.
    const HUNGRY: &str = r#"const kept = new Uint8Array(4 << 20).fill(1);
    waitUntil(new Promise(() => {}));
    export default {
      connect({ ports: [port] }) { port.onmessage = () => port.postMessage(String(kept.length)); },
    };"#;
    let group = match Group::with_memory(600 << 20) {
        Ok(group) => group,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let folder = folder(&[("server.js", SERVER), ("hungry.js", HUNGRY)]);
    let options = ["--awake-workers", "100000"];
    let app = App::serve_in(Some(&group.0), folder, &options).await;
    let mut awake = 0;
    let refused = loop {
        assert!(awake < 200, "200 workers of 4 MiB do not fit into 600 MiB");
        let reply = app.get(&format!("/{awake}")).await;
        if reply.status != 200 {
            break reply;
        }
        awake += 1;
    };
    assert_eq!(refused.status, 503);
    assert_eq!(refused.text(), "the process is short of memory");
    assert!(awake > 10, "{awake} workers were awake");
    // More and more is asked of it, and it answers.
    for name in 0..200 {
        let reply = app.get(&format!("/more/{name}")).await;
        assert!([200, 503].contains(&reply.status), "{}", reply.status);
    }
    assert_eq!(app.get("/0").await.text(), (4 << 20).to_string());
}

#[tokio::test]
async fn a_wrangler_project_has_its_variables_and_secrets() {
    let configuration = r#"{
  "name": "app",
  "main": "src/index.ts",
  "compatibility_date": "2026-01-31",
  "observability": { "enabled": true },
  "vars": { "GREETING": "hello", "TOKEN": "from vars", "LIMITS": { "most": [1, null] } },
  "env": { "staging": { "vars": { "GREETING": "hello, staging" } } },
}"#;
    let project = || {
        folder(&[
            ("wrangler.jsonc", configuration),
            (
                "src/index.ts",
                "export default { fetch: (_: Request, env: object) => Response.json(env) };",
            ),
            (".dev.vars", "TOKEN=pa$$word\n"),
        ])
    };
    let app = App::serve(project(), &[]).await;
    let limits = json!({ "most": [1, null] });
    assert_eq!(
        app.get("/").await.json(),
        json!({ "GREETING": "hello", "TOKEN": "pa$$word", "LIMITS": limits })
    );
    let warning =
        "wrangler.jsonc:5:3: warning: observability concerns Cloudflare only: it has no effect\n";
    app.wrote(warning).await;
    app.wrote("portside: app listens on ").await;

    write(app.folder(), ".dev.vars", "TOKEN=changed\nLIMITS=text\n");
    app.wrote("portside: reloaded").await;
    assert_eq!(
        app.get("/").await.json(),
        json!({ "GREETING": "hello", "TOKEN": "changed", "LIMITS": "text" })
    );
    assert_eq!(app.output().matches(warning).count(), 1, "it is said once");
    write(app.folder(), ".dev.vars", "s3cret\n");
    app.wrote(".dev.vars:1:1: the line is not KEY=VALUE\n")
        .await;
    app.wrote("portside: not reloaded, the previous code still runs")
        .await;
    assert!(!app.output().contains("s3cret"));

    let options = ["--env", "staging", "--var", "MORE=1"];
    let staging = App::serve(project(), &options).await;
    assert_eq!(
        staging.get("/").await.json(),
        json!({ "GREETING": "hello, staging", "TOKEN": "pa$$word", "MORE": "1" })
    );
    staging.wrote("portside: app-staging listens on ").await;
}

#[tokio::test]
async fn what_of_a_wrangler_project_cannot_run_is_refused_with_its_place() {
    let configuration = "name = \"counter\"\nmain = \"index.js\"\ncompatibility_date = \"2026-01-31\"\n\
                         [durable_objects]\nbindings = [\n  { name = \"COUNTER\", class_name = \"Counter\", script_name = \"x\" },\n]\n";
    let server =
        "export class Counter {}\nexport default { fetch: () => new Response('hello') };\n";
    let project = folder(&[("wrangler.toml", configuration), ("index.js", server)]);
    let refusal = "wrangler.toml:6:61: durable_objects.bindings[0].script_name: x is another application, whose classes \
                   cannot be reached from here: leave it out, and export the class here\n1 problem\n";
    for args in [
        &["dev", "--port", "0"][..],
        &["check"],
        &["bundle", "-o", "app.bundle"],
        &["bundle", "--manifests"],
    ] {
        let output = portside(project.path(), args).await;
        assert_eq!(
            (output.status.code(), errors(&output)),
            (Some(1), refusal),
            "{args:?}"
        );
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert!(!project.path().join("app.bundle").exists());

    let stateless = "name = \"app\"\nmain = \"index.js\"\nworkers_dev = true\nvars = { N = 1 }\n\
                     compatibility_date = \"2026-01-31\"\n";
    write(project.path(), "wrangler.toml", stateless);
    let warning =
        "wrangler.toml:3:1: warning: workers_dev concerns Cloudflare only: it has no effect\n";
    let output = portside(project.path(), &["check"]).await;
    let expected = format!("{warning}no problems, 1 warning\n");
    assert_eq!(
        (output.status.code(), errors(&output)),
        (Some(0), &*expected)
    );
    let output = portside(project.path(), &["bundle", "--manifests"]).await;
    assert_eq!(output.status.code(), Some(1));
    let start = format!("{warning}wrangler.toml:4:10: vars.N is not text");
    assert!(errors(&output).starts_with(&start), "{}", errors(&output));
    assert!(output.stdout.is_empty());
}
