//! What comes out of folders of sources.

use crate::common::{App, code, module, original};
use portside_core::bundle::ModuleKind;

const SERVER: &str = "export default { fetch() { return new Response(\"hi\") } };\n";

#[tokio::test(flavor = "multi_thread")]
async fn typescript_loses_its_types_and_keeps_its_names() {
    let app = App::new(&[
        (
            "server.ts",
            r#"import type { Missing } from "./nowhere";
import { area, type Box } from "./shapes";
enum Color { Red = 1, Green = "g" as any }
const same = <T,>(value: T): T => value;
export class Counter<T = Missing> { constructor(private readonly n: number) {} get(): number { return this.n } }
export default class { color = Color; box: Box = { side: same(2) }; area() { return area(this.box) } }
"#,
        ),
        (
            "shapes.ts",
            "export interface Box { side: number }\nexport function area(box: Box) {\n  return box.side;\n}\n",
        ),
    ]);
    let bundle = app.bundle().await;
    assert_eq!(bundle.main, "server.js");
    let server = code(&bundle, "server.js");
    assert!(server.contains("this.n = n"), "{server}");
    assert!(server.contains("from \"./shapes.js\""), "{server}");
    assert!(
        server.contains("class Counter") || server.contains("Counter = class"),
        "{server}"
    );
    assert!(
        server.contains("\"default\""),
        "the anonymous class keeps its name: {server}"
    );
    assert!(
        !server.contains("nowhere") && !server.contains(": number"),
        "{server}"
    );
    assert!(code(&bundle, "shapes.js").contains("function area(box) {"));
}

#[tokio::test(flavor = "multi_thread")]
async fn source_maps_lead_to_the_sources() {
    let app = App::new(&[
        ("server.ts", "import \"./lib/a\";\nexport default {};\n"),
        (
            "lib/a.ts",
            "interface Gone {}\n\nexport const thrown = () => { throw new Error(\"x\") };\nthrown();\n",
        ),
    ]);
    let bundle = app.bundle().await;
    for (path, source) in [("server.js", "server.ts"), ("lib/a.js", "lib/a.ts")] {
        let map = module(&bundle, path).source_map.as_deref().unwrap();
        let map: serde_json::Value = serde_json::from_slice(map).unwrap();
        assert_eq!(map["version"], 3);
        assert_eq!(map["sources"], serde_json::json!([format!("/{source}")]));
        let written = std::fs::read_to_string(app.path(source)).unwrap();
        assert_eq!(map["sourcesContent"], serde_json::json!([written]));
        assert!(!map["mappings"].as_str().unwrap().is_empty());
        assert!(!code(&bundle, path).contains("sourceMappingURL"));
    }
    let thrown = original(module(&bundle, "lib/a.js"), "new Error");
    assert_eq!(thrown, ("/lib/a.ts".to_owned(), 3, 37));
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_resolve_as_workers_expect() {
    let app = App::new(&[
        (
            "server.js",
            "import { esm } from \"esm\"; import cjs, { named } from \"cjs\"; import { where } from \"maps\";\n\
             import { deep } from \"maps/deep\"; import version from \"json\"; import side from \"fields\";\n\
             import star from \"@scope/pkg\";\n\
             export default { all: [esm, cjs, named, where, deep, version, side, star] };\n",
        ),
        (
            "node_modules/esm/package.json",
            r#"{"name":"esm","type":"module","module":"i.js"}"#,
        ),
        ("node_modules/esm/i.js", "export const esm = \"esm\";"),
        (
            "node_modules/cjs/package.json",
            r#"{"name":"cjs","main":"main"}"#,
        ),
        (
            "node_modules/cjs/main.js",
            "exports.named = require(\"./lib\").x; exports.data = require(\"./d.json\");",
        ),
        (
            "node_modules/cjs/lib/index.js",
            "module.exports = { x: 1 };",
        ),
        ("node_modules/cjs/d.json", "{\"d\": 1}"),
        (
            "node_modules/maps/package.json",
            r#"{"name":"maps","exports":{".":{"node":"./node.js","workerd":"./workerd.js","worker":"./worker.js","default":"./d.js"},
               "./deep":{"require":"./d.js","import":"./deep.mjs"}}}"#,
        ),
        (
            "node_modules/maps/worker.js",
            "export const where = \"worker\";",
        ),
        ("node_modules/maps/deep.mjs", "export const deep = true;"),
        (
            "node_modules/json/package.json",
            r#"{"name":"json","version":"1.2.3","main":"i.js"}"#,
        ),
        (
            "node_modules/json/i.js",
            "import { version } from \"./package.json\"; export default version;",
        ),
        (
            "node_modules/fields/package.json",
            r#"{"name":"fields","main":"node.js","browser":{"./node.js":"./web.js"}}"#,
        ),
        ("node_modules/fields/node.js", "module.exports = \"node\";"),
        ("node_modules/fields/web.js", "module.exports = \"web\";"),
        (
            "node_modules/@scope/pkg/package.json",
            r#"{"name":"@scope/pkg"}"#,
        ),
        (
            "node_modules/@scope/pkg/index.js",
            "export default process.env.NODE_ENV;",
        ),
    ]);
    let bundle = app.bundle().await;
    let has = |path: &str| bundle.modules.contains_key(path);
    assert!(has("node_modules/esm/i.js"));
    assert!(has("node_modules/cjs/main.js") && has("node_modules/cjs/lib/index.js"));
    assert!(has("node_modules/maps/worker.js") && has("node_modules/maps/deep.mjs"));
    assert!(!has("node_modules/maps/d.js"));
    assert!(has("node_modules/fields/web.js") && !has("node_modules/fields/node.js"));
    assert!(code(&bundle, "node_modules/json/package.json.js").contains("\"1.2.3\""));
    assert!(code(&bundle, "node_modules/@scope/pkg/index.js").contains("\"production\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn commonjs_runs_when_it_is_required() {
    let app = App::new(&[
        (
            "server.js",
            "import a from \"p\"; export default { a, b: () => import(\"q\") };",
        ),
        (
            "node_modules/p/package.json",
            r#"{"name":"p","main":"a.js"}"#,
        ),
        (
            "node_modules/p/a.js",
            "exports.early = 1; exports.b = require(\"./b\"); if (globalThis.never) require(\"./boom\");\n\
             try { require(\"fs\") } catch {}",
        ),
        (
            "node_modules/p/b.js",
            "module.exports = require(\"./a\").early;",
        ),
        ("node_modules/p/boom.js", "throw new Error(\"boom\");"),
        (
            "node_modules/q/package.json",
            r#"{"name":"q","main":"q.js"}"#,
        ),
        ("node_modules/q/q.js", "exports.q = 1;"),
    ]);
    let bundle = app.bundle().await;
    for path in ["a.js", "b.js", "boom.js"] {
        let code = code(&bundle, &format!("node_modules/p/{path}"));
        assert!(
            !code.contains("export default"),
            "{path} runs when loaded: {code}"
        );
        assert!(code.contains("export { require_"), "{code}");
    }
    let dynamic = code(&bundle, "node_modules/q/q.js");
    assert!(dynamic.contains("export default require_q();"), "{dynamic}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_found_where_they_are_constructed() {
    let app = App::new(&[
        (
            "server.ts",
            r#"import "./rooms/lobby.js";
const one = new ServerlessWorker("./rooms/room.ts", "a");
const two = new ServerlessWorker(`./rooms/two.js`);
const three = new globalThis.ServerlessWorker(new URL("./three.js", import.meta.url));
const four = new ServerlessWorker(new URL("./four.mjs", import.meta.url).href);
// new ServerlessWorker("./comment.js")
const text = 'new ServerlessWorker("./string.js")';
function own(ServerlessWorker: any) { return new ServerlessWorker("./shadowed.js") }
export default { one, two, three, four, text, own };
"#,
        ),
        (
            "rooms/lobby.js",
            "export const start = () => new ServerlessWorker(\"bar.js\"); start();",
        ),
        (
            "rooms/bar.js",
            "new ServerlessWorker(\"/five.js\"); export default {};",
        ),
        (
            "rooms/room.ts",
            "export default { connect(event: any) {} };",
        ),
        ("rooms/two.ts", "export default {};"),
        ("three.js", "export default {};"),
        ("four.mjs", "export default {};"),
        ("five.js", "export default {};"),
        (
            "package.json",
            r#"{"portside":{"workers":["./listed.js"]}}"#,
        ),
        ("listed.ts", "export default {};"),
    ]);
    let bundle = app.bundle().await;
    let scripts: Vec<&str> = (bundle.modules.keys().map(String::as_str))
        .filter(|path| !path.starts_with("node_modules/"))
        .collect();
    assert_eq!(
        scripts,
        [
            "five.js",
            "four.mjs",
            "listed.js",
            "rooms/bar.js",
            "rooms/lobby.js",
            "rooms/room.js",
            "rooms/two.js",
            "server.js",
            "three.js",
        ]
    );
    let server = code(&bundle, "server.js");
    assert!(
        server.contains("\"./rooms/room.ts\"") && server.contains("import.meta.url"),
        "{server}"
    );
    assert!(code(&bundle, "three.js").contains("as default"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_modules_keep_their_kind() {
    let app = App::new(&[
        (
            "src/main.js",
            r#"import json from "./data.json"; import same from "./data.json" with { type: "json" };
import text from "./data.json" with { type: "text" }; import page from "../pages/index.html";
import bytes from "./icon.png" with { type: "bytes" }; import name from "./LICENSE" with { type: "text" }; import wasm from "./add.wasm";
import module from "./add.wasm?module"; import raw from "./raw.bin"; import pkg from "assets/a.sql";
export { default as again } from "./data.json";
export default { all: [json, same, text, page, bytes, name, wasm, module, raw, pkg],
  later: () => [import("./later.txt"), import("./data.json", { with: { type: "json" } })] };
"#,
        ),
        ("package.json", r#"{"main":"src/main.js"}"#),
        ("src/data.json", "{ \"a\": [1] }"),
        ("src/later.txt", "é"),
        ("pages/index.html", "<p>"),
        ("src/raw.bin", "\u{1}"),
        ("src/LICENSE", "free"),
        ("node_modules/assets/package.json", r#"{"name":"assets"}"#),
        ("node_modules/assets/a.sql", "select 1"),
    ]);
    app.write("src/icon.png", &[0x89, 0xff]);
    app.write("src/add.wasm", b"\0asm\x01\0\0\0");
    let bundle = app.bundle().await;
    assert_eq!(bundle.main, "src/main.js");
    let is = |path: &str, kind, bytes: &[u8]| {
        let module = module(&bundle, path);
        assert_eq!((module.kind, &*module.code), (kind, bytes), "{path}");
        assert_eq!(module.source_map, None);
    };
    is("src/data.json", ModuleKind::Json, b"{ \"a\": [1] }");
    is("src/data.json.text", ModuleKind::Text, b"{ \"a\": [1] }");
    is("src/icon.png", ModuleKind::Bytes, &[0x89, 0xff]);
    is("src/LICENSE.text", ModuleKind::Text, b"free");
    is("src/raw.bin", ModuleKind::Bytes, &[1]);
    is("src/add.wasm", ModuleKind::Wasm, b"\0asm\x01\0\0\0");
    is("src/later.txt", ModuleKind::Text, "é".as_bytes());
    is("pages/index.html", ModuleKind::Text, b"<p>");
    is("node_modules/assets/a.sql", ModuleKind::Text, b"select 1");
    let main = code(&bundle, "src/main.js");
    assert!(main.contains("from \"../pages/index.html\""), "{main}");
    assert!(main.contains("import(\"./later.txt\")"), "{main}");
    assert!(
        !main.contains("with {") && !main.contains("with:"),
        "attributes are not needed: {main}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_run_as_written() {
    let app = App::new(&[
        (
            "server.js",
            "import \"./first.js\";\nimport { b } from \"./circle-b.js\";\nimport \"./last.js\";\n\
             const { env } = await import(\"cloudflare:workers\");\nconst value = await b();\n\
             export const here = import.meta.url;\nexport default { value, env, lazy: () => import(\"./lazy.js\") };\n",
        ),
        ("first.js", "console.log(\"first\");"),
        ("last.js", "console.log(\"last\");"),
        (
            "circle-a.js",
            "import { b } from \"./circle-b.js\"; export const a = async () => b.name;",
        ),
        (
            "circle-b.js",
            "import { a } from \"./circle-a.js\"; export const b = async () => a();",
        ),
        ("lazy.js", "export const lazy = 1;"),
    ]);
    let bundle = app.bundle().await;
    let server = code(&bundle, "server.js");
    let at = |text: &str| {
        server
            .find(text)
            .unwrap_or_else(|| panic!("{text} in {server}"))
    };
    assert!(at("./first.js") < at("./circle-b.js") && at("./circle-b.js") < at("./last.js"));
    at("await import(\"cloudflare:workers\")");
    at("await b()");
    at("import.meta.url");
    at("import(\"./lazy.js\")");
    assert!(code(&bundle, "circle-a.js").contains("./circle-b.js"));
    assert!(code(&bundle, "circle-b.js").contains("./circle-a.js"));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_sources_make_equal_bundles_anywhere() {
    let files = [
        (
            "server.ts",
            "import c from \"cjs\"; import t from \"./t.txt\"; export default class { x = [c, t] }",
        ),
        ("t.txt", "t"),
        ("node_modules/cjs/index.js", "exports.a = require(\"./b\");"),
        (
            "node_modules/cjs/b.js",
            "exports.b = require(\"./d.json\");",
        ),
        ("node_modules/cjs/d.json", "{}"),
    ];
    let (one, two) = (App::new(&files), App::new(&files));
    let first = one.bundle().await;
    assert_eq!(first, one.bundle().await);
    assert_eq!(first, two.bundle().await);
    assert_eq!(first.digest(), two.bundle().await.digest());
    let bytes = portside_bundle::file::encode(&first).unwrap();
    let place = one.dir().to_str().unwrap();
    assert!(!String::from_utf8(bytes).unwrap().contains(place));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(unix)]
async fn linked_packages_resolve() {
    let app = App::new(&[
        (
            "app/server.js",
            "import { a } from \"a\"; import { w } from \"work\"; export default { a, w };",
        ),
        (
            "node_modules/.pnpm/a@1/node_modules/a/package.json",
            r#"{"name":"a","main":"i.js","type":"module"}"#,
        ),
        (
            "node_modules/.pnpm/a@1/node_modules/a/i.js",
            "import { b } from \"b\"; export const a = () => b;",
        ),
        (
            "node_modules/.pnpm/b@1/node_modules/b/index.js",
            "export const b = 1;",
        ),
        (
            "packages/work/package.json",
            r#"{"name":"work","exports":"./src/i.ts"}"#,
        ),
        (
            "packages/work/src/i.ts",
            "import { deep } from \"./deep.js\"; export const w: number = deep;",
        ),
        ("packages/work/src/deep.ts", "export const deep = 1;"),
    ]);
    std::fs::create_dir_all(app.path("app/node_modules")).unwrap();
    let link =
        |to: &str, from: &str| std::os::unix::fs::symlink(app.path(to), app.path(from)).unwrap();
    link(
        "node_modules/.pnpm/a@1/node_modules/a",
        "app/node_modules/a",
    );
    link(
        "node_modules/.pnpm/b@1/node_modules/b",
        "node_modules/.pnpm/a@1/node_modules/b",
    );
    link("packages/work", "app/node_modules/work");
    let bundled = portside_bundle::bundle(&app.path("app"), &Default::default())
        .await
        .unwrap();
    let paths: Vec<&str> = bundled.bundle.modules.keys().map(String::as_str).collect();
    for path in [
        "node_modules/.pnpm/a@1/node_modules/a/i.js",
        "node_modules/.pnpm/b@1/node_modules/b/index.js",
        "node_modules/work/src/i.js",
        "node_modules/work/src/deep.js",
    ] {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
    }
    assert!(code(&bundled.bundle, "server.js").contains("./node_modules/work/src/i.js"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_names_the_main_module() {
    let app = App::new(&[
        ("server.js", SERVER),
        ("src/api.ts", SERVER),
        (
            "k8s.yaml",
            "apiVersion: v1\nkind: Service\n---\napiVersion: portside.dev/v1alpha1\n\
             kind: ServerlessWorkerClass\nmetadata:\n  name: api\nspec:\n  code:\n    main: ./src/api.ts\n",
        ),
        ("values.yaml", "{{ not yaml"),
    ]);
    let bundled = app.bundled().await;
    assert_eq!(bundled.bundle.main, "src/api.js");
    assert_eq!(bundled.manifest.unwrap().name, "api");
    let inputs: Vec<_> = bundled
        .inputs
        .iter()
        .map(|file| file.file_name().unwrap())
        .collect();
    assert_eq!(inputs, ["k8s.yaml", "api.ts"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_found_without_a_manifest() {
    for (file, main) in [
        ("server.ts", "server.js"),
        ("server.js", "server.js"),
        ("server.mjs", "server.mjs"),
    ] {
        assert_eq!(App::new(&[(file, SERVER)]).bundle().await.main, main);
    }
    let package = App::new(&[
        ("package.json", r#"{"main":"lib/app.js"}"#),
        ("lib/app.ts", SERVER),
    ]);
    assert_eq!(package.bundle().await.main, "lib/app.js");
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_all_files_read() {
    let app = App::new(&[
        (
            "server.ts",
            "import \"./a.js\"; import t from \"./t.txt\"; import \"p\"; new ServerlessWorker(\"./w.js\"); export default t;",
        ),
        ("a.js", "export {};"),
        ("t.txt", "t"),
        ("w.js", "export default {};"),
        ("unused.js", ""),
        ("package.json", "{}"),
        ("node_modules/p/index.js", "console.log(1);"),
    ]);
    let root = app.dir().canonicalize().unwrap();
    let inputs = app.bundled().await.inputs;
    let names: Vec<_> = inputs
        .iter()
        .map(|file| file.strip_prefix(&root).unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "a.js",
            "node_modules/p/index.js",
            "package.json",
            "server.ts",
            "t.txt",
            "w.js"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_changes_the_next_bundle() {
    let app = App::new(&[("server.js", "export default 1;")]);
    let before = app.bundle().await;
    app.write("server.js", b"export default 2;");
    let after = app.bundle().await;
    assert_ne!(before.digest(), after.digest());
    assert!(code(&after, "server.js").contains('2'));
    app.write("server.js", b"export default (");
    assert_eq!(app.problems().await.len(), 1);
    app.write("server.js", b"export default 1;");
    assert_eq!(app.bundle().await, before);
}
