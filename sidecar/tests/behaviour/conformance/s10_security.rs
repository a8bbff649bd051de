//! Section 10: the security model.

use portside_exchange::FetchError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::app::Setup;
use crate::lab::lab;
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r077_workers_run_only_when_fetch_addresses_them,
    r078_workers_may_fetch,
    r079_workers_share_nothing,
    r079_a_worker_cannot_reach_the_host,
];

async fn r077_workers_run_only_when_fetch_addresses_them() {
    let server = r#"export default { fetch: () => new Response("no", { status: 403 }) };"#;
    let worker = r#"console.log("the worker ran"); export default { connect() {} };"#;
    let app = Setup::new(&[("server.js", server), ("worker.js", worker)])
        .start()
        .await;
    for path in [
        "/worker.js",
        "/worker.js/",
        "/",
        "/../worker.js",
        "//worker.js",
    ] {
        assert_eq!(app.get(path).await, (403, "no".into()));
    }
    app.app.shut_down().await;
    let late = app.request("GET", "/", "").await;
    assert!(matches!(late, Err(FetchError::ShuttingDown)));
    assert!(!app.logged("the worker ran"));
}

async fn r078_workers_may_fetch() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
        stream.write_all(answer).await.unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let user = r#"export const jobs = {
        async get(url) {
          const response = await fetch(url, { method: "POST", body: "body", headers: { "x-test": "yes" } });
          return `${response.status} ${await response.text()}`;
        },
        denied: (url) => fetch(url).then(() => "connected", (error) => String(error)),
        unreachable: (url) => fetch(url).then(() => "connected", (error) => `${error}, ${error.cause}`),
        socket: (url) => new Promise((resolve) => new WebSocket(url).onclose = ({ code }) => resolve(code)),
    };"#;
    let app = lab(user).start().await;
    assert_eq!(
        app.text(&format!("/w/get?http://{address}/path")).await,
        "200 hello"
    );
    let request = answering.await.unwrap().to_lowercase();
    assert!(request.starts_with("post /path http/1.1"), "{request}");
    assert!(request.contains("x-test: yes"), "{request}");
    for metadata in [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "168.63.129.16",
    ] {
        let denied = app.text(&format!("/w/denied?http://{metadata}/")).await;
        assert!(
            denied.starts_with("TypeError: fetch failed: net access to \"")
                && denied.contains(":80\" is denied"),
            "{metadata}: {denied}"
        );
        assert!(denied.contains("--allow-network"), "{denied}");
        assert!(denied.contains("spec.network.allow"), "{denied}");
    }
    assert_eq!(app.text("/w/socket?ws://169.254.169.254/").await, "1006");
    app.expect_log("WebSocket to 169.254.169.254: net access to \"169.254.169.254:80\" is denied")
        .await;
    // Nobody listens there any more.
    let unreachable = app
        .text(&format!("/w/unreachable?http://{address}/secret?secret"))
        .await;
    let (said, cause) = unreachable.split_once(", Error: ").unwrap();
    let why = said.strip_prefix(&format!("TypeError: fetch failed: http://{address}: "));
    assert_eq!(why, Some(cause), "{unreachable}");
    assert!(cause.to_lowercase().contains("refused"), "{unreachable}");
    assert!(!unreachable.contains("secret"), "{unreachable}");
    app.stop().await;
}

async fn r079_workers_share_nothing() {
    let user = r#"
        let variable = "untouched";
        export const jobs = {
          taint() {
            variable = "tainted";
            globalThis.tainted = 1;
            Array.prototype.tainted = 1;
            Object.prototype.tainted = 1;
            JSON.parse = () => "tainted";
            Date.now = () => 0;
            storage.tainted = 1;
            return "tainted";
          },
          state: () => [variable, typeof tainted, [].tainted ?? null, JSON.parse("1"), Date.now() > 0, storage.tainted ?? null].join(),
          async keys() { return (await storage.list()).size; },
          async put() { await storage.put("k", 1); return "put"; },
        };
    "#;
    let app = lab(user).start().await;
    assert_eq!(app.text("/b/state").await, "untouched,undefined,,1,true,");
    assert_eq!(app.text("/a/taint").await, "tainted");
    assert_eq!(app.text("/b/state").await, "untouched,undefined,,1,true,");
    assert_eq!(app.text("/c/state").await, "untouched,undefined,,1,true,");
    assert_eq!(app.text("/b/put").await, "put");
    assert_eq!(app.text("/c/keys").await, "0");
    assert_eq!(app.text("/-/").await, "the server");
    app.stop().await;
}

async fn r079_a_worker_cannot_reach_the_host() {
    let user = r#"
        const tried = async (specifier) => import(specifier).then(() => "loaded", () => "refused");
        export const jobs = {
          async probe() {
            const imports = ["ext:core/mod.js", "ext:portside/storage.js", "file:///etc/passwd", "node:fs", "../../etc/passwd", "data:text/javascript,1", "http://127.0.0.1/x.js"];
            const loaded = [];
            for (const specifier of imports) if (await tried(specifier) !== "refused") loaded.push(specifier);
            const file = await fetch("file:///etc/passwd").then(() => "fetched", () => "refused");
            return [loaded, file, typeof Deno, typeof __bootstrap, typeof portsideStart, typeof process, typeof require];
          },
        };
    "#;
    let app = lab(user).start().await;
    let none = "undefined";
    assert_eq!(
        app.text("/w/probe").await,
        format!(r#"[[],"refused","{none}","{none}","{none}","{none}","{none}"]"#)
    );
    app.stop().await;
}
