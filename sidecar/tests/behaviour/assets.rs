//! Static assets: which requests they answer before the server, and how code reaches them.

use std::sync::Arc;

use portside_assets::{Assets, NotFoundHandling, ServerFirst, Settings};
use portside_core::variable::Value;
use tempfile::TempDir;

use crate::app::{Setup, TestApp, text};
use crate::objects::with_objects;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    they_are_tried_before_the_server,
    the_server_may_come_first,
    without_a_server_they_answer_everything,
    the_binding_is_a_fetcher,
    objects_and_entry_points_reach_them,
    large_ones_stream,
    new_ones_come_with_new_code,
];

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    folder
}

const FILES: [(&str, &str); 4] = [
    ("index.html", "<h1>"),
    ("page.html", "a page"),
    ("404.html", "nothing here"),
    ("_redirects", "/old /page 301\n/loop /loop"),
];

fn settings() -> Settings {
    Settings {
        has_server: true,
        ..Settings::default()
    }
}

/// An application with assets, bound as `FILES`.
async fn start(mut setup: Setup, folder: &TempDir, settings: Settings) -> TestApp {
    let assets = Assets::scan(folder.path(), settings).unwrap().found;
    setup.assets = Some(Arc::new(assets));
    setup.env.push(("FILES".to_owned(), Value::Assets));
    setup.start().await
}

const SERVER: &str = "export default { fetch: ({ method, url }) => new Response(`server ${method} ${new URL(url).pathname}`) };";

async fn they_are_tried_before_the_server() {
    let files = folder(&FILES);
    let app = start(Setup::new(&[("server.js", SERVER)]), &files, settings()).await;
    assert_eq!(app.text("/").await, "<h1>");
    assert_eq!(app.text("/page").await, "a page");
    assert_eq!(app.text("/other").await, "server GET /other");
    let response = app.request("GET", "/page.html?q", "").await.unwrap();
    assert_eq!(
        (response.status.as_u16(), &response.headers["location"]),
        (307, &"/page?q".parse().unwrap())
    );
    let response = app.request("POST", "/page", "body").await.unwrap();
    assert_eq!(response.status, 405);
    let response = app.request("POST", "/other", "body").await.unwrap();
    assert_eq!(text(response.body).await, "server POST /other");
    assert_eq!(
        app.get("/%2e%2e%2fserver.js").await.1,
        "server GET /%2e%2e%2fserver.js"
    );
    app.stop().await;
}

async fn the_server_may_come_first() {
    let files = folder(&FILES);
    let settings = Settings {
        server_first: ServerFirst::new(&["/p*", "!/page"]),
        ..settings()
    };
    let app = start(Setup::new(&[("server.js", SERVER)]), &files, settings).await;
    assert_eq!(app.text("/page").await, "a page");
    assert_eq!(app.text("/page.html").await, "server GET /page.html");
    assert_eq!(app.text("/").await, "<h1>");
    app.stop().await;
}

async fn without_a_server_they_answer_everything() {
    let files = folder(&FILES);
    let mut setup = Setup::new(&[]);
    let alone = portside_core::bundle::Bundle::without_server();
    setup.main = alone.main.clone();
    setup.add(
        &alone.main,
        std::str::from_utf8(&alone.modules[&alone.main].code).unwrap(),
    );
    let settings = Settings {
        not_found: NotFoundHandling::NotFoundPage,
        has_server: alone.has_server(),
        ..Settings::default()
    };
    let app = start(setup, &files, settings).await;
    app.app.try_out().await.unwrap();
    assert_eq!(app.text("/").await, "<h1>");
    assert_eq!(app.get("/other").await, (404, "nothing here".to_owned()));
    app.stop().await;
}

async fn the_binding_is_a_fetcher() {
    let server = r#"
const of = async (response) => [response.status, response.url, response.redirected, await response.text()].join(" ");
const failure = async (f) => { try { return await f(); } catch (error) { return `${error.name}: ${error.message}`; } };
const tests = {
  url: ({ FILES }) => FILES.fetch("http://any.host/page").then(of),
  object: ({ FILES }) => FILES.fetch(new URL("https://any.host/page")).then(of),
  follow: ({ FILES }) => FILES.fetch("http://a/old").then(of),
  manual: ({ FILES }) => FILES.fetch("http://a/old", { redirect: "manual" }).then((r) => `${r.status} ${r.headers.get("location")}`),
  loop: ({ FILES }) => failure(() => FILES.fetch("http://a/loop")),
  missing: ({ FILES }) => FILES.fetch("http://a/missing").then(of),
  head: async ({ FILES }) => {
    const response = await FILES.fetch("http://a/page", { method: "HEAD" });
    return `${response.status} ${response.headers.get("content-length")} ${await response.text()}.`;
  },
  post: ({ FILES }) => FILES.fetch("http://a/page", { method: "POST", body: "x" }).then((r) => String(r.status)),
  upload: ({ FILES }) => {
    const body = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(65536)) });
    return FILES.fetch("http://a/page", { method: "POST", body, duplex: "half" }).then((r) => String(r.status));
  },
  tag: async ({ FILES }) => {
    const tag = (await FILES.fetch("http://a/page")).headers.get("etag");
    const again = await FILES.fetch("http://a/page", { headers: { "if-none-match": tag } });
    return `${tag.length} ${again.status}`;
  },
  relative: ({ FILES }) => failure(() => FILES.fetch("/page")),
  method: ({ FILES }) => failure(() => FILES.get("/page")),
  aborted: ({ FILES }) => failure(() => FILES.fetch("http://a/page", { signal: AbortSignal.abort() })),
  kind: ({ FILES }) => `${FILES.constructor?.name} ${typeof FILES.fetch} ${"FILES" in this_env()}`,
};
import { env } from "cloudflare:workers";
const this_env = () => env;
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const test = tests[pathname.slice(1)];
    return test ? new Response(await test(env)) : env.FILES.fetch(request);
  },
};"#;
    let files = folder(&FILES);
    let settings = Settings {
        not_found: NotFoundHandling::NotFoundPage,
        server_first: ServerFirst::new(&["/*"]),
        ..settings()
    };
    let app = start(Setup::new(&[("server.js", server)]), &files, settings).await;
    for (test, outcome) in [
        ("url", "200 http://any.host/page false a page"),
        ("object", "200 https://any.host/page false a page"),
        ("follow", "200 http://a/page true a page"),
        ("manual", "301 /page"),
        ("missing", "404 http://a/missing false nothing here"),
        ("head", "200 6 ."),
        ("post", "405"),
        ("upload", "405"),
        ("tag", "34 304"),
        ("relative", "TypeError: Invalid URL: /page"),
        (
            "method",
            "TypeError: The RPC receiver does not implement the method \"get\".",
        ),
        ("aborted", "AbortError: The signal has been aborted"),
    ] {
        assert_eq!(app.text(&format!("/{test}")).await, outcome, "{test}");
    }
    assert!(
        app.text("/loop")
            .await
            .starts_with("TypeError: Too many redirects.")
    );
    assert!(app.text("/kind").await.ends_with(" function true"));
    // The request as it came.
    assert_eq!(app.text("/page").await, "a page");
    let response = app.request("GET", "/page.html", "").await.unwrap();
    assert_eq!(response.status, 307);
    app.stop().await;
}

async fn objects_and_entry_points_reach_them() {
    let module = r#"
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
export class Room extends DurableObject {
  async page() {
    await this.ctx.storage.put("before", 1);
    return await (await this.env.FILES.fetch("http://a/page")).text();
  }
  fetch(request) {
    return this.env.FILES.fetch(request);
  }
}
export default class extends WorkerEntrypoint {
  async fetch(request) {
    const room = this.env.ROOMS.getByName("a");
    const { pathname } = new URL(request.url);
    if (pathname === "/call") return new Response(await room.page());
    if (pathname === "/through") return room.fetch("http://a/page");
    return this.env.FILES.fetch(new URL("/page", request.url));
  }
}"#;
    let files = folder(&FILES);
    let setup = with_objects(module, &[("ROOMS", "Room")]);
    let app = start(setup, &files, settings()).await;
    for path in ["/call", "/through", "/entry"] {
        assert_eq!(app.text(path).await, "a page", "{path}");
    }
    app.stop().await;
}

async fn large_ones_stream() {
    let large = "0123456789abcdef".repeat(1 << 16);
    let files = folder(&[("large.txt", &large)]);
    let server = r#"export default {
  async fetch(request, { FILES }) {
    const response = await FILES.fetch("http://a/large.txt");
    if (new URL(request.url).pathname === "/whole") return response;
    const reader = response.body.getReader();
    const { value } = await reader.read();
    await reader.cancel();
    return new Response(`${value.length < 1e6} ${response.headers.get("content-length")}`);
  },
};"#;
    let app = start(Setup::new(&[("server.js", server)]), &files, settings()).await;
    assert_eq!(app.text("/large.txt").await, large);
    assert_eq!(app.text("/whole").await, large);
    assert_eq!(app.text("/part").await, "true 1048576");
    app.stop().await;
}

async fn new_ones_come_with_new_code() {
    let files = folder(&FILES);
    let app = start(Setup::new(&[("server.js", SERVER)]), &files, settings()).await;
    assert_eq!(app.text("/page").await, "a page");
    let others = folder(&[("page.html", "another")]);
    let assets = Assets::scan(others.path(), settings()).unwrap().found;
    let mut setup = Setup::new(&[("server.js", SERVER)]);
    setup.assets = Some(Arc::new(assets));
    app.replace(setup.class()).await.unwrap();
    assert_eq!(app.text("/page").await, "another");
    assert_eq!(app.text("/").await, "server GET /");
    app.stop().await;
}
