//! Folders as the sidecar finds them.

use portside_bundle::{file, load, load_made};

use crate::common::{App, code};

const CLASS: &str = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\n\
                     metadata:\n  name: chat\nspec:\n  code:\n    main: server.js\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_config_map_is_as_the_folder_it_was_made_from() {
    let files = [
        ("server.js", "new ServerlessWorker(\"./workers/room.js\");"),
        ("workers/room.js", "export default 1;"),
        ("class.yaml", CLASS),
    ];
    let plain = App::new(&files);
    let time = "..2026_01_02_03_04_05.678";
    let mounted = App::new(
        &files
            .map(|(path, text)| (format!("{time}/{path}"), text))
            .each_ref()
            .map(|(path, text)| (path.as_str(), *text)),
    );
    let link = |to: &str, from: &str| {
        std::os::unix::fs::symlink(to, mounted.path(from)).unwrap();
    };
    link(time, "..data");
    for name in ["server.js", "workers", "class.yaml"] {
        link(&format!("..data/{name}"), name);
    }
    let loaded = load(mounted.dir(), &mounted.path("unpacked"))
        .await
        .unwrap();
    assert_eq!(loaded.bundle, plain.bundle().await);
    assert_eq!(loaded.manifest.unwrap().name, "chat");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_in_the_folder_is_the_code() {
    let sources = App::new(&[("server.ts", "const a: number = 1; export default a;")]);
    let bundle = sources.bundle().await;
    let app = App::new(&[("class.yaml", CLASS)]);
    app.write("bundle.json", &file::encode(&bundle).unwrap());
    let loaded = load(app.dir(), &app.path("unpacked")).await.unwrap();
    assert!(code(&loaded.bundle, "server.js").contains("const a = 1"));
    assert_eq!(loaded.bundle, bundle);
    assert_eq!(loaded.manifest.unwrap().name, "chat");
    assert_eq!(loaded.inputs.len(), 2);

    let pulled = App::new(&[("class.yaml", CLASS), ("bundle.json", "not read")]);
    let loaded = load_made(pulled.dir(), &file::encode(&bundle).unwrap(), None).unwrap();
    assert_eq!(loaded.bundle, bundle);
    assert_eq!(loaded.manifest.unwrap().name, "chat");
    let problems = load_made(pulled.dir(), b"{}", None).unwrap_err();
    assert_eq!(problems[0].path, "bundle.json");

    app.write("bundle.json", b"{}");
    app.write("class.yaml", b"kind: Pod");
    let problems = load(app.dir(), &app.path("unpacked")).await.unwrap_err();
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(
        lines[0].starts_with("bundle.json:1:1: not a bundle file"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("class.yaml:1:"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_in_the_manifest_is_all_the_code() {
    let class = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata:\n  name: chat\nspec:\n  \
                 code:\n    inline:\n      server.ts: |\n        new ServerlessWorker(\"./workers/room.js\");\n      \
                 workers/room.js: export default 1;\n";
    let app = App::new(&[("class.yaml", class), ("server.js", "not JavaScript")]);
    let bundled = app.bundled().await;
    assert_eq!(bundled.bundle.main, "server.js");
    let paths: Vec<_> = bundled.bundle.modules.keys().collect();
    assert_eq!(paths, ["server.js", "workers/room.js"]);
    let manifest = app.path("class.yaml").canonicalize().unwrap();
    assert_eq!(bundled.inputs, [manifest]);
    let files = App::new(&[
        (
            "server.ts",
            "new ServerlessWorker(\"./workers/room.js\");\n",
        ),
        ("workers/room.js", "export default 1;"),
    ]);
    assert_eq!(bundled.bundle, files.bundle().await);

    let wrong = class.replace("export default 1", "export = 1");
    let app = App::new(&[("class.yaml", &wrong)]);
    assert_eq!(
        app.problems().await,
        ["workers/room.js:1:8: Unexpected token"]
    );
}
