use hyper::Method;
use serde_json::json;

use crate::harness::App;

#[tokio::test]
async fn the_page_is_files() {
    let app = App::start("guest-book").await;
    let page = app.get("/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().starts_with("<!doctype html>"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'self'"), "{policy}");
    for (path, kind) in [
        ("/style.css", "text/css; charset=utf-8"),
        ("/script.js", "text/javascript; charset=utf-8"),
    ] {
        let file = app.get(path).await;
        assert_eq!((file.status, file.header("content-type")), (200, kind));
    }
    let moved = app.get("/book").await;
    assert_eq!((moved.status, moved.header("location")), (301, "/"));
    let moved = app.get("/index.html").await;
    assert_eq!((moved.status, moved.header("location")), (307, "/"));
    let missing = app.get("/nothing").await;
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("Not here"));
    app.wrote(" ms asset /404.html\n").await;
}

#[tokio::test]
async fn what_is_written_stays() {
    let mut app = App::start("guest-book").await;
    let ada = json!({ "name": "Ada", "text": "I was here" });
    assert_eq!(app.post("/api/entries", &ada).await.status, 201);
    let refused = app.post("/api/entries", &json!({ "name": "Ada" })).await;
    assert_eq!(refused.status, 400);
    app.kill().await;
    app.run().await;
    let entries = app.get("/api/entries").await.json();
    assert_eq!(entries.as_array().unwrap().len(), 1);
    assert_eq!(entries[0]["name"], ada["name"]);
    assert_eq!(app.get("/api/other").await.status, 404);
    let other = app.request(Method::DELETE, "/api/entries", &[], "").await;
    assert_eq!(other.status, 405);
}
