//! What is said about sources that cannot be bundled.

use crate::common::App;

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_of_every_file_is_reported() {
    let app = App::new(&[
        (
            "server.ts",
            "import \"./missing.js\"; import x from \"nopkg\";\nimport fs from \"node:fs\";\n\
             import path from \"path\";\nimport \"./a/one\"; import \"./a/two\";\n\
             import h from \"https://example.com/x\"; import sub from \"pkg/private\";\n\
             import { a } from \"./t.txt\"; import bad from \"./bad.json\";\nimport q from \"./t.txt\" with { type: \"poem\" };\n\
             import \"../outside.js\"; import w from \"./fake.wasm\";\n\
             new ServerlessWorker(\"./gone.js\"); new ServerlessWorker(\"../up.js\");\n\
             const y = await import(\"./later\");\nconst z = require(\"./required\"); try { require(\"opt\") } catch {}\n\
             export default [x, fs, path, h, sub, a, bad, q, w, y, z];\n",
        ),
        (
            "a/one.ts",
            "const a = 1;\nfunction f() { await 1 }\nconst = 5;",
        ),
        ("a/two.js", "export default {\n  a: (,)\n}"),
        ("t.txt", "t"),
        ("bad.json", "{\n  \"a\": }"),
        ("fake.wasm", "no"),
        (
            "node_modules/pkg/package.json",
            r#"{"name":"pkg","exports":{".":"./i.js"}}"#,
        ),
    ]);
    let outside = app.dir().parent().unwrap().join("outside.js");
    let expected = [
        "a/one.ts:2:16: `await` is only allowed within async functions and at the top levels of modules",
        "a/one.ts:3:7: Unexpected token",
        "a/two.js:2:7: Unexpected token",
        "bad.json:2:8: invalid JSON: expected value at line 2 column 8",
        "fake.wasm:1:1: is not a WebAssembly module",
        "server.ts:1:8: cannot find \"./missing.js\"",
        "server.ts:1:38: cannot find package \"nopkg\"",
        "server.ts:2:16: \"node:fs\" is a built-in module of Node.js, which workers do not have",
        "server.ts:3:18: \"path\" is a built-in module of Node.js, which workers do not have",
        "server.ts:5:15: cannot import \"https://example.com/x\": modules are not downloaded",
        "server.ts:5:56: \"pkg/private\" is not exported by its package",
        "server.ts:6:19: t.txt has a default export only",
        "server.ts:7:38: import attribute type \"poem\" is not known",
        "server.ts:8:8: cannot find \"../outside.js\"",
        "server.ts:9:22: worker script \"./gone.js\" not found (looked for gone.js)",
        "server.ts:9:57: worker script \"../up.js\" is outside the application's folder",
        "server.ts:10:24: cannot find \"./later\"",
        "server.ts:11:19: cannot find \"./required\"",
    ];
    assert!(!outside.exists());
    assert_eq!(app.problems().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_outside_the_folder_are_refused() {
    let app = App::new(&[
        (
            "app/server.js",
            "import \"../shared.js\";\nimport t from \"../t.txt\";\nexport default t;",
        ),
        ("shared.js", "export {};"),
        ("t.txt", ""),
    ]);
    let problems = portside_bundle::check(&app.path("app"), &Default::default())
        .await
        .problems;
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "server.js:1:8: \"../shared.js\" is outside the application's folder",
            "server.js:2:15: \"../t.txt\" is outside the application's folder",
        ]
    );
    assert!(problems[0].help.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_error_does_not_hide_the_imports() {
    let app = App::new(&[
        (
            "server.js",
            "import { b } from \"./b.js\"; import \"./gone.js\";\nlet a = 1; let a = 2;\nexport default b;",
        ),
        ("b.js", "const c = 1;\nconst c = 2;\nexport const b = 1;"),
    ]);
    assert_eq!(
        app.problems().await,
        [
            "b.js:1:7: Identifier `c` has already been declared",
            "server.js:1:36: cannot find \"./gone.js\"",
            "server.js:2:5: Identifier `a` has already been declared",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_exports_are_reported() {
    let app = App::new(&[
        (
            "server.js",
            "import { nope } from \"./b.js\";\nexport default nope;",
        ),
        ("b.js", "export const yes = 1;"),
    ]);
    let problems = app.problems().await;
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("server.js:1:10: "), "{problems:?}");
    assert!(
        problems[0].contains("nope") && problems[0].contains("b.js"),
        "{problems:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_are_refused() {
    let app = App::new(&[
        (
            "server.js",
            "import \"./a.ts\"; import \"./a.js\"; export default {};",
        ),
        ("a.ts", "console.log(1)"),
        ("a.js", "console.log(2)"),
    ]);
    let problems = app.problems().await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains("would become the same module"),
        "{problems:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_folders_are_explained() {
    assert_eq!(App::new(&[]).problems().await, [".:1:1: no server found"]);
    let named = App::new(&[(
        "package.json",
        "{\n  \"main\": \"gone.js\",\n  \"portside\": { \"workers\": [\"w.js\"] }\n}",
    )]);
    assert_eq!(
        named.problems().await,
        ["package.json:3:29: worker script \"w.js\" not found"]
    );
    let main = App::new(&[("package.json", "{\n  \"main\": \"gone.js\"\n}")]);
    assert_eq!(
        main.problems().await,
        ["package.json:2:11: main module \"gone.js\" not found"]
    );
    let class = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata: { name: x }\nspec:\n  code:\n    main: gone.ts\n";
    let manifest = App::new(&[("class.yaml", class)]);
    assert_eq!(
        manifest.problems().await,
        ["class.yaml:6:11: main module \"gone.ts\" not found"]
    );
    let twice = App::new(&[("server.js", ""), ("a.yaml", class), ("b.yaml", class)]);
    assert_eq!(
        twice.problems().await,
        ["b.yaml:1:1: a second ServerlessWorkerClass; the first is in a.yaml"]
    );
    let package = App::new(&[
        ("server.js", ""),
        ("package.json", "{\n  \"portside\": { \"worker\": [] }\n}"),
    ]);
    let problems = package.problems().await;
    assert!(
        problems[0].starts_with("package.json:2:") && problems[0].contains("worker"),
        "{problems:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_tsconfig_is_named() {
    let app = App::new(&[
        ("server.ts", "export default {};"),
        ("tsconfig.json", "{ \"extends\": \"./gone.json\" }"),
    ]);
    let problems = app.problems().await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("tsconfig.json:1:1: ") && problems[0].contains("gone.json"),
        "{problems:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_the_bundler_would_change_are_refused() {
    let app = App::new(&[
        (
            "server.ts",
            "import \"./[id].js\"; import \"./[hash].js\"; export default {};",
        ),
        ("[id].ts", "console.log(1);"),
        ("[hash].ts", "console.log(1);"),
    ]);
    assert_eq!(
        app.problems().await,
        ["[hash].ts:1:1: a path cannot contain [name], [hash, [format] or [ext]"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_package_is_named() {
    let app = App::new(&[
        ("server.js", "import \"bad\"; export default {};"),
        ("node_modules/bad/package.json", "{ \"name\": }"),
    ]);
    assert_eq!(
        app.problems().await,
        [
            "server.js:1:8: cannot resolve \"bad\": JSON parse error in 'node_modules/bad/package.json'"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_are_reported_where_they_are() {
    let filler = "// a line\n".repeat(2_000);
    let server = format!(
        "{filler}export default {{\n  async fetch() {{\n    const a = await import(`./one.js`);\n    \
         const b = await import((\"./two.js\"));\n    class C {{ m = async () => import(\"./three.js\" as string); }}\n    \
         const d = require(`./four.js`);\n    return [a, b, C, d];\n  }},\n}};\n"
    );
    let app = App::new(&[("server.ts", &server)]);
    let expected = [
        "server.ts:2003:28: cannot find \"./one.js\"",
        "server.ts:2004:29: cannot find \"./two.js\"",
        "server.ts:2005:38: cannot find \"./three.js\"",
        "server.ts:2006:23: cannot find \"./four.js\"",
    ];
    assert_eq!(app.problems().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn decorators_are_compiled_or_refused() {
    let code = "function d(...all: unknown[]): any {}\n@d class A {\n  @d m() {}\n}\nclass B { accessor x = 1 }\nexport default [A, B];\n";
    let app = App::new(&[("server.ts", code)]);
    let refused = [
        "server.ts:2:1: decorators are not supported yet",
        "server.ts:3:3: decorators are not supported yet",
        "server.ts:5:11: accessor fields are not supported yet",
    ];
    assert_eq!(app.problems().await, refused);
    let compiled = r#"{"compilerOptions":{"experimentalDecorators":true}}"#;
    let app = App::new(&[
        ("server.ts", &code.replace("accessor ", "")),
        ("tsconfig.json", compiled),
    ]);
    assert!(!crate::common::code(&app.bundle().await, "server.js").contains('@'));
}

/// Such an application is bundled, but answers no request.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_have_fetch_is_a_problem() {
    const NONE: &str = "the server's default export has no fetch() handler";
    const MISSING: &str = "the server has no default export";
    for (server, problem) in [
        ("", format!("1:1: {MISSING}")),
        ("export function fetch() {}", format!("1:1: {MISSING}")),
        ("import './other.js';", format!("1:1: {MISSING}")),
        ("export * from './other.js';", format!("1:1: {MISSING}")),
        ("\nexport default {};", format!("2:16: {NONE}")),
        (
            "export default ({ connect() {}, \"fetsch\": 1 } satisfies object);",
            format!("1:17: {NONE}"),
        ),
        (
            "export default () => new Response();",
            format!("1:16: {NONE}"),
        ),
        ("export default [1];", format!("1:16: {NONE}")),
        ("export default 'text';", format!("1:16: {NONE}")),
        ("export default { fetch: 'text' };", format!("1:16: {NONE}")),
    ] {
        let app = App::new(&[
            ("server.ts", server),
            ("other.js", "export default { fetch() {} };"),
        ]);
        assert_eq!(app.problems().await, [format!("server.ts:{problem}")]);
        app.bundle().await;
    }
}

/// What only running it would tell is nobody's problem here.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_have_fetch_is_none() {
    for server in [
        "export default { fetch() { return new Response(); } };",
        "export default { async fetch(request: Request) {} } as object;",
        "export default { 'fetch': (request) => new Response() };",
        "export default { get fetch() { return () => new Response(); } };",
        "const fetch = () => new Response(); export default { fetch };",
        "const rest = {}; export default { ...rest };",
        "const name = 'fetch'; export default { [name]() {} };",
        "export default { __proto__: {} };",
        "const app = {}; app.fetch = () => {}; export default app;",
        "const app = {}; export { app as default };",
        "export { default } from './other.js';",
        "export { app as default } from './other.js';",
        "export default function handler() {} handler.fetch = () => {};",
        "export default class { static fetch() {} }",
        "export default Object.assign({}, {});",
        "export default { scheduled() {} };",
        "module.exports = { fetch() {} };",
        "exports.default = { fetch() {} };",
    ] {
        let app = App::new(&[
            ("server.ts", server),
            (
                "other.js",
                "export const app = {}; export default { fetch() {} };",
            ),
        ]);
        assert_eq!(app.problems().await, [] as [&str; 0], "{server}");
    }
}
