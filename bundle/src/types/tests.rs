use std::fs;

use tempfile::TempDir;

use super::*;

const STYLE: Style = Style {
    strict_vars: true,
    include_runtime: false,
};

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

fn made(folder: &TempDir, env: Option<&str>, style: Style) -> Declarations {
    let options = Options {
        env: env.map(ToOwned::to_owned),
        ..Options::default()
    };
    declarations(folder.path(), &options, style).unwrap()
}

/// Without the first lines, which are the same in all.
fn body(declarations: &Declarations) -> &str {
    declarations.text.splitn(3, '\n').nth(2).unwrap()
}

fn project() -> TempDir {
    folder(&[
        ("src/index.ts", ""),
        (".dev.vars", "TOKEN=1\nMODE=2"),
        (".dev.vars.my-staging", "TOKEN=1"),
        (
            "wrangler.jsonc",
            r#"{
              "name": "app", "main": "src/index.ts", "compatibility_date": "2026-01-01",
              "vars": { "MODE": "x", "N": 3, "LIST": [1, "a"], "with-dash": { "a b": null } },
              "durable_objects": { "bindings": [
                { "name": "ROOMS", "class_name": "Room" }, { "name": "OTHERS", "class_name": "Other" }
              ] },
              "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room", "Other"] }],
              "rules": [{ "type": "Text", "globs": ["**/*.glsl", "**/a*b*"], "fallthrough": false }],
              "env": { "my-staging": {
                "vars": { "MODE": "y", "N": 3 },
                "durable_objects": { "bindings": [{ "name": "ROOMS", "class_name": "Room" }] }
              } }
            }"#,
        ),
    ])
}

#[test]
fn a_wrangler_project_has_what_its_environments_have() {
    let made = made(&project(), None, STYLE);
    assert_eq!(made.file, "worker-configuration.d.ts");
    let (env, modules) = body(&made).split_once("declare module").unwrap();
    let expected = r#"declare namespace Cloudflare {
  interface GlobalProps {
    mainModule: typeof import("./src/index");
    durableNamespaces: "Other" | "Room";
  }
  interface MyStagingEnv {
    MODE: "y";
    N: 3;
    TOKEN: string;
    ROOMS: DurableObjectNamespace<import("./src/index").Room>;
  }
  interface Env {
    MODE: string | "y";
    N: 3;
    LIST?: [1,"a"];
    "with-dash"?: {"a b":null};
    TOKEN: string;
    ROOMS: DurableObjectNamespace<import("./src/index").Room>;
    OTHERS?: DurableObjectNamespace<import("./src/index").Other>;
  }
}
interface Env extends Cloudflare.Env {}
"#;
    assert_eq!(env, expected);
    let patterns: Vec<_> = modules.split('"').skip(1).step_by(2).collect();
    assert_eq!(patterns, ["*.glsl", "*.bin", "*.wasm", "*.wasm?module"]);
}

#[test]
fn one_environment_alone_may_be_asked_for_and_types_that_any_value_has() {
    let style = Style {
        strict_vars: false,
        ..STYLE
    };
    let folder = project();
    let staging = made(&folder, Some("my-staging"), style);
    let expected = r#"  interface Env {
    MODE: string;
    N: number;
    TOKEN: string;
    ROOMS: DurableObjectNamespace<import("./src/index").Room>;
  }
"#;
    assert!(body(&staging).contains(expected), "{}", staging.text);
    let all = made(&folder, None, style);
    for line in ["LIST?: (number | string)[];", "\"with-dash\"?: object;"] {
        assert!(body(&all).contains(line), "{line}");
    }
}

#[test]
fn required_secrets_count_in_place_of_those_of_this_machine() {
    let configuration = r#"{ "name": "app", "main": "index.js", "compatibility_date": "2026-01-01",
      "vars": { "MODE": "x" }, "secrets": { "required": ["KEY"] } }"#;
    let folder = folder(&[
        ("index.js", ""),
        (".dev.vars", "TOKEN=1\nMODE=2"),
        ("wrangler.json", configuration),
    ]);
    let made = made(&folder, None, STYLE);
    let expected = "  interface Env {\n    MODE: \"x\";\n    KEY: string;\n  }\n";
    assert!(body(&made).contains(expected), "{}", made.text);
    assert_eq!(made.warnings.len(), 1);
}

const CLASS: &str = "apiVersion: portside.dev/v1alpha1
kind: ServerlessWorkerClass
metadata: { name: app }
spec:
  code: { configMap: { name: code } }
  env:
    - { name: GREETING, value: \"a \\\"b\\\"\" }
    - { name: KEY, valueFrom: { secretKeyRef: { name: s, key: k } } }
    - { name: MAYBE, valueFrom: { configMapKeyRef: { name: c, key: k, optional: true } } }
";

#[test]
fn a_class_has_its_variables_and_the_platform_if_wanted() {
    let folder = folder(&[("class.yaml", CLASS), ("server.js", "")]);
    let alone = made(&folder, None, STYLE);
    assert_eq!(alone.file, "portside-env.d.ts");
    let env =
        "interface Env {\n  GREETING: \"a \\\"b\\\"\";\n  KEY: string;\n  MAYBE?: string;\n}\n";
    assert_eq!(body(&alone), env);
    let with_platform = Style {
        include_runtime: true,
        ..STYLE
    };
    let whole = made(&folder, None, with_platform);
    assert_eq!(
        body(&whole),
        format!("{env}\n{STANDARD}\n{OTHERS}\n{MODULES}")
    );
}

#[test]
fn a_class_with_objects_leaves_to_others_what_they_declare() {
    let objects = "  durableObjects:
    classes: [{ name: Room, storage: SQLite }]
    bindings: [{ name: ROOMS, class: Room }]
";
    let class = format!("{CLASS}{objects}");
    let folder = folder(&[("class.yaml", &class), ("server.mjs", "")]);
    let style = Style {
        include_runtime: true,
        ..STYLE
    };
    let text = made(&folder, None, style).text;
    assert!(
        text.contains("ROOMS: DurableObjectNamespace<import(\"./server.mjs\").Room>;"),
        "{text}"
    );
    assert!(text.contains("interface Env extends Cloudflare.Env {}"));
    assert!(text.ends_with(&format!("\n{STANDARD}\n{MODULES}")));
}

#[test]
fn assets_are_a_fetcher() {
    let folder = folder(&[
        ("index.js", ""),
        (
            "wrangler.toml",
            "name = \"a\"\nmain = \"index.js\"\ncompatibility_date = \"2026-01-01\"\n\
             [assets]\ndirectory = \"public\"\nbinding = \"FILES\"\n",
        ),
    ]);
    let text = made(&folder, None, STYLE).text;
    assert!(
        text.contains("  interface Env {\n    FILES: Fetcher;\n  }\n"),
        "{text}"
    );
    let alone = self::folder(&[(
        "wrangler.toml",
        "name = \"a\"\ncompatibility_date = \"2026-01-01\"\n[assets]\ndirectory = \"public\"\n",
    )]);
    assert!(!made(&alone, None, STYLE).text.contains("mainModule"));
}

#[test]
fn without_a_configuration_env_is_empty() {
    let folder = folder(&[("server.js", "")]);
    assert_eq!(body(&made(&folder, None, STYLE)), "interface Env {}\n");
}

#[test]
fn what_wrangler_has_written_is_replaced_but_for_the_platform() {
    let existing = "/* eslint-disable */\n// Generated by Wrangler by running `wrangler types` (hash: 1)\n\
                    // Runtime types generated with workerd@1 2026-01-01\ninterface Env {}\n\
                    // Begin runtime types\ndeclare const one: 1;\n";
    assert!(Declarations::may_replace(existing));
    assert!(!Declarations::may_replace("interface Env {}\n"));
    let folder = folder(&[("server.js", "")]);
    let kept = made(&folder, None, STYLE).keeping(existing);
    let expected = "interface Env {}\n// Runtime types generated with workerd@1 2026-01-01\n// Begin runtime types\n\
                    declare const one: 1;\n";
    assert_eq!(body(&kept), expected);
    let again = made(&folder, None, STYLE).keeping(&kept.text);
    assert_eq!(again.text, kept.text);
    let of_windows = existing.replace('\n', "\r\n");
    let again = made(&folder, None, STYLE).keeping(&of_windows);
    assert_eq!(again.text, kept.text);
}

#[test]
fn each_environment_has_an_interface_of_its_own() {
    let of = |environments: &[&'static str]| interface_names(environments.iter().copied());
    assert_eq!(of(&["2x", "my-staging"]), ["_2xEnv", "MyStagingEnv"]);
    assert_eq!(
        of(&["my-s", "my_s", "my-s2", "my.s"]),
        ["MySEnv", "MyS2Env", "MyS22Env", "MyS3Env"]
    );
    assert_eq!(of(&["\u{fc}", "--"]), ["_Env", "_2Env"]);
}
