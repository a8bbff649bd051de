//! Workers that are looked at and managed from outside.

use std::time::{Duration, Instant};

use futures::future::join_all;
use http::StatusCode;
use portside_exchange::{Body, Response};
use portside_manage::PATH;
use portside_sidecar::{App, manage};
use serde_json::{Value as Json, json};
use url::Url;

use crate::app::{Setup, TestApp, eventually, text};
use crate::cases;
use crate::held::start_held;
use crate::lab::lab;
use crate::objects::with_objects;

pub const CASES: &[crate::Case] = cases![
    workers_are_listed_whether_they_sleep_or_not,
    a_worker_is_put_to_sleep_and_woken,
    a_worker_that_never_waits_is_put_to_sleep_as_well,
    keys_are_read_as_json_and_put_under_a_worker_that_is_awake,
    what_is_put_from_outside_is_what_javascript_gets,
    a_deleted_worker_begins_anew_and_its_alarm_never_fires,
    requests_wait_while_a_worker_is_changed_and_none_fails,
    what_was_read_before_a_change_is_not_what_an_instance_begins_with,
    two_changes_at_once_are_both_made,
    an_objects_keys_and_rows_are_read_and_put,
    an_expression_is_evaluated_in_the_live_instance,
    an_expression_sees_the_object_and_wakes_it,
    what_cannot_be_is_refused_with_a_reason,
];

const JOBS: &str = r#"
const instance = crypto.randomUUID();
export const jobs = {
  instance: () => instance,
  spin: () => { setTimeout(() => { for (;;); }); return "from now on"; },
  put: async (json) => { const { key, value } = JSON.parse(json); await storage.put(key, value); return "put"; },
  all: async () => [...(await storage.list()).keys()],
  add: async () => { const n = (await storage.get("n") ?? 0) + 1; await storage.put("n", n); return n; },
  n: async () => await storage.get("n") ?? 0,
  arm: (ms) => { setAlarm(Date.now() + Number(ms)); return "armed"; },
  special: async () => {
    await storage.put("date", new Date(0));
    await storage.put("map", new Map([["a", new Set([1n])]]));
    await storage.put("bytes", new Uint16Array([1, 2]));
    await storage.put("wide", "é😀");
    const knot = { undefined }; knot.self = knot;
    await storage.put("knot", knot);
    await storage.put("error", new RangeError("no"));
    return "put";
  },
  show: async (key) => {
    const it = await storage.get(key);
    if (it instanceof Map) return "map " + [...it].map(([k, v]) => `${typeof k} ${k}=${[...v].map((x) => typeof x + x)}`);
    if (it instanceof Date) return "date " + it.toISOString();
    if (ArrayBuffer.isView(it)) return it.constructor.name + " " + it.join();
    if (it instanceof RegExp) return "regexp " + it;
    if (it instanceof Error) return `${it.name} ${it.message} ${it.cause}`;
    return `${typeof it} ${Array.isArray(it) ? it.length + "[" + Object.keys(it) + "]" : typeof it === "object" ? JSON.stringify(it) : Object.is(it, -0) ? "-0" : it}`;
  },
};
export async function alarm() { await storage.put("fired", true); }
"#;

fn setup() -> Setup {
    awake(JOBS)
}

/// Workers that can do these jobs, and never fall asleep by themselves.
pub fn awake(jobs: &str) -> Setup {
    let mut setup = lab(jobs);
    setup.limits.idle = Duration::from_secs(600);
    setup
}

/// What is said to that, in JSON.
pub async fn ask(app: &TestApp, method: &str, path: &str, body: &str) -> (StatusCode, Json) {
    ask_pod(app.owner(), method, path, body).await
}

/// What is asked of this very pod.
pub async fn ask_pod(app: &App, method: &str, path: &str, body: &str) -> (StatusCode, Json) {
    let answer = answer_of(app, method, path, body).await;
    let status = answer.status;
    let body = text(answer.body).await;
    let json = match &*body {
        "" => Json::Null,
        body => serde_json::from_str(body).unwrap(),
    };
    (status, json)
}

/// What is asked of the pod that has the workers, below the path of questions.
pub async fn answer(app: &TestApp, method: &str, path: &str, body: &str) -> Response {
    answer_of(app.owner(), method, path, body).await
}

async fn answer_of(app: &App, method: &str, path: &str, body: &str) -> Response {
    let url = Url::parse(&format!("http://app.test{PATH}{path}")).unwrap();
    let mut body = match body {
        "" => Body::Empty,
        body => Body::Full(body.to_owned().into()),
    };
    let elsewhere = || Response {
        status: StatusCode::MISDIRECTED_REQUEST,
        reason: Default::default(),
        headers: Default::default(),
        body: Body::Empty,
        socket: None,
    };
    let asked = (&method.parse().unwrap(), &url, &mut body);
    manage::answer(app, asked, elsewhere).await.unwrap()
}

async fn get(app: &TestApp, path: &str) -> Json {
    let (status, answer) = ask(app, "GET", path, "").await;
    assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    answer
}

pub async fn order(app: &TestApp, method: &str, path: &str, body: &str) {
    let (status, answer) = ask(app, method, path, body).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{method} {path}: {answer}");
}

async fn refused(app: &TestApp, method: &str, path: &str, body: &str) -> (u16, String) {
    let (status, answer) = ask(app, method, path, body).await;
    (
        status.as_u16(),
        answer["error"].as_str().unwrap_or_default().to_owned(),
    )
}

/// All workers, page by page, as address and state.
async fn listed(app: &TestApp, query: &str) -> Vec<(String, String)> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(app, &format!("/workers?{query}{after}")).await;
        let text = |it: &Json, field: &str| it[field].as_str().unwrap().to_owned();
        let items = page["items"].as_array().unwrap();
        found.extend(
            items
                .iter()
                .map(|it| (text(it, "address"), text(it, "state"))),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    found.sort_unstable();
    found
}

fn states(of: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = of
        .iter()
        .map(|(worker, state)| (format!("worker.js#{worker}"), (*state).to_owned()));
    owned.collect()
}

async fn workers_are_listed_whether_they_sleep_or_not() {
    let app = setup().start().await;
    assert_eq!(listed(&app, "limit=2").await, []);
    for worker in ["a", "b", "c"] {
        app.text(&format!("/{worker}/add")).await;
    }
    // It has stored nothing.
    app.text("/d/instance").await;
    order(&app, "POST", "/workers/worker.js%23b/sleep", "").await;
    let all = states(&[
        ("a", "awake"),
        ("b", "asleep"),
        ("c", "awake"),
        ("d", "awake"),
    ]);
    for limit in 1..6 {
        assert_eq!(
            listed(&app, &format!("limit={limit}")).await,
            all,
            "by {limit}"
        );
    }
    let awake = states(&[("a", "awake"), ("c", "awake"), ("d", "awake")]);
    assert_eq!(listed(&app, "state=awake&limit=2").await, awake);
    assert_eq!(
        listed(&app, "state=asleep&limit=1").await,
        states(&[("b", "asleep")])
    );
    assert_eq!(listed(&app, "script=worker.js").await, all);
    assert_eq!(listed(&app, "script=other.js").await, []);

    app.text("/a/arm?3600000").await;
    let it = get(&app, "/workers/worker.js%23a").await;
    assert_eq!(
        (&it["script"], &it["name"]),
        (&json!("worker.js"), &json!("a"))
    );
    assert_eq!(
        (&it["keys"], it["bytes"].as_u64() > Some(1)),
        (&json!(1), true),
        "{it}"
    );
    assert!(it["awakeSince"].as_str().unwrap().ends_with('Z'), "{it}");
    assert!(
        it["alarm"]["due"].as_str() > it["awakeSince"].as_str(),
        "{it}"
    );
    let id = it["id"].as_str().unwrap();
    assert_eq!(
        get(&app, &format!("/workers/{id}")).await["address"],
        "worker.js#a"
    );
}

async fn a_worker_is_put_to_sleep_and_woken() {
    let app = setup().start().await;
    app.text("/a/add").await;
    let first = app.text("/a/instance").await;
    order(&app, "POST", "/workers/worker.js%23a/sleep", "").await;
    assert!(eventually(async || app.awake() == 0).await);
    // Whoever sleeps may be told so again.
    order(&app, "POST", "/workers/worker.js%23a/sleep", "").await;
    order(&app, "POST", "/workers/worker.js%23a/wake", "").await;
    assert!(
        eventually(async || get(&app, "/workers/worker.js%23a").await["state"] == "awake").await
    );
    order(&app, "POST", "/workers/worker.js%23a/wake", "").await;
    let second = app.text("/a/instance").await;
    assert_ne!(first, second);
    assert_eq!(app.text("/a/n").await, "1");
    assert_eq!(
        app.text("/a/instance").await,
        second,
        "being awake, it stays"
    );
}

/// Long before its limit of CPU time, which is 30 s.
async fn a_worker_that_never_waits_is_put_to_sleep_as_well() {
    let app = setup().start().await;
    app.text("/a/add").await;
    assert_eq!(app.text("/a/spin").await, "from now on");
    let began = Instant::now();
    order(&app, "POST", "/workers/worker.js%23a/sleep", "").await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(app.text("/a/n").await, "1");
}

async fn keys_are_read_as_json_and_put_under_a_worker_that_is_awake() {
    let app = setup().start().await;
    app.text(r#"/a/put?{"key":"a/ü","value":{"b":[1,null]}}"#)
        .await;
    app.text("/a/special").await;
    let page = get(&app, "/workers/worker.js%23a/keys?limit=3").await;
    let key = |place: usize| page["items"][place]["key"].clone();
    assert_eq!(
        (key(0), key(1), key(2)),
        (json!("a/ü"), json!("bytes"), json!("date"))
    );
    assert_eq!(page["items"][0]["value"], json!({"b": [1, null]}));
    assert_eq!(
        page["items"][1]["value"],
        json!({"$bytes": "AQACAA==", "type": "Uint16Array"})
    );
    assert_eq!(page["next"], "date");
    let rest = get(&app, "/workers/worker.js%23a/keys?after=date").await;
    let values: Vec<_> = rest["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["value"])
        .collect();
    let expected = [
        &json!({"$error": "no", "name": "RangeError"}),
        &json!({"undefined": {"$undefined": true}, "self": {"$again": true}}),
        &json!({"$map": [["a", {"$set": [{"$bigint": "1"}]}]]}),
        &json!("é😀"),
    ];
    assert_eq!(values, expected);
    assert_eq!(rest["next"], Json::Null);
    let one = get(&app, "/workers/worker.js%23a/key?name=a%2F%C3%BC").await;
    assert_eq!(one["value"], json!({"b": [1, null]}));
    let prefixed = get(&app, "/workers/worker.js%23a/keys?prefix=d").await;
    assert_eq!(prefixed["items"].as_array().unwrap().len(), 1);

    // Its instance knows what it has stored: another one has to know better.
    let before = app.text("/a/instance").await;
    app.text("/a/add").await;
    order(&app, "PUT", "/workers/worker.js%23a/key?name=n", "41").await;
    assert_eq!(app.text("/a/add").await, "42");
    assert_ne!(app.text("/a/instance").await, before);
    order(&app, "DELETE", "/workers/worker.js%23a/key?name=n", "").await;
    assert_eq!(app.text("/a/n").await, "0");
    // And of one that nobody knows yet.
    order(&app, "PUT", "/workers/worker.js%23new/key?name=n", "7").await;
    assert_eq!(app.text("/new/n").await, "7");
}

async fn what_is_put_from_outside_is_what_javascript_gets() {
    let app = setup().start().await;
    for (value, expected) in [
        (json!(1.5), "number 1.5"),
        (json!(-1_073_741_825), "number -1073741825"),
        (json!({"$number": "-0"}), "number -0"),
        (json!("é"), "string é"),
        (json!("wide 😀 text"), "string wide 😀 text"),
        (
            json!({"$bigint": "-18446744073709551616"}),
            "bigint -18446744073709551616",
        ),
        (json!({"$bigint": "0"}), "bigint 0"),
        (
            json!({"$date": "1970-01-01T00:00:00.001Z"}),
            "date 1970-01-01T00:00:00.001Z",
        ),
        (
            json!({"$map": [["k", {"$set": [1, "x"]}]]}),
            "map string k=number1,stringx",
        ),
        (
            json!({"$bytes": "AQACAA==", "type": "Int16Array"}),
            "Int16Array 1,2",
        ),
        (json!({"$regexp": "a/b", "flags": "gu"}), "regexp /a\\/b/gu"),
        (
            json!({"$error": "no", "name": "TypeError", "cause": 7}),
            "TypeError no 7",
        ),
        (json!([1, {"$hole": true}, 3]), "object 3[0,2]"),
        (
            json!({"😀": {"a": [true]}, "1": null}),
            r#"object {"1":null,"😀":{"a":[true]}}"#,
        ),
        (json!({"$undefined": true}), "undefined undefined"),
    ] {
        order(
            &app,
            "PUT",
            "/workers/worker.js%23a/key?name=v",
            &value.to_string(),
        )
        .await;
        assert_eq!(app.text("/a/show?v").await, expected, "{value}");
    }
}

async fn a_deleted_worker_begins_anew_and_its_alarm_never_fires() {
    let app = setup().start().await;
    app.text("/a/add").await;
    app.text("/a/arm?300").await;
    app.text("/b/arm?300").await;
    order(&app, "DELETE", "/workers/worker.js%23a", "").await;
    assert_eq!(app.store.count_workers().await.unwrap(), 1);
    let (status, why) = refused(&app, "GET", "/workers/worker.js%23a", "").await;
    assert_eq!((status, why.contains("not stored")), (404, true), "{why}");
    // Armed as late as the other one was.
    app.eventually("/b/show?fired", "boolean true").await;
    assert_eq!(app.text("/a/all").await, "[]");
    // What is not there can be deleted, too.
    order(&app, "DELETE", "/workers/worker.js%23a", "").await;
}

async fn requests_wait_while_a_worker_is_changed_and_none_fails() {
    let app = setup().start().await;
    let asking = join_all((0..4).map(|_| async {
        for _ in 0..25 {
            app.text("/a/add").await;
        }
    }));
    let changing = async {
        for round in 0..10 {
            order(
                &app,
                "PUT",
                "/workers/worker.js%23a/key?name=other",
                &round.to_string(),
            )
            .await;
            order(&app, "POST", "/workers/worker.js%23a/sleep", "").await;
        }
    };
    futures::join!(asking, changing);
    // Each has added one to what the one before it has left.
    assert_eq!(app.text("/a/n").await, "100");
    assert_eq!(app.text("/a/show?other").await, "number 9");
}

async fn what_was_read_before_a_change_is_not_what_an_instance_begins_with() {
    let (app, store) = start_held(JOBS).await;
    app.text("/a/add").await;
    order(&app, "POST", "/workers/worker.js%23a/sleep", "").await;
    // It wakes, and has read what is stored.
    store.hold_loads(true);
    let loads = store.count_loads();
    let asking = app.text("/a/add");
    let changing = async {
        assert!(eventually(async || store.count_loads() > loads).await);
        order(&app, "PUT", "/workers/worker.js%23a/key?name=n", "10").await;
        store.hold_loads(false);
    };
    let (answer, ()) = futures::join!(asking, changing);
    assert_eq!(answer, "11");
    assert_eq!(app.text("/a/n").await, "11");
}

async fn two_changes_at_once_are_both_made() {
    let app = with_objects(OBJECT, &[("ROOM", "Room")]).start().await;
    app.text("/lobby/add").await;
    for _ in 0..5 {
        let put = async |key: &str| {
            let path = format!("/workers/Room%23lobby/key?name={key}");
            order(&app, "PUT", &path, "7").await;
        };
        futures::join!(put("a"), app.text("/lobby/add"), put("b"), put("c"));
    }
    let keys = get(&app, "/workers/Room%23lobby/keys").await;
    let keys: Vec<_> = keys["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["key"])
        .collect();
    assert_eq!(keys, ["a", "b", "c", "count"]);
    // Its journal is whole: what begins with it reads all of it.
    order(&app, "POST", "/workers/Room%23lobby/sleep", "").await;
    assert_ne!(app.text("/lobby/count").await, "undefined");
}

const OBJECT: &str = r#"
import { DurableObject } from "cloudflare:workers";
export class Room extends DurableObject {
  add() {
    this.n = (this.n ?? 0) + 1;
    this.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, text TEXT, data BLOB)");
    this.ctx.storage.sql.exec("INSERT INTO messages (text, data) VALUES (?, ?)", `message ${this.n}`, new Uint8Array([this.n]));
    this.ctx.storage.kv.put("count", this.n);
    return this.n;
  }
  count() { return this.ctx.storage.kv.get("count"); }
  name() { return this.ctx.id.name; }
}
export default {
  async fetch(request, env) {
    const [, name, method] = new URL(request.url).pathname.split("/");
    return new Response(String(await env.ROOM.getByName(name)[method]()));
  },
};"#;

/// What an expression comes to in a worker; 200, unless it throws.
async fn evaluated(app: &TestApp, worker: &str, expression: &str) -> (u16, Json) {
    let body = json!({"expression": expression}).to_string();
    let path = format!("/workers/{worker}/exec");
    let (status, answer) = ask(app, "POST", &path, &body).await;
    (status.as_u16(), answer)
}

async fn an_expression_is_evaluated_in_the_live_instance() {
    let app = setup().start().await;
    let instance = app.text("/a/instance").await;
    let evaluate = async |expression: &str| evaluated(&app, "worker.js%23a", expression).await;
    for (expression, text, value) in [
        ("instance + 1", None, None),
        ("6 * 7 // the answer", Some("42"), Some(json!(42))),
        ("{ a: 1 }", Some("{ a: 1 }"), Some(json!({"a": 1}))),
        (
            "await storage.put('x', 2n)",
            Some("undefined"),
            Some(json!({"$undefined": true})),
        ),
        (
            "storage.get('x')",
            Some("2n"),
            Some(json!({"$bigint": "2"})),
        ),
        ("name", Some("\"a\""), Some(json!("a"))),
        ("const a = 2; return a * 3;", Some("6"), Some(json!(6))),
        ("() => 1", Some("[Function (anonymous)]"), None),
        ("this === module.default", Some("true"), Some(json!(true))),
    ] {
        let (status, answer) = evaluate(expression).await;
        if expression.starts_with("instance") {
            // Of the module's own variables it knows nothing.
            assert_eq!(status, 409, "{answer}");
            let why = answer["error"].as_str().unwrap();
            assert!(why.starts_with("ReferenceError: instance"), "{why}");
            continue;
        }
        assert_eq!(status, 200, "{expression}: {answer}");
        if let Some(text) = text {
            assert_eq!(answer["text"], text, "{expression}");
        }
        assert_eq!(answer.get("value"), value.as_ref(), "{expression}");
    }
    // What it wrote is stored.
    assert_eq!(
        get(&app, "/workers/worker.js%23a/key?name=x").await["value"],
        json!({"$bigint": "2"})
    );
    for (expression, why) in [
        ("(", "SyntaxError"),
        (
            "(async () => { throw new RangeError('no') })()",
            "RangeError: no",
        ),
        ("Promise.reject(7)", "7"),
        ("missing", "ReferenceError: missing is not defined"),
    ] {
        let (status, answer) = evaluate(expression).await;
        assert_eq!(status, 409, "{expression}: {answer}");
        assert!(
            answer["error"].as_str().unwrap().starts_with(why),
            "{answer}"
        );
    }
    let wrong = refused(&app, "POST", "/workers/worker.js%23a/exec", "{}").await;
    assert_eq!(wrong.0, 400, "{wrong:?}");
    // All that was the same instance.
    assert_eq!(app.text("/a/instance").await, instance);
}

async fn an_expression_sees_the_object_and_wakes_it() {
    let app = with_objects(OBJECT, &[("ROOM", "Room")]).start().await;
    app.text("/lobby/add").await;
    let id = get(&app, "/workers/Room%23lobby").await["objectId"].clone();
    order(&app, "POST", "/workers/Room%23lobby/sleep", "").await;
    assert!(eventually(async || app.awake() == 0).await);
    let evaluate = async |expression: &str| evaluated(&app, "Room%23lobby", expression).await;
    let (status, answer) = evaluate("this.ctx.id.toString()").await;
    assert_eq!((status, &answer["value"]), (200, &id), "{answer}");
    assert_eq!(app.awake(), 1);
    let (_, answer) =
        evaluate("this.ctx.storage.sql.exec('SELECT count(*) AS n FROM messages').one()").await;
    assert_eq!(answer["value"], json!({"n": 1}), "{answer}");
}

async fn an_objects_keys_and_rows_are_read_and_put() {
    let app = with_objects(OBJECT, &[("ROOM", "Room")]).start().await;
    app.text("/lobby/add").await;
    app.text("/lobby/add").await;
    let all = [("Room#lobby".to_owned(), "awake".to_owned())];
    assert_eq!(listed(&app, "").await, all);
    let it = get(&app, "/workers/Room%23lobby").await;
    assert_eq!(
        (&it["class"], &it["name"], &it["script"]),
        (&json!("Room"), &json!("lobby"), &Json::Null)
    );
    let id = it["objectId"].as_str().unwrap();
    let by_id = get(&app, &format!("/workers/Room%23{id}")).await;
    assert_eq!(by_id["id"], it["id"]);

    // While it is awake, and once it sleeps.
    for _ in 0..2 {
        assert_eq!(
            get(&app, "/workers/Room%23lobby/keys").await["items"][0]["value"],
            2
        );
        let query = json!({"query": "SELECT id, text, data FROM messages ORDER BY id"}).to_string();
        let (status, rows) = ask(&app, "POST", "/workers/Room%23lobby/sql", &query).await;
        assert_eq!(status, StatusCode::OK, "{rows}");
        assert_eq!(rows["columns"], json!(["id", "text", "data"]));
        let blob = |base64: &str| json!({"$bytes": base64, "type": "ArrayBuffer"});
        let expected = json!([
            [1, "message 1", blob("AQ==")],
            [2, "message 2", blob("Ag==")]
        ]);
        assert_eq!(rows["rows"], expected);
        order(&app, "POST", "/workers/Room%23lobby/sleep", "").await;
    }
    // Asking changes nothing.
    let query = json!({"query": "DELETE FROM messages"}).to_string();
    ask(&app, "POST", "/workers/Room%23lobby/sql", &query).await;
    let query = json!({"query": "SELECT count(*) FROM messages"}).to_string();
    let (_, rows) = ask(&app, "POST", "/workers/Room%23lobby/sql", &query).await;
    assert_eq!(rows["rows"], json!([[2]]));

    app.text("/lobby/count").await;
    order(&app, "PUT", "/workers/Room%23lobby/key?name=count", "10").await;
    assert_eq!(app.text("/lobby/count").await, "10");
    assert_eq!(
        get(&app, "/workers/Room%23lobby/key?name=count").await["value"],
        10
    );
    let (status, why) = refused(
        &app,
        "POST",
        "/workers/Room%23lobby/sql",
        r#"{"query":"SELEC 1"}"#,
    )
    .await;
    assert_eq!((status, why.contains("syntax error")), (409, true), "{why}");
    order(&app, "DELETE", "/workers/Room%23lobby", "").await;
    assert_eq!(app.text("/lobby/count").await, "undefined");
}

async fn what_cannot_be_is_refused_with_a_reason() {
    let app = setup().start().await;
    app.text("/a/add").await;
    let unknown = format!("/workers/{}", "0".repeat(32));
    for (method, path, body, status, why) in [
        ("GET", "/workers/nobody", "", 404, "SCRIPT#NAME"),
        ("GET", "/workers/other.js%23a", "", 404, "no script"),
        ("GET", &*unknown, "", 404, "no worker with the id"),
        ("GET", "/workers/%FF", "", 400, "UTF-8"),
        ("GET", "/workers?limit=0", "", 400, "1 to 1000"),
        ("GET", "/workers?limit=1001", "", 400, "1 to 1000"),
        ("GET", "/workers?after=x", "", 400, "id"),
        ("GET", "/workers?state=dead", "", 400, "awake or asleep"),
        ("POST", "/workers", "", 400, "POST"),
        ("PUT", "/workers/worker.js%23a", "", 400, "PUT"),
        ("GET", "/workers/worker.js%23a/what", "", 404, "nothing"),
        ("GET", "/else", "", 404, "nothing"),
        (
            "GET",
            "/workers/worker.js%23a/key?name=none",
            "",
            404,
            "no key \"none\"",
        ),
        ("PUT", "/workers/worker.js%23a/key?name=n", "{", 400, "JSON"),
        (
            "PUT",
            "/workers/worker.js%23a/key?name=n",
            r#"{"$date":"soon"}"#,
            409,
            "$date",
        ),
        (
            "POST",
            "/workers/worker.js%23a/move",
            r#"{"pod":"b"}"#,
            409,
            "no pod b runs the application's workers: ",
        ),
        ("POST", "/workers/worker.js%23a/move", "1", 400, "JSON"),
        (
            "POST",
            "/workers/worker.js%23a/sql",
            r#"{"query":"SELECT 1"}"#,
            409,
            "only Durable Objects",
        ),
    ] {
        let (was, said) = refused(&app, method, path, body).await;
        assert_eq!(was, status, "{method} {path}: {said}");
        assert!(said.contains(why), "{method} {path}: {said}");
    }
    // A key may be longer than any may be.
    let long = format!("/workers/worker.js%23a/key?name={}", "k".repeat(3000));
    assert_eq!(refused(&app, "PUT", &long, "1").await.0, 409);
    assert_eq!(app.text("/a/n").await, "1", "nothing has changed");
}
