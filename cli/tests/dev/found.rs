//! What `portside dev` says of the application and of requests, and the handlers that are run by hand.

use std::fs;

use hyper::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{App, eventually};
use crate::{folder, write};

const OBJECTS: &str = r#"import { DurableObject } from "cloudflare:workers";
export class Room extends DurableObject {
  count = 0;
  async hit() {
    await this.ctx.storage.setAlarm(4102444800000);
    return ++this.count;
  }
  alarm() {
    console.log("the room's alarm");
    if (this.count > 1) throw new Error("too many");
  }
}
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return new Response("nobody");
    return new Response(String(await env.ROOMS.getByName(pathname.slice(1)).hit()));
  },
  async scheduled(controller, env, ctx) {
    if (controller.cron === "throws") throw new Error("not this time");
    controller.noRetry();
    const { cron, scheduledTime } = controller;
    ctx.waitUntil(env.ROOMS.getByName("all").hit().then((count) => console.log(`ran ${count} for ${cron} at ${scheduledTime}`)));
  },
};
"#;

const WRANGLER: &str = r#"{
  "name": "rooms",
  "main": "server.js",
  "compatibility_date": "2026-01-31",
  "vars": { "GREETING": "hello" },
  "durable_objects": { "bindings": [{ "name": "ROOMS", "class_name": "Room" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room"] }],
  "triggers": { "crons": ["0 0 1 1 *"] },
}"#;

/// A project of Durable Objects, with an alarm and a cron.
pub fn rooms() -> TempDir {
    folder(&[
        ("server.js", OBJECTS),
        ("wrangler.jsonc", WRANGLER),
        (".dev.vars", "TOKEN=s3cret\n"),
    ])
}

#[tokio::test]
async fn what_was_found_is_said_and_each_request() {
    let app = App::serve(rooms(), &[]).await;
    let found = "portside: rooms, wrangler.jsonc: a server and its Durable Objects\n  \
                 server     server.js\n  \
                 classes    Room (SQLite)\n  \
                 bindings   ROOMS (Room)\n  \
                 variables  GREETING, TOKEN\n  \
                 crons      0 0 1 1 *\n\
                 portside: rooms listens on ";
    app.wrote(found).await;
    assert_eq!(app.get("/").await.text(), "nobody");
    assert_eq!(app.get("/lobby?key=s3cret").await.text(), "1");
    app.wrote(" ms Room(lobby)\n").await;
    assert!(app.output().contains("GET / 200 "));
    assert!(app.output().contains("GET /lobby 200 "));
    assert!(!app.output().contains("s3cret"));

    // What is new is said again.
    let other = WRANGLER.replace("0 0 1 1 *", "30 5 * * MON");
    write(app.folder(), "wrangler.jsonc", &other);
    app.wrote("  crons      30 5 * * MON\n").await;
}

#[tokio::test]
async fn who_wants_quiet_has_it() {
    let app = App::serve(rooms(), &["--quiet"]).await;
    assert_eq!(app.get("/lobby").await.text(), "1");
    assert_eq!(app.get("/cdn-cgi/handler/scheduled").await.text(), "ok");
    app.wrote("[server] ran 1").await;
    let output = app.output();
    let mut lines = output.lines();
    assert!(
        lines
            .next()
            .unwrap()
            .starts_with("portside: rooms listens on ")
    );
    assert!(
        lines.next().unwrap().starts_with("[server] ran 1"),
        "{output}"
    );
}

#[tokio::test]
async fn crons_are_run_by_hand() {
    let app = App::serve(rooms(), &[]).await;
    let run = async |query: &str| {
        let path = format!("/cdn-cgi/handler/scheduled{query}");
        let reply = app.get(&path).await;
        (reply.status, reply.text().to_owned())
    };
    let ok = |text: &str| (200, text.to_owned());
    assert_eq!(run("?cron=*/5+*+*+*+*&time=1234").await, ok("ok"));
    app.wrote("[server] ran 1 for */5 * * * * at 1234\n").await;
    let json = run("?format=json").await;
    assert_eq!(json, ok(r#"{"outcome":"ok","noRetry":true}"#));
    assert_eq!(run("?cron=throws").await, (500, "exception".to_owned()));
    app.wrote("scheduled(): Error: not this time").await;
    assert_eq!(run("?time=noon").await.0, 400);
    app.wrote("GET /cdn-cgi/handler/scheduled 400 ").await;
    for header in [
        ("origin", "https://elsewhere.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let path = "/cdn-cgi/handler/scheduled?cron=elsewhere";
        let reply = app.request(Method::GET, path, &[header], "").await;
        assert_eq!(reply.status, 403, "{header:?}");
    }
    assert!(!app.output().contains("for elsewhere"));
}

#[tokio::test]
async fn alarms_are_fired_by_hand() {
    let app = App::serve(rooms(), &[]).await;
    let fire = async |query: &str| {
        let path = format!("/cdn-cgi/handler/alarm?{query}");
        let reply = app.get(&path).await;
        (reply.status, reply.text().to_owned())
    };
    let lobby = "class=Room&name=lobby";
    assert_eq!(fire(lobby).await, (404, "no alarm is set".to_owned()));
    app.get("/lobby").await;
    assert_eq!(fire(lobby).await, (200, "ok".to_owned()));
    app.wrote("[Room(lobby)] the room's alarm\n").await;
    app.get("/lobby").await;
    assert_eq!(fire(lobby).await, (500, "exception".to_owned()));
    for wrong in [
        "",
        "class=Hall&name=a",
        "class=Room",
        "class=Room&id=12",
        "script=no.js",
        "class=Room&script=server.js",
    ] {
        assert_eq!(fire(wrong).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn workers_are_named_and_their_alarms_fired() {
    let server = r#"export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    const names = pathname.slice(1).split(",");
    const answers = names.map((name) => new Promise((resolve) => {
      const { port } = new ServerlessWorker("./clock.js", name);
      port.onmessage = ({ data }) => resolve(data);
      port.postMessage("set");
    }));
    return Response.json(await Promise.all(answers));
  },
};"#;
    let clock = r#"export default {
  connect({ ports: [port] }) {
    port.onmessage = async () => {
      await setAlarm(4102444800000);
      port.postMessage(self.name);
    };
  },
  alarm() { console.log("it rings"); },
};"#;
    let app = App::serve(folder(&[("server.js", server), ("clock.js", clock)]), &[]).await;
    app.wrote("no configuration: a server and its ServerlessWorkers\n")
        .await;
    app.wrote("  workers    clock.js\n").await;
    assert_eq!(
        app.get("/a,b,c,d").await.json(),
        json!(["a", "b", "c", "d"])
    );
    app.wrote(" ms clock.js#a, clock.js#b, clock.js#c and 1 more\n")
        .await;
    let fired = app
        .get("/cdn-cgi/handler/alarm?script=clock.js&name=b")
        .await;
    assert_eq!(fired.text(), "ok");
    app.wrote("[clock.js#b] it rings\n").await;
}

#[tokio::test]
async fn scripts_that_cannot_be_told_are_warned_of_and_included() {
    let server = r#"export default {
  fetch(request) {
    const { port } = new ServerlessWorker(`.${new URL(request.url).pathname}.js`, "x");
    return new Promise((resolve) => {
      port.onmessage = ({ data }) => resolve(new Response(data));
      port.onclose = ({ code }) => resolve(new Response(code));
      port.postMessage("?");
    });
  },
};"#;
    let worker = "export default { connect({ ports: [port] }) { port.onmessage = () => port.postMessage(\"here\") } };";
    let files = folder(&[("server.js", server), ("workers/a.js", worker)]);
    let app = App::serve(files, &[]).await;
    app.wrote("server.js:3:43: warning: which script this worker has cannot be told")
        .await;
    let class = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata: { name: a }\n\
                 spec: { code: { include: [workers/*] } }\n";
    fs::write(app.folder().join("class.yaml"), class).unwrap();
    eventually("the worker", async || {
        (app.get("/workers/a").await.text() == "here").then_some(())
    })
    .await;
    // Its name is another application's to the store: what runs keeps the one that it began with.
    app.wrote("portside: a, class.yaml: ").await;
}
