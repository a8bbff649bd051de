//! `portside dev --inspect`: what a debugger sees and does.

use hyper::Method;
use portside_testkit::Site;
use serde_json::{Value, json};

use crate::folder;
use crate::harness::{App, Socket, eventually};

const SERVER: &str = r#"import { DurableObject } from "cloudflare:workers";
globalThis.where = "server";
export class Room extends DurableObject {
  count(by: number) {
    const sum = by + 1;
    return sum;
  }
}
export default {
  async fetch(request: Request, env: any) {
    const { pathname } = new URL(request.url);
    if (pathname === "/log") console.log("seen", { by: "debuggers" });
    if (pathname === "/rejection") Promise.reject(new RangeError("nobody waits for it"));
    if (pathname === "/thrown") throw new TypeError("nobody catches it");
    if (pathname === "/room") return new Response(String(await env.ROOMS.getByName("lobby").count(2)));
    if (pathname !== "/worker") return new Response("hello");
    const { port } = new ServerlessWorker("./clock.js", "a");
    const answer = new Promise((resolve) => port.onmessage = ({ data }: MessageEvent) => resolve(new Response(data)));
    port.postMessage("?");
    return answer;
  },
};
"#;

const CLOCK: &str = r#"globalThis.where = "clock";
function answer(port) {
  globalThis.text = "answered";
  port.postMessage(text);
}
export default {
  connect({ ports: [port] }) {
    port.onmessage = () => answer(port);
  },
};
"#;

const WRANGLER: &str = r#"{
  "name": "debugged",
  "main": "server.ts",
  "compatibility_date": "2026-01-31",
  "durable_objects": { "bindings": [{ "name": "ROOMS", "class_name": "Room" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room"] }],
}"#;

/// An application, and where debuggers attach.
struct Debugged {
    app: App,
    debuggers: Site,
}

impl Debugged {
    async fn start() -> Self {
        let files = [
            ("server.ts", SERVER),
            ("clock.js", CLOCK),
            ("wrangler.jsonc", WRANGLER),
        ];
        Self::serve(&files).await
    }

    async fn serve(files: &[(&str, &str)]) -> Self {
        Self::serve_with("--inspect=0", files).await
    }

    async fn serve_with(option: &str, files: &[(&str, &str)]) -> Self {
        let app = App::serve(folder(files), &[option]).await;
        let address = eventually("where debuggers attach", async || {
            let output = app.output();
            let (_, rest) = output.split_once("debuggers attach at ")?;
            let (address, _) = rest.split_once(',')?;
            Some(address.to_owned())
        })
        .await;
        let debuggers = Site::at(&address);
        Self { app, debuggers }
    }

    /// Attaches to the isolate with such a title, once there is one.
    async fn attach(&self, title: &str) -> Debugger {
        self.attach_after(None, title).await
    }

    /// The same, but to another isolate than a debugger was attached to, which may still be listed.
    async fn attach_after(&self, old: Option<Debugger>, title: &str) -> Debugger {
        let old = old.map(|debugger| debugger.url);
        let target = eventually(title, async || {
            let targets = self.debuggers.get("/json/list").await.json();
            let mut targets = targets.as_array().unwrap().iter();
            let is_it = |target: &&Value| {
                target["title"].as_str().unwrap().contains(title)
                    && target["webSocketDebuggerUrl"].as_str() != old.as_deref()
            };
            targets.find(is_it).cloned()
        })
        .await;
        assert_eq!(target["type"], "node");
        let url = target["webSocketDebuggerUrl"].as_str().unwrap();
        let mut debugger = Debugger {
            url: url.to_owned(),
            socket: Socket::open(url).await,
            calls: 0,
            events: vec![],
        };
        debugger.call("Runtime.enable", json!({})).await;
        debugger
    }
}

struct Debugger {
    url: String,
    socket: Socket,
    calls: u64,
    events: Vec<Value>,
}

impl Debugger {
    /// The result of a call; events that come meanwhile are kept.
    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let call = json!({"id": self.calls, "method": method, "params": params});
        self.socket.send(&call).await;
        loop {
            let message = self.socket.receive().await;
            if message["id"] == self.calls {
                assert_eq!(message["error"], Value::Null, "{method}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// The parameters of the next event of this kind.
    async fn event(&mut self, method: &str) -> Value {
        loop {
            let known = self
                .events
                .iter()
                .position(|event| event["method"] == method);
            if let Some(place) = known {
                return self.events.remove(place)["params"].clone();
            }
            let message = self.socket.receive().await;
            self.events.push(message);
        }
    }

    async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        let result = self.call("Runtime.evaluate", params).await;
        result["result"]["value"].clone()
    }

    /// Sets a breakpoint in the line of a module that has this code; returns what else is known of the module.
    async fn break_at(&mut self, url: &str, code: &str) -> Value {
        self.call("Debugger.enable", json!({})).await;
        let scripts = self.events.iter().map(|event| &event["params"]);
        let mut scripts = scripts.filter(|script| script["url"] == url);
        let script = scripts.next_back().unwrap().clone();
        let params = json!({"scriptId": script["scriptId"]});
        let source = self.call("Debugger.getScriptSource", params).await;
        let source = source["scriptSource"].as_str().unwrap();
        let line = source.lines().position(|line| line.contains(code));
        let params = json!({"url": url, "lineNumber": line.unwrap()});
        let set = self.call("Debugger.setBreakpointByUrl", params).await;
        assert_eq!(set["locations"].as_array().unwrap().len(), 1, "{set}");
        script
    }
}

#[tokio::test]
async fn isolates_are_listed_and_evaluate_what_they_are_told() {
    let it = Debugged::start().await;
    let version = it.debuggers.get("/json/version").await.json();
    assert_eq!(version["Protocol-Version"], "1.3");
    assert_eq!(it.app.get("/worker").await.text(), "answered");
    assert_eq!(it.app.get("/room").await.text(), "3");
    let mut server = it.attach("the server with Room(lobby)").await;
    let mut clock = it.attach("clock.js#a").await;
    assert_eq!(server.evaluate("where + (1 + 1)").await, "server2");
    assert_eq!(clock.evaluate("where").await, "clock");
    let none = it.debuggers.get("/ws/99").await;
    assert_eq!(none.status, 426);
    let elsewhere = [("origin", "https://elsewhere.example")];
    let refused = it
        .debuggers
        .request(Method::GET, "/json/list", &elsewhere, "")
        .await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn a_debugger_hears_what_is_written_to_the_console() {
    let it = Debugged::start().await;
    it.app.get("/").await;
    let mut server = it.attach("the server").await;
    it.app.get("/log").await;
    let said = server.event("Runtime.consoleAPICalled").await;
    assert_eq!(said["type"], "log");
    assert_eq!(said["args"][0]["value"], "seen");
    let properties = &said["args"][1]["preview"]["properties"];
    assert_eq!(properties[0]["value"], "debuggers", "{said}");
    it.app.wrote("[server] seen { by: \"debuggers\" }").await;
}

#[tokio::test]
async fn a_debugger_hears_what_nobody_catches() {
    let it = Debugged::start().await;
    it.app.get("/").await;
    let mut server = it.attach("the server").await;
    for (path, said, text) in [
        ("/thrown", "Uncaught", "TypeError: nobody catches it"),
        (
            "/rejection",
            "Uncaught (in promise)",
            "RangeError: nobody waits for it",
        ),
    ] {
        it.app.get(path).await;
        let thrown = server.event("Runtime.exceptionThrown").await;
        let details = &thrown["exceptionDetails"];
        assert_eq!(details["text"], said);
        let description = details["exception"]["description"].as_str();
        let description = description.unwrap_or_else(|| panic!("{thrown}"));
        assert!(description.starts_with(text), "{description}");
        let frame = &details["stackTrace"]["callFrames"][0];
        assert_eq!(frame["url"], "file:///server.js", "{thrown}");
        it.app.wrote(text).await;
    }
}

/// The worker, and the object in the server's isolate, are each held up and go on.
#[tokio::test]
async fn breakpoints_hold_isolates_up_until_they_are_resumed() {
    let it = Debugged::start().await;
    it.app.get("/worker").await;
    let mut clock = it.attach("clock.js#a").await;
    clock.break_at("file:///clock.js", "postMessage").await;
    let held = async { it.app.get("/worker").await };
    let debugged = async {
        let paused = clock.event("Debugger.paused").await;
        let frame = paused["callFrames"][0].clone();
        assert_eq!(frame["functionName"], "answer");
        let expression = "text = `not ${text}`";
        let params = json!({"callFrameId": frame["callFrameId"], "expression": expression});
        let changed = clock.call("Debugger.evaluateOnCallFrame", params).await;
        assert_eq!(changed["result"]["value"], "not answered");
        // Others go on meanwhile.
        assert_eq!(it.app.get("/room").await.text(), "3");
        clock.call("Debugger.resume", json!({})).await;
    };
    let (answer, ()) = tokio::join!(held, debugged);
    assert_eq!(answer.text(), "not answered");
}

/// TypeScript can be shown as it was written, and an object in the server's isolate is held up as others are.
#[tokio::test]
async fn an_object_is_held_up_in_its_source() {
    let it = Debugged::start().await;
    it.app.get("/").await;
    let mut server = it.attach("the server").await;
    let script = server.break_at("file:///server.js", "by + 1").await;
    let map = script["sourceMapURL"].as_str().unwrap();
    assert!(map.starts_with("data:application/json;base64,"), "{map}");
    let held = async { it.app.get("/room").await };
    let debugged = async {
        server.event("Debugger.paused").await;
        server.call("Debugger.resume", json!({})).await;
    };
    let (answer, ()) = tokio::join!(held, debugged);
    assert_eq!(answer.text(), "3");
}

/// The class lets it use half a second at a time.
#[tokio::test]
async fn a_debugged_isolate_is_not_ended_for_its_time() {
    let class = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata: { name: brief }\n\
                 spec: { limits: { cpu: 500ms }, code: { main: server.js } }\n";
    let server = r#"export default {
  fetch() {
    globalThis.text = "in time";
    return new Response(text);
  },
};
"#;
    let it = Debugged::serve(&[("server.js", server), ("class.yaml", class)]).await;
    it.app.get("/").await;
    let mut debugger = it.attach("the server").await;
    debugger.break_at("file:///server.js", "Response").await;
    let held = async { it.app.get("/").await };
    let debugged = async {
        let paused = debugger.event("Debugger.paused").await;
        let expression =
            "{ const end = Date.now() + 1500; while (Date.now() < end); } text = 'late'";
        let params = json!({"callFrameId": paused["callFrames"][0]["callFrameId"], "expression": expression});
        debugger.call("Debugger.evaluateOnCallFrame", params).await;
        debugger.call("Debugger.resume", json!({})).await;
    };
    let (answer, ()) = tokio::join!(held, debugged);
    assert_eq!(answer.text(), "late");
    let loops = "for (const end = Date.now() + 1500; Date.now() < end;);";
    assert_eq!(debugger.evaluate(&format!("{loops} 'over'")).await, "over");
}

#[tokio::test]
async fn what_is_debugged_stays_awake() {
    let class = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata: { name: brief }\n\
                 spec: { limits: { idle: 1s }, code: { main: server.js } }\n";
    let server = r#"export default {
  fetch(request) {
    const { port } = new ServerlessWorker("./clock.js", new URL(request.url).pathname);
    const answer = new Promise((resolve) => port.onmessage = ({ data }) => resolve(new Response(data)));
    port.postMessage("?");
    return answer;
  },
};
"#;
    let files = [
        ("server.js", server),
        ("clock.js", CLOCK),
        ("class.yaml", class),
    ];
    let it = Debugged::serve(&files).await;
    it.app.get("/a").await;
    let clock = it.attach("clock.js#/a").await;
    it.app.get("/b").await;
    let falls_asleep = async |title: &str| {
        eventually(title, async || {
            let targets = it.debuggers.get("/json/list").await;
            (!targets.text().contains(title)).then_some(())
        })
        .await;
    };
    falls_asleep("clock.js#/b").await;
    // The other one was idle for longer.
    let targets = it.debuggers.get("/json/list").await;
    assert!(targets.text().contains("clock.js#/a"));
    clock.socket.close().await;
    falls_asleep("clock.js#/a").await;
}

#[tokio::test]
async fn a_debugger_that_goes_away_leaves_nothing_held_up() {
    let mut it = Debugged::start().await;
    it.app.get("/worker").await;
    let mut clock = it.attach("clock.js#a").await;
    clock.break_at("file:///clock.js", "postMessage").await;
    let held = async { it.app.get("/worker").await };
    let debugged = async {
        clock.event("Debugger.paused").await;
        clock.socket.close().await;
    };
    let (answer, ()) = tokio::join!(held, debugged);
    assert_eq!(answer.text(), "answered");

    // Neither does the end of the process.
    let mut clock = it.attach("clock.js#a").await;
    clock.break_at("file:///clock.js", "postMessage").await;
    let held = it.app.get("/worker");
    let debugged = async {
        clock.event("Debugger.paused").await;
        it.app.interrupt();
    };
    let (answer, ()) = tokio::join!(held, debugged);
    assert_eq!(answer.text(), "answered");
    assert!(it.app.ended().await.success());
}

const BRIEF: &str = r#"export const made = globalThis.told ?? "untold";
export default {
  fetch() {
    return new Response(made);
  },
};
"#;

#[tokio::test]
async fn isolates_wait_for_a_debugger_if_they_are_to() {
    let mut it = Debugged::serve_with("--inspect-brk=0", &[("server.js", BRIEF)]).await;
    let held = async { it.app.get("/").await };
    let debugged = async {
        let mut server = it.attach("the server").await;
        server.call("Debugger.enable", json!({})).await;
        assert_eq!(
            server.evaluate("globalThis.told = 'in time'").await,
            "in time"
        );
        server
            .call("Runtime.runIfWaitingForDebugger", json!({}))
            .await;
        let paused = server.event("Debugger.paused").await;
        let place = &paused["callFrames"][0]["location"];
        let mut scripts = server.events.iter().map(|event| &event["params"]);
        let script = scripts.find(|script| script["scriptId"] == place["scriptId"]);
        assert_eq!(script.unwrap()["url"], "file:///server.js", "{paused}");
        server.call("Debugger.resume", json!({})).await;
        server
    };
    let (answer, server) = tokio::join!(held, debugged);
    assert_eq!(answer.text(), "in time");
    // New code is tried out without, and then waits again.
    std::fs::write(
        it.app.folder().join("server.js"),
        BRIEF.replace("untold", "new"),
    )
    .unwrap();
    it.app.wrote("portside: reloaded").await;
    let waits = async { it.app.get("/").await };
    let ends = async {
        it.attach_after(Some(server), "the server").await;
        it.app.interrupt();
    };
    let (answer, ()) = tokio::join!(waits, ends);
    assert_eq!(answer.text(), "new");
    assert!(it.app.ended().await.success());
}
