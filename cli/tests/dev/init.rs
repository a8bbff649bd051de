//! `portside init`: each starter runs as it was made.

use std::fs;
use std::path::Path;

use hyper::Method;
use serde_json::json;

use super::{App, errors, folder, portside};

/// Makes an application in a new folder, and has it served and asked.
async fn starter_runs(model: &str, language: &str, files: &[&str]) {
    let new = folder(&[]);
    let made = portside(
        new.path(),
        &["init", "--model", model, "--language", language],
    )
    .await;
    assert!(made.status.success(), "{}", errors(&made));
    let mut found = list(new.path(), "");
    found.sort();
    assert_eq!(found, files);

    let said = errors(&made);
    assert!(said.contains("\n  portside dev /"), "{said}");
    let is_said = said.contains(" && npm install && npm run check\n");
    assert_eq!(is_said, language == "typescript", "{said}");
    let checked = portside(new.path(), &["check"]).await;
    assert!(checked.status.success(), "{}", errors(&checked));
    assert!(
        !errors(&checked).contains("warning"),
        "{}",
        errors(&checked)
    );

    let mut app = App::serve(new, &[]).await;
    let path = "/counters/visits";
    let add = async |app: &App| app.request(Method::POST, path, &[], "").await.json();
    assert_eq!(add(&app).await, json!({ "count": 1 }));
    assert_eq!(add(&app).await, json!({ "count": 2 }));
    app.kill().await;
    app.run().await;
    assert_eq!(app.get(path).await.json(), json!({ "count": 2 }));
    assert_eq!(
        app.get("/").await.text(),
        "counters are at /counters/<name>\n"
    );
    assert_eq!(app.request(Method::PUT, path, &[], "").await.status, 405);
    assert_eq!(app.get("/counters").await.status, 404);
    assert!(!app.output().contains("warning"), "{}", app.output());
}

/// The files of a folder, with their ways from it.
fn list(folder: &Path, way: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .flat_map(|entry| {
            let name = format!("{way}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                list(&entry.path(), &format!("{name}/"))
            } else {
                vec![name]
            }
        })
        .collect()
}

#[tokio::test]
async fn a_serverless_worker_in_javascript_runs() {
    let files = [
        ".gitignore",
        "README.md",
        "class.yaml",
        "counter.js",
        "server.js",
    ];
    starter_runs("serverless-worker", "javascript", &files).await;
}

#[tokio::test]
async fn a_serverless_worker_in_typescript_runs() {
    let files = [
        ".gitignore",
        "README.md",
        "class.yaml",
        "counter.ts",
        "package.json",
        "portside-env.d.ts",
        "server.ts",
        "tsconfig.json",
    ];
    starter_runs("serverless-worker", "typescript", &files).await;
}

#[tokio::test]
async fn durable_objects_in_javascript_run() {
    let files = [
        ".gitignore",
        "README.md",
        "package.json",
        "src/counter.js",
        "src/index.js",
        "wrangler.jsonc",
    ];
    starter_runs("durable-objects", "javascript", &files).await;
}

#[tokio::test]
async fn durable_objects_in_typescript_run() {
    let files = [
        ".gitignore",
        "README.md",
        "package.json",
        "src/counter.ts",
        "src/index.ts",
        "tsconfig.json",
        "worker-configuration.d.ts",
        "wrangler.jsonc",
    ];
    starter_runs("durable-objects", "typescript", &files).await;
}

#[tokio::test]
async fn a_new_folder_gives_its_name_and_a_full_one_is_left_alone() {
    let outside = folder(&[("full/notes.txt", "mine"), ("repository/.git/HEAD", "")]);
    for (new, name) in [("My Chat", "my-chat"), ("repository", "repository")] {
        let made = portside(outside.path(), &["init", new]).await;
        assert!(made.status.success(), "{}", errors(&made));
        let is_quoted = errors(&made).contains(&format!("{new}'\n"));
        assert_eq!(is_quoted, new.contains(' '), "{}", errors(&made));
        let class = fs::read_to_string(outside.path().join(new).join("class.yaml")).unwrap();
        assert!(class.contains(&format!("  name: {name}\n")), "{class}");
        assert!(class.contains(&format!("name: {name}-code\n")), "{class}");
    }
    for full in ["full", "My Chat"] {
        let before = list(&outside.path().join(full), "");
        let refused = portside(outside.path(), &["init", full, "--language", "typescript"]).await;
        assert!(!refused.status.success());
        let said = errors(&refused);
        assert!(said.contains("is not empty, there is "), "{said}");
        assert_eq!(list(&outside.path().join(full), ""), before);
    }
}
