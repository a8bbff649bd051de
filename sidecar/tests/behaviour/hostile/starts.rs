//! Modules that misbehave while they are loaded, servers that misbehave, and workers that end themselves.

use std::time::Duration;

use portside_core::bundle::ModuleKind;
use tokio::time::Instant;

use crate::app::Setup;
use crate::hostile::{limited, with_neighbours};
use crate::lab::recovers;
use crate::{Case, cases};

/// This file's tests.
pub const CASES: &[Case] = cases![
    a_top_level_loop,
    a_top_level_throw,
    a_top_level_leak,
    a_top_level_recursion,
    a_top_level_await_without_end,
    a_top_level_terminate,
    terminate_again_and_again,
    what_a_module_throws_is_told_once,
    a_server_that_throws_what_nobody_can_look_at,
    a_server_that_loops,
    a_server_that_leaks,
    a_server_that_leaks_while_it_loads,
    a_server_that_loops_while_it_loads,
    a_server_that_imports_too_much,
    a_server_that_cannot_be_loaded_is_tried_ever_more_slowly,
];

const HEALTHY: &str = r#"export const jobs = {
    ping: () => "pong",
    async keep() { await storage.put("kept", "treasure"); return "kept"; },
    async kept() { return await storage.get("kept"); },
};"#;

/// Loads the code in the worker `victim`, whose callers must hear of it, again and again; then repairs it.
async fn top_level(code: &str) {
    let mut healthy = limited(HEALTHY);
    healthy.limits.start = Duration::from_secs(2);
    let repaired = healthy.class();
    let mut broken = limited(&format!(
        "if (name === 'victim') {{ console.log('evaluated'); {code} }}\n{HEALTHY}"
    ));
    broken.limits.start = Duration::from_secs(2);
    let broken = broken.class();
    let app = healthy.start().await;
    assert_eq!(app.text("/victim/keep").await, "kept");
    app.replace(broken).await.unwrap();
    recovers(&app, "/neighbour/ping", "pong").await;
    for _ in 0..4 {
        let (status, text) = with_neighbours(&app, app.get("/victim/ping")).await;
        assert_ne!(status, 200, "{text}");
    }
    let evaluated = app
        .log
        .lock()
        .unwrap()
        .iter()
        .filter(|line| line.text == "evaluated")
        .count();
    assert!(evaluated <= 8, "started {evaluated} times for 4 callers");
    app.replace(repaired).await.unwrap();
    recovers(&app, "/victim/kept", "treasure").await;
    app.stop().await;
}

async fn a_top_level_loop() {
    top_level("for (;;) {}").await;
}

async fn a_top_level_throw() {
    top_level("throw new Error('x');").await;
}

async fn a_top_level_leak() {
    top_level("const all = []; for (;;) all.push({});").await;
}

async fn a_top_level_recursion() {
    top_level("const f = () => f(); f();").await;
}

async fn a_top_level_await_without_end() {
    top_level("await new Promise(() => {});").await;
}

async fn a_top_level_terminate() {
    top_level("self.terminate();").await;
}

async fn terminate_again_and_again() {
    let user = format!("{HEALTHY} jobs.deed = () => {{ for (;;) self.terminate(); }};");
    let app = limited(&user).start().await;
    assert_eq!(app.text("/victim/keep").await, "kept");
    for _ in 0..10 {
        let (status, text) = with_neighbours(&app, app.get("/victim/deed")).await;
        assert_eq!((status, text.as_str()), (503, "closed: terminated"));
    }
    recovers(&app, "/victim/kept", "treasure").await;
    app.stop().await;
}

async fn what_a_module_throws_is_told_once() {
    for thrown in [
        "new Error('one\\ntwo')",
        "Object.assign(new Error('renamed'), { name: 'Weird' })",
        "{ a: 1 }",
        "new (class Mine {})()",
        "{ toString: () => 'mine' }",
        "[1, 2]",
        "() => 1",
        "Symbol('one')",
        "null",
        "'text'",
        "'x'.repeat(1e5)",
    ] {
        let mut setup = Setup::new(&[("server.js", &format!("throw {thrown};"))]);
        setup.servers = 1;
        let app = setup.start().await;
        app.request("GET", "/", "").await.err().unwrap();
        app.expect_log("the server was ended").await;
        assert!(!app.logged("unhandled rejection"), "{thrown}");
        app.stop().await;
    }
}

async fn a_server_that_throws_what_nobody_can_look_at() {
    let server = r#"
        export default { fetch(request) {
            const { proxy, revoke } = Proxy.revocable({}, {});
            revoke();
            if (request.url.endsWith("/throws")) throw proxy;
            return Promise.reject(proxy);
        } };"#;
    let mut setup = Setup::new(&[("server.js", server)]);
    setup.limits.request = Duration::from_secs(5);
    let app = setup.start().await;
    for path in ["/throws", "/rejects"] {
        let told = app.request("GET", path, "").await.err().unwrap();
        let told = told.to_string();
        assert!(told.contains("an error that cannot be shown"), "{told}");
    }
    app.stop().await;
}

async fn server(deed: &str) {
    let server = format!(
        r#"export default {{ fetch(request) {{
            if (request.url.endsWith("/deed")) {{ {deed} }}
            return new Response("fine");
        }} }};"#
    );
    let mut setup = Setup::new(&[("server.js", &server)]);
    setup.limits.heap_bytes = 32 << 20;
    setup.limits.cpu = Duration::from_secs(1);
    let app = setup.start().await;
    for _ in 0..3 {
        let deeds = futures::future::join_all((0..3).map(|_| app.request("GET", "/deed", "")));
        let neighbours = async {
            for _ in 0..20 {
                let asked = Instant::now();
                // A request may share its instance with a deed and end with it; it must not hang.
                let _ = app.get("/").await;
                // Longer than elsewhere: it may have been queued behind two deeds before they were known to loop.
                assert!(asked.elapsed() < Duration::from_secs(10));
            }
        };
        let (answers, ()) = tokio::join!(deeds, neighbours);
        assert!(answers.iter().all(Result::is_err));
    }
    recovers(&app, "/", "fine").await;
    app.stop().await;
}

async fn a_server_that_loops() {
    server("for (;;) {}").await;
}

async fn a_server_that_leaks() {
    server("const all = []; for (;;) all.push({});").await;
}

/// A server that goes over a limit while it is loaded: whoever asks hears so soon, and it is not started again and again.
async fn loads_never(mut setup: Setup, reason: &str) {
    setup.limits.heap_bytes = 32 << 20;
    setup.limits.cpu = Duration::from_secs(1);
    setup.servers = 1;
    let app = setup.start().await;
    let asked = Instant::now();
    let told = app.request("GET", "/", "").await;
    let told = told.err().unwrap().to_string();
    assert!(told.contains(reason), "{told}");
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
    app.expect_log("the server was ended").await;
    assert_eq!(app.count_logged("the server was ended"), 1);
    app.stop().await;
}

async fn a_server_that_leaks_while_it_loads() {
    let code = "const all = []; for (;;) all.push({});";
    loads_never(Setup::new(&[("server.js", code)]), "heap").await;
}

async fn a_server_that_loops_while_it_loads() {
    loads_never(Setup::new(&[("server.js", "for (;;) {}")]), "CPU").await;
}

async fn a_server_that_imports_too_much() {
    let mut setup = Setup::new(&[(
        "server.js",
        "import data from './data.bin'; export default { fetch: () => new Response(String(data.length)) };",
    )]);
    let data = vec![0; 6 << 20];
    setup
        .modules
        .push(("data.bin".to_owned(), ModuleKind::Bytes, data));
    loads_never(setup, "heap").await;
}

async fn a_server_that_cannot_be_loaded_is_tried_ever_more_slowly() {
    let code = "console.log('evaluated'); throw new Error('boom');";
    let mut setup = Setup::new(&[("server.js", code)]);
    setup.servers = 1;
    let app = setup.start().await;
    for _ in 0..20 {
        let told = app.request("GET", "/", "").await.err().unwrap();
        assert!(told.to_string().contains("boom"), "{told}");
    }
    let began = app.count_logged("evaluated");
    assert!(began <= 4, "started {began} times");
    app.stop().await;
}
