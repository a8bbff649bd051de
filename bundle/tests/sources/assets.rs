//! Static assets beside the code.

use portside_assets::{Assets, archive};
use portside_bundle::{Bundled, Checked, Options, cluster, file, load, load_made};

use crate::common::{App, lines};

const CONFIGURATION: &str = "name = \"app\"\nmain = \"index.js\"\ncompatibility_date = \"2026-01-31\"\n[assets]\ndirectory = \"public\"\n";
const CLASS: &str = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata:\n  name: app\nspec:\n  \
                     code: {}\n  assets:\n    directory: public\n    binding: ASSETS\n";
const SERVER: &str = "export default { fetch: () => new Response() };";

fn paths(bundled: &Bundled) -> Vec<String> {
    let assets = bundled.assets.as_ref().unwrap();
    assets.files().map(|(path, _)| path.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_found_where_the_configuration_says() {
    let files = [
        ("index.js", SERVER),
        ("server.js", SERVER),
        ("public/a.txt", "a"),
        ("public/b/c.html", "c"),
    ];
    for (name, text) in [("wrangler.toml", CONFIGURATION), ("class.yaml", CLASS)] {
        let app = App::new(&files);
        app.write(name, text.as_bytes());
        let bundled = app.bundled().await;
        assert_eq!(paths(&bundled), ["/a.txt", "/b/c.html"]);
        assert!(bundled.bundle.has_server());
        assert_eq!(lines(&bundled.warnings), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_may_be_all_there_is() {
    let alone = CONFIGURATION.replace("main = \"index.js\"\n", "");
    // It is not looked for.
    let app = App::new(&[
        ("wrangler.toml", &alone),
        ("server.js", "throw 1;"),
        ("public/a", "a"),
    ]);
    let bundled = app.bundled().await;
    assert!(!bundled.bundle.has_server());
    assert_eq!(
        file::decode(&file::encode(&bundled.bundle).unwrap()).unwrap(),
        bundled.bundle
    );
    let app = App::new(&[("class.yaml", CLASS), ("public/a", "a")]);
    assert!(!app.bundled().await.bundle.has_server());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_them_has_a_place() {
    let app = App::new(&[
        ("wrangler.toml", CONFIGURATION),
        ("index.js", SERVER),
        ("public/_worker.js", "x"),
    ]);
    let problems = app.problems().await;
    assert!(
        problems[0].starts_with("public/_worker.js:1:1: is a server's code"),
        "{problems:?}"
    );
    app.write("public/.assetsignore", b"_worker.js");
    app.write("public/_redirects", b"/a /b\n/c /d 404\n");
    app.write("public/_headers", b"/a\n  X: y\n\nbad\n");
    let Checked { problems, warnings } =
        portside_bundle::check(app.dir(), &Options::default()).await;
    assert_eq!(lines(&problems), [""; 0]);
    assert_eq!(
        lines(&warnings),
        [
            "public/_headers:4:1: must be NAME: VALUE, or ! NAME",
            "public/_redirects:2:1: 404 is no status of a redirect: 200, 301, 302, 303, 307, 308 are",
        ]
    );

    let app = App::new(&[
        ("wrangler.toml", CONFIGURATION),
        ("index.js", "export default {"),
    ]);
    let problems = app.problems().await;
    assert!(problems[0].starts_with("index.js:1:"), "{problems:?}");
    assert_eq!(
        problems[1],
        "wrangler.toml:5:13: assets: there is no folder public"
    );
    let without = CLASS.replace("    directory: public\n", "");
    let app = App::new(&[("class.yaml", &without), ("server.js", SERVER)]);
    let problems = app.problems().await;
    assert_eq!(
        problems,
        ["class.yaml:8:5: spec.assets has no directory: name the folder with the files"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_with_its_files_in_it_may_have_them_there() {
    let class = CLASS.replace(
        "code: {}",
        "code:\n    inline:\n      server.js: \"export default {fetch() {}}\"\n      public/a.txt: text",
    );
    let bundled = App::new(&[("class.yaml", &class)]).bundled().await;
    let assets = bundled.assets.unwrap();
    let (path, place) = assets.files().next().unwrap();
    assert_eq!(
        (path, &*std::fs::read_to_string(place).unwrap()),
        ("/a.txt", "text")
    );
    let place = place.to_owned();
    drop(assets);
    assert!(!place.exists(), "the temporary folder goes with them");
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_get_them_in_an_archive() {
    let app = App::new(&[
        ("wrangler.toml", CONFIGURATION),
        ("index.js", SERVER),
        ("public/a.txt", "a"),
        ("public/_headers", "/*\n  X: y"),
    ]);
    let bundled = app.bundled().await;
    let manifests = cluster::manifests(&bundled).unwrap();
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&manifests).unwrap();
    let [map, class] = &documents[..] else {
        panic!("{manifests}");
    };
    assert_eq!(class["spec"]["assets"], serde_json::json!({}));
    let archive = map["binaryData"]["assets.tar.gz"].as_str().unwrap();
    let archive = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, archive).unwrap();

    let class = CLASS.replace("    directory: public\n", "");
    let mounted = App::new(&[("class.yaml", &class)]);
    mounted.write(
        "bundle.json",
        map["data"]["bundle.json"].as_str().unwrap().as_bytes(),
    );
    mounted.write("assets.tar.gz", &archive);
    let place = mounted.path("unpacked");
    let loaded = load(mounted.dir(), &place).await.unwrap();
    assert_eq!(paths(&loaded), ["/a.txt"]);
    assert_eq!(loaded.assets.unwrap().rules(), (1, 0));

    // As from a registry.
    let bytes = file::encode(&bundled.bundle).unwrap();
    let loaded = load_made(mounted.dir(), &bytes, Some(&place)).unwrap();
    assert_eq!(paths(&loaded), ["/a.txt"]);
    let problems = load_made(mounted.dir(), &bytes, None).unwrap_err();
    assert!(
        problems[0]
            .message
            .contains("there are none beside the bundle"),
        "{}",
        problems[0]
    );
    mounted.write("assets.tar.gz", &archive[..40]);
    let problems = load(mounted.dir(), &place).await.unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .starts_with("assets.tar.gz:1:1: the assets' archive cannot be read")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_config_map_holds_is_said() {
    let app = App::new(&[("wrangler.toml", CONFIGURATION), ("index.js", SERVER)]);
    let mut noise = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        noise.to_be_bytes()[0]
    })
    .take(cluster::MAX_CONFIG_MAP_BUNDLE)
    .collect();
    app.write("public/large.bin", &bytes);
    let error = cluster::manifests(&app.bundled().await)
        .unwrap_err()
        .to_string();
    assert!(error.contains("with its assets, which have 10"), "{error}");
    assert!(error.contains("portside push"), "{error}");
}

#[test]
fn an_archive_is_the_same_wherever_its_folder_is() {
    let pack = || {
        let app = App::new(&[("b", "b"), ("a/c", "c")]);
        let assets = Assets::scan(app.dir(), portside_assets::Settings::default())
            .unwrap()
            .found;
        let mut bytes = vec![];
        archive::pack(&assets, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(pack(), pack());
}
