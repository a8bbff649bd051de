//! Folders with wrangler's configuration.

use portside_bundle::{Checked, EnvValue, Options, cluster};
use portside_core::bundle::ModuleKind;

use crate::common::{App, code, lines, module};

const CONFIGURATION: &str =
    "name = \"app\"\nmain = \"src/index.ts\"\ncompatibility_date = \"2026-01-31\"\n";
const SERVER: &str = "export default { fetch: () => new Response() };";

#[tokio::test(flavor = "multi_thread")]
async fn main_is_the_server_and_rules_give_kinds() {
    let configuration = format!(
        "{CONFIGURATION}[[rules]]\ntype = \"Text\"\nglobs = [\"**/*.glsl\", \"**/*.json\"]\nfallthrough = true\n\
         [[rules]]\ntype = \"Data\"\nglobs = [\"**/*.txt.gz\"]\nfallthrough = false\n"
    );
    let app = App::new(&[
        ("wrangler.toml", &configuration),
        (
            "src/index.ts",
            "import shader from \"./a.glsl\"; import page from \"../page.html\"; import data from \"./b.txt.gz\";\n\
             import text from \"./c.json\"; import wasm from \"./d.wasm?module\";\n\
             export default { fetch: () => new Response(shader + page + data + text + wasm) };",
        ),
        ("src/a.glsl", "glsl"),
        ("page.html", "<p>"),
        ("src/b.txt.gz", "gz"),
        ("src/c.json", "{}"),
        // It is not looked for.
        ("server.js", "throw 1;"),
    ]);
    app.write("src/d.wasm", b"\0asm\x01\0\0\0");
    let bundled = app.bundled().await;
    assert_eq!(lines(&bundled.warnings), [""; 0]);
    assert_eq!(bundled.bundle.main, "src/index.js");
    let kinds: Vec<_> = (bundled.bundle.modules.iter())
        .map(|(path, module)| (&**path, module.kind))
        .filter(|(path, _)| !path.starts_with("node_modules/.bundler/"))
        .collect();
    assert_eq!(
        kinds,
        [
            ("page.html", ModuleKind::Text),
            ("src/a.glsl.text", ModuleKind::Text),
            ("src/b.txt.gz", ModuleKind::Bytes),
            ("src/c.json.text", ModuleKind::Text),
            ("src/d.wasm", ModuleKind::Wasm),
            ("src/index.js", ModuleKind::JavaScript),
        ]
    );
    assert_eq!(&*module(&bundled.bundle, "src/c.json.text").code, b"{}");
    assert!(code(&bundled.bundle, "src/index.js").contains("./d.wasm"));
    let configuration = app.path("wrangler.toml").canonicalize().unwrap();
    assert!(bundled.inputs.contains(&configuration));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_beside_the_folder_can_be_imported() {
    let app = App::new(&[
        ("app/wrangler.toml", CONFIGURATION),
        (
            "app/src/index.ts",
            "import { shared } from \"../../shared/shared\"; import page from \"../../page.html\";\n\
             export default { fetch: () => new Response(shared + page) };",
        ),
        ("shared/shared.ts", "export const shared: number = 1;"),
        ("page.html", "<p>"),
    ]);
    let options = Options::default();
    let bundled = portside_bundle::bundle(&app.path("app"), &options)
        .await
        .unwrap();
    assert_eq!(lines(&bundled.warnings), [""; 0]);
    assert!(code(&bundled.bundle, "src/index.js").contains("../_.._/shared/shared.js"));
    assert!(code(&bundled.bundle, "_.._/shared/shared.js").contains("shared = 1"));
    assert_eq!(&*module(&bundled.bundle, "_.._/page.html").code, b"<p>");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tsconfig_that_extends_a_missing_one_is_a_warning() {
    let app = App::new(&[
        ("wrangler.toml", CONFIGURATION),
        ("src/index.ts", SERVER),
        ("tsconfig.json", "{ \"extends\": \"./gone.json\" }"),
    ]);
    let bundled = app.bundled().await;
    let warnings = lines(&bundled.warnings);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("tsconfig.json:1:1: ") && warnings[0].contains("gone.json"),
        "{warnings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_that_are_not_there_are_reported() {
    let configuration = format!(
        "{CONFIGURATION}[[rules]]\ntype = \"Text\"\nglobs = [\"**/*.glsl\"]\nfallthrough = false\n"
    );
    let app = App::new(&[
        ("wrangler.toml", &configuration),
        (
            "src/index.ts",
            "import { DurableObject } from \"cloudflare:workers\";\nimport { connect } from \"cloudflare:sockets\";\n\
             import { Buffer } from \"node:buffer\";\nimport page from \"./page.html\";\n\
             const late = () => import(\"cloudflare:email\");\nexport default [DurableObject, connect, Buffer, page, late];",
        ),
        ("src/page.html", ""),
    ]);
    assert_eq!(
        app.problems().await,
        [
            "src/index.ts:2:25: \"cloudflare:sockets\" is a module of Cloudflare's, which this version of Portside does not \
             have yet",
            "src/index.ts:3:24: \"node:buffer\" is a built-in module of Node.js, which workers do not have",
            "src/index.ts:4:18: a rule for \"./page.html\" is ignored, for an earlier one of its type has no fallthrough",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_of_other_applications_are_refused() {
    let configuration = format!(
        "{CONFIGURATION}workers_dev = true\ndurable_objects.bindings = [{{ name = \"A\", class_name = \"A\", script_name = \"b\" }}]\n"
    );
    let app = App::new(&[
        ("wrangler.toml", &configuration),
        ("src/index.ts", "export default {};"),
    ]);
    let Checked { problems, warnings } =
        portside_bundle::check(app.dir(), &Options::default()).await;
    let expected = [
        "wrangler.toml:5:75: durable_objects.bindings[0].script_name: b is another application, whose classes cannot be \
         reached from here: leave it out, and export the class here",
    ];
    assert_eq!(lines(&problems), expected);
    assert_eq!(
        lines(&warnings),
        ["wrangler.toml:4:1: workers_dev concerns Cloudflare only: it has no effect"]
    );
    let bundled = portside_bundle::bundle(app.dir(), &Options::default()).await;
    assert_eq!(lines(&bundled.unwrap_err()), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_configuration_counts() {
    let class = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata: { name: from-class }\n\
                 spec: { code: { main: server.js } }\n";
    let app = App::new(&[
        (
            "wrangler.toml",
            "name = \"from-toml\"\nmain = \"server.js\"\n",
        ),
        (
            "wrangler.jsonc",
            "{ \"name\": \"from-jsonc\", \"main\": \"server.js\" }",
        ),
        ("server.js", SERVER),
    ]);
    let name = async || app.bundled().await.manifest.unwrap().name;
    assert_eq!(name().await, "from-jsonc");
    app.write(
        "wrangler.json",
        b"{ \"name\": \"from-json\", \"main\": \"server.js\" }",
    );
    assert_eq!(name().await, "from-json");
    app.write("class.yaml", class.as_bytes());
    let bundled = app.bundled().await;
    assert_eq!(bundled.manifest.unwrap().name, "from-class");
    assert_eq!(
        lines(&bundled.warnings),
        ["wrangler.json:1:1: has no effect: the class in class.yaml counts; keep one of the two"]
    );
    let chosen = Options {
        env: Some("test".to_owned()),
        ..Options::default()
    };
    let refused = async || lines(&portside_bundle::check(app.dir(), &chosen).await.problems);
    assert_eq!(
        refused().await,
        ["class.yaml:1:1: --env is for wrangler configurations, and class.yaml counts here"]
    );
    for file in [
        "class.yaml",
        "wrangler.json",
        "wrangler.jsonc",
        "wrangler.toml",
    ] {
        std::fs::remove_file(app.path(file)).unwrap();
    }
    assert_eq!(
        refused().await,
        [".:1:1: there is no wrangler configuration, so no environment test: leave --env out"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_main_module_that_is_missing_is_named() {
    let app = App::new(&[("wrangler.toml", CONFIGURATION)]);
    assert_eq!(
        app.problems().await,
        ["wrangler.toml:2:8: main module \"src/index.ts\" not found"]
    );
    app.write("wrangler.toml", b"name = \"app\"\n");
    app.write("other.js", SERVER.as_bytes());
    let given = Options {
        main: Some("other.js".to_owned()),
        ..Options::default()
    };
    let checked = portside_bundle::check(app.dir(), &given).await;
    assert_eq!(lines(&checked.problems), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_have_the_variables() {
    let configuration = format!("{CONFIGURATION}vars = {{ GREETING = \"hello: {{}}\" }}\n");
    let app = App::new(&[("wrangler.toml", &configuration), ("src/index.ts", SERVER)]);
    let bundled = app.bundled().await;
    let manifests = cluster::manifests(&bundled).unwrap();
    let (_, class) = manifests.split_once("\n---\n").unwrap();

    // The class says the same when it is read again.
    let copy = App::new(&[("class.yaml", class), ("server.js", SERVER)]);
    let copied = copy.bundled().await.manifest.unwrap();
    assert_eq!(copied.name, "app");
    let greeting = EnvValue::Plain("hello: {}".to_owned());
    assert_eq!(copied.env, [("GREETING".to_owned(), greeting)]);

    let configuration = format!("{CONFIGURATION}vars = {{ N = 1 }}\n");
    app.write("wrangler.toml", configuration.as_bytes());
    let refused = cluster::manifests(&app.bundled().await).unwrap_err();
    let cluster::ManifestsError::Unfit(problems) = refused else {
        panic!("{refused}");
    };
    assert_eq!(
        lines(&problems),
        [
            "wrangler.toml:4:10: vars.N is not text, and a class has only text in spec.env: write it as text, and parse it \
             in the code"
        ]
    );
}
