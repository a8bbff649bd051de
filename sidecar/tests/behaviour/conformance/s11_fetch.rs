//! Section 11: the fetch entry point.

use portside_core::variable::Value;
use portside_exchange::FetchError;

use crate::app::Setup;
use crate::{Case, cases};

/// This section's tests.
pub const CASES: &[Case] = cases![
    r081_fetch_gets_request_and_env,
    r081_a_response_has_its_status_text,
    r081_the_server_has_no_state_of_its_own,
    r082_a_throwing_fetch_is_an_error_and_logged,
    r082_what_is_not_a_response_is_an_error,
    r049_r082_a_fetch_that_meets_an_overload_is_a_503_with_retry_after,
];

async fn r081_fetch_gets_request_and_env() {
    let server = r#"
        export default {
          async fetch(request, env) {
            const seen = [request instanceof Request, this === (await import("./server.js")).default, request.method, request.url, await request.text(), env.GREETING, JSON.stringify(env.LIMITS), env.LIMITS instanceof Object];
            return new Response(seen.join(" "), { status: 201, headers: { "x-answer": "yes" } });
          },
        };
    "#;
    let mut setup = Setup::new(&[("server.js", server)]);
    let limits = Value::Json(r#"{"z":[1,true,null],"a":0.5}"#.to_owned());
    setup.env = vec![
        ("GREETING".into(), "hello".into()),
        ("LIMITS".into(), limits),
    ];
    let app = setup.start().await;
    let response = app.request("POST", "/path?q=1", "body").await.unwrap();
    assert_eq!(response.status.as_u16(), 201);
    assert_eq!(response.headers.get("x-answer").unwrap(), "yes");
    assert_eq!(
        crate::app::text(response.body).await,
        "true true POST http://app.test/path?q=1 body hello {\"z\":[1,true,null],\"a\":0.5} true"
    );
    app.stop().await;
}

async fn r081_a_response_has_its_status_text() {
    let server = r#"
        const bodies = { "/none": null, "/text": "text", "/bytes": new Uint8Array(1) };
        export default {
          fetch(request) {
            const path = new URL(request.url).pathname;
            const body = path === "/stream" ? new Blob(["blob"]).stream() : bodies[path];
            return new Response(body, { status: 299, statusText: "Caf\u00e9" });
          },
        };
    "#;
    let app = Setup::new(&[("server.js", server)]).start().await;
    for path in ["/none", "/text", "/bytes", "/stream"] {
        let response = app.request("GET", path, "").await.unwrap();
        assert_eq!(response.status.as_u16(), 299);
        assert_eq!(&response.reason[..], b"Caf\xe9", "{path}");
    }
    app.stop().await;
}

async fn r081_the_server_has_no_state_of_its_own() {
    let server = r#"
        const names = ["storage", "setAlarm", "getAlarm", "deleteAlarm", "name", "terminate"];
        export default { fetch: () => new Response(names.filter((name) => name in globalThis).join()) };
    "#;
    let app = Setup::new(&[("server.js", server)]).start().await;
    assert_eq!(app.text("/").await, "");
    app.stop().await;
}

async fn r082_a_throwing_fetch_is_an_error_and_logged() {
    let server = r#"
        export default {
          fetch(request) {
            const path = new URL(request.url).pathname;
            if (path === "/throw") throw new Error("thrown at once");
            if (path === "/reject") return Promise.reject(new Error("rejected later"));
            if (path === "/undefined") return undefinedVariable;
            if (path === "/null") throw null;
            return new Response("fine");
          },
        };
    "#;
    let app = Setup::new(&[("server.js", server)]).start().await;
    for (path, logged) in [
        ("/throw", "thrown at once"),
        ("/reject", "rejected later"),
        ("/undefined", "undefinedVariable is not defined"),
        ("/null", "fetch(): null"),
    ] {
        let answer = app.request("GET", path, "").await;
        assert!(answer.is_err(), "{path} was answered");
        app.expect_log(logged).await;
        assert_eq!(app.text("/").await, "fine");
    }
    app.stop().await;
}

async fn r082_what_is_not_a_response_is_an_error() {
    let server = r#"
        export default {
          fetch(request) {
            const used = new Response("x");
            used.text();
            const values = { a: undefined, b: null, c: "text", d: { status: 200 }, e: Response.error(), f: used, g: { get then() { throw new Error("trap"); } } };
            const key = new URL(request.url).pathname[1];
            return key === undefined ? new Response("fine") : values[key];
          },
        };
    "#;
    let app = Setup::new(&[("server.js", server)]).start().await;
    for key in ["a", "b", "c", "d", "e", "f", "g"] {
        let path = format!("/{key}");
        let waiting = app.request("GET", &path, "");
        let answer = tokio::time::timeout(crate::app::PATIENCE, waiting).await;
        assert!(answer.expect("no answer").is_err(), "{path} was answered");
        assert_eq!(app.text("/").await, "fine");
    }
    app.stop().await;
}

/// The front door makes a 503 with `Retry-After` of it.
async fn r049_r082_a_fetch_that_meets_an_overload_is_a_503_with_retry_after() {
    let server = r#"
        const errors = {
            "/throw": () => new ServerlessWorkerOverloadedError("too much", { retryAfterMs: 2500 }),
            "/reject": () => new ServerlessWorkerOverloadedError(),
            "/nonsense": () => Object.assign(new ServerlessWorkerOverloadedError(), { retryAfterMs: "soon" }),
            "/negative": () => new ServerlessWorkerOverloadedError("too much", { retryAfterMs: -1 }),
        };
        export default {
            fetch(request) {
                const path = new URL(request.url).pathname;
                const error = errors[path]();
                if (path === "/throw") throw error;
                return Promise.reject(error);
            },
        };
    "#;
    let app = Setup::new(&[("server.js", server)]).start().await;
    for (path, retry_after_ms) in [
        ("/throw", 2500),
        ("/reject", 1000),
        ("/nonsense", 1000),
        ("/negative", 1000),
    ] {
        let answer = app.request("GET", path, "").await;
        let error = answer.err().expect("a failure");
        assert_eq!(error, FetchError::Overloaded { retry_after_ms }, "{path}");
    }
    app.expect_log("too much").await;
    app.stop().await;
}
