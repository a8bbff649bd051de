//! `portside types`: what it writes is tested where it is made, in `bundle/`.

use std::fs;

use super::{errors, folder, portside, write};

const WRANGLER: &str = r#"{ "name": "app", "main": "index.js", "compatibility_date": "2026-11-01", "vars": { "A": "1" },
  "env": { "test": { "vars": { "B": 2 } } } }"#;

#[tokio::test]
async fn declarations_are_written_and_checked() {
    let app = folder(&[("index.js", ""), ("wrangler.jsonc", WRANGLER)]);
    let file = app.path().join("worker-configuration.d.ts");
    let text = || fs::read_to_string(&file).unwrap();
    let run = async |args: &[&str]| {
        let done = portside(app.path(), args).await;
        (done.status.code(), errors(&done).to_owned())
    };

    let (code, said) = run(&["types", "--check"]).await;
    assert_eq!(code, Some(1));
    assert!(
        said.contains("worker-configuration.d.ts is not up to date"),
        "{said}"
    );
    assert!(!file.exists(), "a check writes nothing");

    let (code, said) = run(&["types", "--env", "test"]).await;
    assert_eq!((code, said.contains("wrote ")), (Some(0), true), "{said}");
    assert!(text().contains("    B: 2;\n") && !text().contains("A?"));
    assert_eq!(run(&["types", "--check", "--env", "test"]).await.0, Some(0));
    assert_eq!(run(&["types", "--check"]).await.0, Some(1));

    assert_eq!(run(&["types"]).await.0, Some(0));
    assert!(
        text().contains("    A?: \"1\";\n    B?: 2;\n"),
        "{}",
        text()
    );
    assert_eq!(run(&["types", "--check"]).await.0, Some(0));
    assert_eq!(run(&["types", "--strict-vars", "false"]).await.0, Some(0));
    assert!(
        text().contains("    A?: string;\n    B?: number;\n"),
        "{}",
        text()
    );

    write(app.path(), ".dev.vars", "TOKEN=s3cret");
    assert_eq!(
        run(&["types", "--check", "--strict-vars=false"]).await.0,
        Some(1)
    );
    assert_eq!(run(&["types"]).await.0, Some(0));
    assert!(text().contains("TOKEN: string;") && !text().contains("s3cret"));
}

#[tokio::test]
async fn a_file_of_somebody_elses_is_left_alone_and_so_is_all_of_a_broken_project() {
    let app = folder(&[
        ("server.js", ""),
        ("portside-env.d.ts", "interface Env {}\n"),
    ]);
    let refused = portside(app.path(), &["types"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(errors(&refused).contains("was not made by portside types"));
    let text = fs::read_to_string(app.path().join("portside-env.d.ts")).unwrap();
    assert_eq!(text, "interface Env {}\n");

    write(app.path(), "wrangler.jsonc", "{ \"main\": \"none.js\" }");
    let broken = portside(app.path(), &["types"]).await;
    assert_eq!(broken.status.code(), Some(1));
    assert!(errors(&broken).contains("main module \"none.js\" not found"));
    assert!(!app.path().join("worker-configuration.d.ts").exists());
}
