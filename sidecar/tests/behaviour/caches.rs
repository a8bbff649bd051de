//! What only programs for Cloudflare have: `caches`, and a request's `cf`.

use portside_core::compatibility::Compatibility;
use serde_json::{Value, json};

use crate::app::{Setup, TestApp};
use crate::held::{HeldStore, Mode};
use crate::objects::with_objects;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    responses_are_put_and_found,
    all_of_the_application_has_the_same_caches,
    what_may_not_be_kept_is_not,
    what_is_refused_says_why,
    conditions_and_ranges_are_answered,
    what_is_put_waits_for_the_writes_before_it,
    caches_outlive_the_code_that_filled_them,
    a_request_has_what_is_told_of_its_network,
    programs_of_portsides_own_have_neither,
];

/// Does what the path names, with `jobs`, which are defined before, and answers with the result.
const SERVER: &str = r#"
export default {
  async fetch(request, env) {
    try {
      const job = jobs[new URL(request.url).pathname.slice(1)];
      return Response.json((await job(request, env)) ?? null);
    } catch (error) {
      return Response.json(`${error.name}: ${error.message}`);
    }
  },
};"#;

fn of_cloudflare(mut setup: Setup) -> Setup {
    setup.compatibility = Compatibility::new(None, []);
    setup
}

fn server(jobs: &str) -> Setup {
    let server = format!("const jobs = {{ {jobs} }};\n{SERVER}");
    of_cloudflare(Setup::new(&[("server.js", &server)]))
}

async fn job(app: &TestApp, name: &str) -> Value {
    serde_json::from_str(&app.text(&format!("/{name}")).await).unwrap()
}

async fn responses_are_put_and_found() {
    let app = server(
        r#"
        put: async () => {
          const headers = { "cache-control": "max-age=60", "x-mine": "\u00fc" };
          const response = new Response("kept", { status: 203, statusText: "Mine", headers });
          const putting = caches.default.put("https://a.test/x#part", response);
          return [response.bodyUsed, await putting];
        },
        find: async () => {
          const found = await caches.default.match(new Request("https://a.test/x"));
          const { status, statusText, headers, url } = found;
          const names = ["x-mine", "cf-cache-status", "age"].map((name) => headers.get(name));
          return [status, statusText, ...names, url, await found.text()];
        },
        others: async () => Promise.all([
          caches.default.match("https://a.test/y"),
          (await caches.open("mine")).match("https://a.test/x"),
          caches.default.match(new Request("https://a.test/x", { method: "POST" })),
          caches.default.match(new Request("https://a.test/x", { method: "HEAD" }), { ignoreMethod: true })
            .then((found) => found.text()),
        ]),
        changed: async () => {
          const found = await caches.default.match("https://a.test/x");
          try { found.headers.set("a", "b"); } catch (error) { return error.name; }
        },
        deleted: async () => [
          await caches.default.delete(new Request("https://a.test/x", { method: "PUT" })),
          await caches.default.delete("https://a.test/x"),
          await caches.default.delete("https://a.test/x"),
          await caches.default.match("https://a.test/x"),
        ],
        stream: async () => {
          const { readable, writable } = new IdentityTransformStream();
          const writer = writable.getWriter();
          const written = (async () => {
            for (const part of ["a", "b", "c"]) await writer.write(new TextEncoder().encode(part));
            await writer.close();
          })();
          await caches.default.put("https://a.test/stream", new Response(readable));
          await written;
          return (await caches.default.match("https://a.test/stream")).text();
        },
        empty: async () => {
          await caches.default.put("https://a.test/empty", new Response(null, { headers: { "cache-control": "s-maxage=9" } }));
          return (await caches.default.match("https://a.test/empty")).text();
        },
        names: () => [`${caches}`, `${caches.default}`, caches instanceof CacheStorage, caches.default instanceof Cache,
          caches.default === caches.default],
        "#,
    );
    let app = app.start().await;
    assert_eq!(job(&app, "put").await, json!([true, null]));
    assert_eq!(
        job(&app, "find").await,
        json!([203, "Mine", "\u{fc}", "HIT", "0", "", "kept"])
    );
    assert_eq!(job(&app, "others").await, json!([null, null, null, "kept"]));
    assert_eq!(job(&app, "changed").await, json!("TypeError"));
    assert_eq!(
        job(&app, "deleted").await,
        json!([false, true, false, null])
    );
    assert_eq!(job(&app, "stream").await, json!("abc"));
    assert_eq!(job(&app, "empty").await, json!(""));
    let names = json!(["[object CacheStorage]", "[object Cache]", true, true, true]);
    assert_eq!(job(&app, "names").await, names);
}

async fn all_of_the_application_has_the_same_caches() {
    let module = r#"
        export class Lab {
          async fetch() {
            await (await caches.open("mine")).put("https://a.test/", new Response("an object's"));
            return new Response("put");
          }
        }
        export default {
          async fetch(request, env) {
            const { pathname } = new URL(request.url);
            if (pathname === "/object") return env.LAB.getByName("a").fetch(request);
            return await (await caches.open("mine")).match("https://a.test/") ?? new Response("nothing");
          },
        };"#;
    let mut setup = of_cloudflare(with_objects(module, &[("LAB", "Lab")]));
    setup.isolates_objects = true;
    let app = setup.start().await;
    assert_eq!(app.text("/").await, "nothing");
    assert_eq!(app.text("/object").await, "put");
    // Each of the servers.
    for _ in 0..4 {
        assert_eq!(app.text("/").await, "an object's");
    }
}

async fn what_may_not_be_kept_is_not() {
    let app = server(
        r#"
        kept: async () => {
          const kept = [];
          for (const [status, headers, body] of [
            [200, { "cache-control": "no-store" }, "x"],
            [200, { "set-cookie": "a=1", "cache-control": "max-age=60" }, "x"],
            [200, { "set-cookie": "a=1", "cache-control": "max-age=60, private=Set-Cookie" }, "x"],
            [500, {}, "x"],
            [304, {}, null],
            [200, {}, new Uint8Array(16 << 20)],
            [200, {}, "x"],
          ]) {
            await caches.default.put("https://a.test/", new Response(body, { status, headers }));
            const found = await caches.default.match("https://a.test/");
            kept.push(found === undefined ? null : [...found.headers.keys()].includes("set-cookie"));
            await caches.default.delete("https://a.test/");
          }
          return kept;
        },
        "#,
    );
    let app = app.start().await;
    let expected = json!([null, null, false, null, null, null, false]);
    assert_eq!(job(&app, "kept").await, expected);
    app.expect_log("a response with status 304 is not kept")
        .await;
}

async fn what_is_refused_says_why() {
    let app = server(
        r#"
        refused: async () => {
          const url = "https://a.test/", cache = caches.default;
          const used = new Response("x");
          await used.text();
          const said = [];
          for (const attempt of [
            () => cache.put(new Request(url, { method: "POST" }), new Response()),
            () => cache.put(url, new Response("x", { status: 206 })),
            () => cache.put(url, new Response("x", { headers: { vary: "accept, *" } })),
            () => cache.put(url, Response.error()),
            () => cache.put(url, new Response(null, { status: 101, webSocket: new WebSocketPair()[0] })),
            () => cache.put(url, used),
            () => cache.put(url, "x"),
            () => cache.match("/x"),
            () => cache.match("ftp://a.test/"),
            () => cache.match(url, { ignoreSearch: true }),
            () => cache.keys(),
            () => caches.has("x"),
            () => caches.open("x".repeat(1024)),
            () => new Cache(),
          ]) {
            try { said.push(await attempt()); } catch (error) { said.push(`${error.name}: ${error.message}`); }
          }
          return said;
        },
        "#,
    );
    let app = app.start().await;
    let expected = json!([
        "TypeError: Cannot cache response to non-GET request.",
        "TypeError: Cannot cache response to a range request (206 Partial Content).",
        "TypeError: Cannot cache response with 'Vary: *' header.",
        "TypeError: Cache is unable to store an error response",
        "TypeError: Cannot cache WebSocket upgrade response.",
        "TypeError: Body has already been used. It can only be used once. Use tee() first if you need to read it twice.",
        "TypeError: Failed to execute 'put' on 'Cache': parameter 2 is not of type 'Response'.",
        "TypeError: Invalid URL. Cache API keys must be fully-qualified, valid URLs.",
        "TypeError: Invalid URL. Cache API keys must be fully-qualified, valid URLs.",
        "TypeError: The 'ignoreSearch' field on 'CacheQueryOptions' is not implemented.",
        "TypeError: Failed to execute 'keys' on 'Cache': the method is not implemented.",
        "TypeError: Failed to execute 'has' on 'CacheStorage': the method is not implemented.",
        "TypeError: Cache name is too long.",
        "TypeError: Failed to construct 'Cache': the constructor is not implemented.",
    ]);
    assert_eq!(job(&app, "refused").await, expected);
}

async fn conditions_and_ranges_are_answered() {
    let app = server(
        r#"
        asked: async () => {
          const url = "https://a.test/", headers = { etag: '"1"', "content-length": "5" };
          await caches.default.put(url, new Response("hello", { headers }));
          const answers = [];
          for (const asked of [{ "if-none-match": '"1"' }, { "if-none-match": '"2"' }, { range: "bytes=1-2" }, { range: "bytes=9-" }]) {
            const found = await caches.default.match(new Request(url, { headers: asked }));
            answers.push([found.status, found.headers.get("content-range"), await found.text()]);
          }
          return answers;
        },
        "#,
    );
    let app = app.start().await;
    let expected = json!([
        [304, null, ""],
        [200, null, "hello"],
        [206, "bytes 1-2/5", "el"],
        [416, "bytes */5", ""],
    ]);
    assert_eq!(job(&app, "asked").await, expected);
}

async fn what_is_put_waits_for_the_writes_before_it() {
    let module = r#"
        import { DurableObject } from "cloudflare:workers";
        export class Lab extends DurableObject {
          fetch() {
            this.ctx.storage.put("k", 1);
            this.ctx.waitUntil(caches.default.put("https://a.test/", new Response("written")));
            return new Response("done");
          }
        }
        export default {
          async fetch(request, env) {
            if (new URL(request.url).pathname === "/write") return env.LAB.getByName("a").fetch(request);
            return await caches.default.match("https://a.test/") ?? new Response("nothing");
          },
        };"#;
    let store = HeldStore::new().await;
    let app = std::sync::Arc::new(
        Setup {
            store: Some(store.clone()),
            ..of_cloudflare(with_objects(module, &[("LAB", "Lab")]))
        }
        .start()
        .await,
    );
    store.take_asked();
    store.set(Mode::Held);
    let writing = app.clone();
    let writing = tokio::spawn(async move { writing.get("/write").await });
    store.is_asked().await;
    for _ in 0..20 {
        assert_eq!(app.text("/").await, "nothing");
    }
    store.set(Mode::Open);
    app.eventually("/", "written").await;
    assert_eq!(writing.await.unwrap().1, "done");
}

async fn caches_outlive_the_code_that_filled_them() {
    let jobs = r#"
        put: () => caches.default.put("https://a.test/", new Response("kept")),
        find: async () => (await caches.default.match("https://a.test/"))?.text(),
        "#;
    let app = server(jobs).start().await;
    job(&app, "put").await;
    app.replace(server(&format!("{jobs} more: 1")).class())
        .await
        .unwrap();
    assert_eq!(job(&app, "find").await, json!("kept"));
}

async fn a_request_has_what_is_told_of_its_network() {
    let module = format!(
        r#"
        const shown = ({{ cf }}) => cf === undefined ? "none" : cf;
        const jobs = {{
          come: (request) => [request.cf.country === undefined, request.cf?.colo === undefined, request.cf === request.cf, request.cf],
          made: (request) => {{
            const cf = {{ cacheTtl: 5, image: {{ width: 3 }} }};
            const made = new Request("https://a.test/", {{ cf }});
            const copied = new Request(made), changed = new Request(made, {{ cf: {{ mine: 1 }} }});
            copied.cf.image.width = 4;
            request.cf.seen = true;
            return [new Request("https://a.test/"), made, copied, changed, made.clone(), new Request(request), request.clone()].map(shown);
          }},
          kinds: () => {{
            class Mine extends Request {{}}
            const mine = new Mine("https://a.test/", {{ cf: {{ a: 1 }} }});
            return [mine instanceof Mine, mine instanceof Request, mine.cf, Request.name, new Request(mine) instanceof Request];
          }},
          sent: (request, env) => env.LAB.getByName("a").fetch("https://a.test/", {{ cf: {{ a: 1 }} }}).then((it) => it.json()),
        }};
        export class Lab {{
          fetch(request) {{ return Response.json(request.cf?.a ?? "unknown"); }}
        }}
        {SERVER}"#
    );
    let app = of_cloudflare(with_objects(&module, &[("LAB", "Lab")]));
    let app = app.start().await;
    assert_eq!(job(&app, "come").await, json!([true, true, true, {}]));
    let made = json!({ "cacheTtl": 5, "image": { "width": 3 } });
    let copied = json!({ "cacheTtl": 5, "image": { "width": 4 } });
    let seen = json!({ "seen": true });
    let expected = json!(["none", made, copied, { "mine": 1 }, made, seen, seen]);
    assert_eq!(job(&app, "made").await, expected);
    let kinds = json!([true, true, { "a": 1 }, "Request", true]);
    assert_eq!(job(&app, "kinds").await, kinds);
    assert_eq!(job(&app, "sent").await, json!("unknown"));
}

async fn programs_of_portsides_own_have_neither() {
    let mut setup = server(
        r#"names: (request) => [typeof caches, typeof Cache, "cf" in request, new Request("https://a.test/", { cf: {} }).cf],"#,
    );
    setup.compatibility = Compatibility::default();
    let app = setup.start().await;
    let names = json!(["undefined", "undefined", false, null]);
    assert_eq!(job(&app, "names").await, names);
}
