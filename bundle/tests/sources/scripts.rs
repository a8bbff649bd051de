//! Scripts of workers that no literal names, and modules that no import leads to.

use portside_bundle::Options;
use portside_core::bundle::ModuleKind;

use crate::common::{App, lines, module};

fn class(include: &str) -> String {
    format!(
        "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata: {{ name: a }}\n\
         spec:\n  code:\n    include: {include}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn choices_constants_and_templates_name_scripts() {
    let app = App::new(&[
        (
            "server.ts",
            r#"const script = "./workers/constant.js";
const alias = script as string;
const place = new URL(`./workers/placed.js`, import.meta.url);
export default { fetch({ url }: Request) {
  const large = Math.random() > 0.5 ? "./workers/hall.js" : (url ? `./workers/room.js` : "./workers/closet.js");
  new ServerlessWorker(alias);
  new ServerlessWorker(place.href, "x");
  new ServerlessWorker(large, { name: "x" });
  new ServerlessWorker(url ? new URL("./workers/one.js", import.meta.url) : "./workers/two.js");
  return new Response();
} };
"#,
        ),
        ("workers/closet.ts", "export default {};"),
        ("workers/constant.js", "export default {};"),
        ("workers/hall.js", "export default {};"),
        ("workers/one.js", "export default {};"),
        ("workers/placed.js", "export default {};"),
        ("workers/room.js", "export default {};"),
        ("workers/two.js", "export default {};"),
        ("workers/unused.js", "export default {};"),
    ]);
    let bundled = app.bundled().await;
    assert_eq!(lines(&bundled.warnings), [] as [&str; 0]);
    let names = ["closet", "constant", "hall", "one", "placed", "room", "two"];
    let paths = names.map(|name| format!("workers/{name}.js"));
    assert_eq!(bundled.workers, paths);
    let mut modules: Vec<_> = bundled.bundle.modules.keys().cloned().collect();
    modules.retain(|path| path.starts_with("workers/"));
    assert_eq!(modules, paths);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_of_a_script_that_is_missing_is_a_problem_where_it_stands() {
    let app = App::new(&[
        (
            "server.js",
            "const script = Date.now() ? \"./a.js\" : \"./b.js\";\nexport default { fetch() { new ServerlessWorker(script) } };\n",
        ),
        ("a.js", "export default {};"),
    ]);
    assert_eq!(
        app.problems().await,
        ["server.js:1:40: worker script \"./b.js\" not found (looked for b.js)"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_cannot_be_told_is_warned_of_where_it_stands() {
    let server = r#"import { other } from "./other.js";
let changed = "./a.js";
const known = "./a.js";
const choice = other ? known : changed;
export default { fetch({ url }) {
  new ServerlessWorker(new URL(url).pathname, "x");
  new ServerlessWorker(changed);
  new ServerlessWorker(choice);
  new ServerlessWorker(other);
  new ServerlessWorker(`./${other}.js`);
  new ServerlessWorker(...[known]);
  new globalThis.ServerlessWorker(known);
  { class ServerlessWorker {} new ServerlessWorker(url); }
} };
"#;
    let app = App::new(&[
        ("server.js", server),
        ("other.js", "export const other = \"./a.js\";"),
        ("a.js", "export default {};"),
    ]);
    let bundled = app.bundled().await;
    let places = [(6, 24), (7, 24), (8, 24), (9, 24), (10, 24), (11, 24)];
    let message = "which script this worker has cannot be told from the code: name those that it may have in \
                   spec.code.include of class.yaml, or in portside.workers of package.json, or they are missing at run time";
    let expected = places.map(|(line, column)| format!("server.js:{line}:{column}: {message}"));
    assert_eq!(lines(&bundled.warnings), expected);
    let checked = portside_bundle::check(app.dir(), &Options::default()).await;
    assert_eq!(lines(&checked.warnings), expected);

    // Whoever lists scripts knows.
    app.write("class.yaml", class("[a.js]").as_bytes());
    assert_eq!(lines(&app.bundled().await.warnings), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn globs_bring_in_what_no_import_leads_to() {
    let files = [
        (
            "server.js",
            "export default { fetch({ url }) { new ServerlessWorker(url) } };",
        ),
        (
            "workers/room.ts",
            "import { size } from \"./size\";\nexport default { size };",
        ),
        ("workers/size.ts", "export const size: number = 1;"),
        ("workers/types.d.ts", "export type A = 1;"),
        ("workers/deep/hall.js", "export default {};"),
        ("workers/deep/notes.svg", "<svg/>"),
        ("texts/en.json", "{\"hello\": 1}"),
        ("texts/en.txt", "hello"),
        ("texts/.hidden/fr.txt", "bonjour"),
        ("node_modules/left/pad.js", "export default {};"),
        ("other/unused.js", "export default {};"),
    ];
    let app = App::new(&files);
    app.write(
        "class.yaml",
        class("[./workers/**, \"texts/*.{json,txt}\", \"**/pad.js\", \"no/*.js\"]").as_bytes(),
    );
    let bundled = app.bundled().await;
    let modules = bundled.bundle.modules.keys();
    let modules: Vec<_> = modules
        .filter(|path| !path.contains("/.bundler/"))
        .collect();
    let expected = [
        "server.js",
        "texts/en.json",
        "texts/en.txt",
        "workers/deep/hall.js",
        "workers/room.js",
        "workers/size.js",
    ];
    assert_eq!(modules, expected);
    assert_eq!(
        module(&bundled.bundle, "texts/en.json").kind,
        ModuleKind::Json
    );
    assert_eq!(
        module(&bundled.bundle, "texts/en.txt").kind,
        ModuleKind::Text
    );
    assert_eq!(
        lines(&bundled.warnings),
        [
            "class.yaml:6:51: the glob \"**/pad.js\" names no module: it has no effect",
            "class.yaml:6:64: the glob \"no/*.js\" names no module: it has no effect"
        ]
    );
    assert!(
        bundled
            .inputs
            .contains(&app.dir().canonicalize().unwrap().join("texts/en.json"))
    );

    app.write("texts/en.json", b"{");
    let problems = app.problems().await;
    assert!(
        problems[0].starts_with("texts/en.json:1:1: invalid JSON"),
        "{problems:?}"
    );
}
