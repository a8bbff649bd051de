//! Static assets as users of `portside dev`, `check` and `bundle` meet them.

use std::fs;

use super::{errors, folder, portside, write};
use crate::harness::App;

const SITE: &str = r#"{
  "name": "site",
  "main": "index.js",
  "compatibility_date": "2026-01-31",
  "assets": { "directory": "./public", "binding": "ASSETS" },
}"#;
const SERVER: &str = r#"export default {
  async fetch(request, env) {
    const page = await env.ASSETS.fetch(new URL("/page", request.url));
    return new Response(`server: ${await page.text()}`);
  },
};"#;

#[tokio::test]
async fn they_are_said_served_and_reloaded() {
    let app = folder(&[
        ("wrangler.jsonc", SITE),
        ("index.js", SERVER),
        ("public/page.html", "one"),
        ("public/_headers", "/*\n  X-Frame-Options: DENY\n"),
        ("public/_redirects", "/a /page\n/b /page\n"),
    ]);
    let app = App::serve(app, &[]).await;
    app.wrote("  assets     1 file in public, 1 rule for headers, 2 redirects\n")
        .await;
    app.wrote("  bindings   ASSETS (assets)\n").await;
    let reply = app.get("/page").await;
    assert_eq!(reply.text(), "one");
    assert_eq!(reply.header("x-frame-options"), "DENY");
    assert_eq!(reply.header("content-length"), "3");
    app.wrote(" ms asset /page.html\n").await;
    assert_eq!(app.get("/other").await.text(), "server: one");
    assert!(app.output().contains("GET /other 200 "));
    assert_eq!(app.output().matches(" ms asset /page.html\n").count(), 2);

    write(app.folder(), "public/page.html", "two");
    app.wrote("portside: reloaded").await;
    assert_eq!(app.get("/page").await.text(), "two");
    fs::remove_file(app.folder().join("public/page.html")).unwrap();
    app.wrote("  assets     0 files in public").await;
    assert_eq!(app.get("/page").await.text(), "server: ");
}

#[tokio::test]
async fn they_need_no_server() {
    let alone = SITE.replace("  \"main\": \"index.js\",\n", "");
    let alone = alone.replace(", \"binding\": \"ASSETS\"", "");
    let app = folder(&[("wrangler.jsonc", &*alone), ("public/index.html", "hello")]);
    let app = App::serve(app, &[]).await;
    app.wrote("portside: site, wrangler.jsonc: assets alone\n  assets     1 file in public\n")
        .await;
    assert_eq!(app.get("/").await.text(), "hello");
    assert_eq!(app.get("/other").await.status, 404);
}

#[tokio::test]
async fn a_folder_beside_the_application_is_watched_as_well() {
    let site = folder(&[("page.html", "one")]);
    let place = site.path().to_str().unwrap();
    let app = folder(&[
        ("wrangler.jsonc", &SITE.replace("./public", place)),
        ("index.js", SERVER),
    ]);
    let app = App::serve(app, &[]).await;
    assert_eq!(app.get("/page").await.text(), "one");
    write(site.path(), "page.html", "two");
    app.wrote("portside: reloaded").await;
    assert_eq!(app.get("/page").await.text(), "two");
}

#[tokio::test]
async fn what_is_wrong_is_said_with_its_place() {
    let app = folder(&[
        ("wrangler.jsonc", SITE),
        ("index.js", SERVER),
        ("public/_redirects", "/a /b 999\n"),
    ]);
    let done = portside(app.path(), &["check"]).await;
    assert_eq!(done.status.code(), Some(0));
    assert!(
        errors(&done).contains("public/_redirects:1:1: warning: 999 is no status"),
        "{}",
        errors(&done)
    );
}

#[tokio::test]
async fn they_are_written_beside_a_bundle() {
    let app = folder(&[
        ("wrangler.jsonc", SITE),
        ("package.json", r#"{ "name": "site" }"#),
        (
            "index.js",
            &format!("import \"cloudflare:workers\";\n{SERVER}"),
        ),
        ("public/page.html", "one"),
    ]);
    let done = portside(app.path(), &["bundle", "-o", "out.json"]).await;
    assert_eq!(done.status.code(), Some(0), "{}", errors(&done));
    assert!(
        errors(&done).contains(" modules, 1 assets, sha256:"),
        "{}",
        errors(&done)
    );
    assert!(app.path().join("assets.tar.gz").exists());
    let bundle = fs::read_to_string(app.path().join("out.json")).unwrap();
    assert!(!bundle.contains("site/cloudflare"), "{bundle}");
}
