//! What is said about configurations, and what they make.

use portside_core::migrations::ObjectStorage;
use portside_crds::class::{Assets, HtmlHandling, NotFoundHandling};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::manifest::EnvValue;

/// What a document makes in an environment.
fn read(name: &str, text: &str, env: Option<&str>) -> Result<Project, Vec<Problem>> {
    told(name, text, env).0
}

/// The same, and what is warned of.
fn told(
    name: &str,
    text: &str,
    env: Option<&str>,
) -> (Result<Project, Vec<Problem>>, Vec<Problem>) {
    let mut warnings = vec![];
    let project = document(name, text)
        .and_then(|document| read::project(name, &document, env, false, "folder", &mut warnings));
    (project, warnings)
}

fn warnings(name: &str, text: &str, env: Option<&str>) -> Vec<String> {
    lines(&told(name, text, env).1)
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn refused(name: &str, text: &str, env: Option<&str>) -> Vec<String> {
    lines(&read(name, text, env).unwrap_err())
}

fn toml(text: &str) -> Project {
    read("wrangler.toml", text, None).unwrap_or_else(|found| panic!("{}", lines(&found).join("\n")))
}

const HEAD: &str = "name = \"a\"\nmain = \"src/index.ts\"\ncompatibility_date = \"2026-01-31\"\n";

#[test]
fn a_whole_configuration_is_read() {
    let text = r#"{
  // A chat.
  "$schema": "node_modules/wrangler/config-schema.json",
  "name": "chat",
  "main": "src/index.ts",
  "compatibility_date": "2026-01-31",
  "vars": { "GREETING": "hello", "LIMITS": { "most": 3, "of": [null, true] }, "N": 1.5 },
  "durable_objects": { "bindings": [
    { "name": "ROOM", "class_name": "ChatRoom" },
    { "name": "SELF", "class_name": "Counter", "script_name": "chat" },
  ] },
  "migrations": [
    { "tag": "v1", "new_sqlite_classes": ["Room"], "new_classes": ["Counter"] },
    { "tag": "v2", "renamed_classes": [{ "from": "Room", "to": "ChatRoom" }] },
  ],
}"#;
    let project = read("wrangler.jsonc", text, None).unwrap();
    assert_eq!(warnings("wrangler.jsonc", text, None), [""; 0]);
    assert_eq!(project.manifest.name, "chat");
    assert_eq!(project.main.unwrap().0, "src/index.ts");
    let plain = |text: &str| EnvValue::Plain(text.to_owned());
    let limits = EnvValue::Json(json!({ "most": 3, "of": [null, true] }));
    assert_eq!(
        project.manifest.env,
        [
            ("GREETING".to_owned(), plain("hello")),
            ("LIMITS".to_owned(), limits),
            ("N".to_owned(), EnvValue::Json(json!(1.5))),
        ]
    );
    let classes = project.manifest.objects.object_classes();
    let classes: Vec<_> = (classes.iter())
        .map(|class| (&*class.name, &*class.origin.name, class.storage))
        .collect();
    assert_eq!(
        classes,
        [
            ("ChatRoom", "Room", ObjectStorage::Sqlite),
            ("Counter", "Counter", ObjectStorage::KeyValue),
        ]
    );
    let bindings: Vec<_> = (project.manifest.objects.bindings.iter())
        .map(|one| (&*one.name, &*one.class))
        .collect();
    assert_eq!(bindings, [("ROOM", "ChatRoom"), ("SELF", "Counter"),]);
}

#[test]
fn every_wrong_form_is_named_with_its_place() {
    let text = "name = 1\nmain = []\ncompatibility_date = 2026-01-31\ncompatibility_flags = \"x\"\nvars = \"x\"\n\
                triggers = { crons = [1] }\n\
                [durable_objects]\nbindings = [{ name = \"A\" }, { class_name = \"B\" }, \"C\"]\n\
                [[migrations]]\nnew_classes = \"A\"\nrenamed_classes = [{ from = \"A\" }]\n\
                [[rules]]\ntype = \"Poem\"\nglobs = [1]\nfallthrough = 1\n";
    assert_eq!(
        refused("wrangler.toml", text, None),
        [
            "wrangler.toml:1:8: name must be text",
            "wrangler.toml:2:8: main must be text",
            "wrangler.toml:3:22: compatibility_date must be a date in quotes, such as \"2026-01-31\"",
            "wrangler.toml:4:23: compatibility_flags must be a list",
            "wrangler.toml:5:8: vars must be a map",
            "wrangler.toml:6:23: triggers.crons[0] must be text",
            "wrangler.toml:8:13: durable_objects.bindings[0].class_name is missing",
            "wrangler.toml:8:29: durable_objects.bindings[1].name is missing",
            "wrangler.toml:8:51: durable_objects.bindings[2] must be a map",
            "wrangler.toml:9:1: migrations[0].tag is missing",
            "wrangler.toml:10:15: migrations[0].new_classes must be a list",
            "wrangler.toml:11:20: migrations[0].renamed_classes[0].to is missing",
            "wrangler.toml:13:8: rules[0].type must be ESModule or CommonJS or CompiledWasm or Text or Data",
            "wrangler.toml:14:10: rules[0].globs[0] must be text",
            "wrangler.toml:15:15: rules[0].fallthrough must be true or false",
        ]
    );
    assert_eq!(
        warnings("wrangler.toml", "main = 1\nodd = 1", None)
            .last()
            .unwrap(),
        "wrangler.toml:2:1: unknown setting odd: it has no effect",
        "beside what is wrong"
    );
    assert_eq!(
        refused("wrangler.json", "[]", None),
        ["wrangler.json:1:1: must be an object with the settings"]
    );
    assert_eq!(
        refused("wrangler.toml", "name = \"a\"\n", None),
        [
            "wrangler.toml:1:1: main is missing: name the module with the fetch handler, such as src/index.ts"
        ]
    );
    assert_eq!(
        refused(
            "wrangler.toml",
            "name = \"a b\"\nmain = \"a.js\"\ncompatibility_date = \"2026-02-30\"",
            None
        ),
        [
            "wrangler.toml:1:8: name must be lowercase letters, digits, - and _, such as my-worker",
            "wrangler.toml:3:22: compatibility_date must be a date, such as \"2026-01-31\"",
        ]
    );
}

#[test]
fn what_bindings_and_migrations_cannot_mean_is_named() {
    let text = format!(
        "{HEAD}vars = {{ A = \"x\" }}\n\
         durable_objects.bindings = [\n  {{ name = \"A\", class_name = \"One\" }},\n  {{ name = \"B\", class_name = \"None\" }},\n\
         \x20 {{ name = \"B\", class_name = \"Two\" }},\n]\n\
         [[migrations]]\ntag = \"v1\"\nnew_sqlite_classes = [\"One\", \"Two\"]\n"
    );
    assert_eq!(
        refused("wrangler.toml", &text, None),
        [
            "wrangler.toml:6:12: durable_objects.bindings[0].name: vars.A has the name A already: choose another",
            "wrangler.toml:8:12: durable_objects.bindings[2].name: durable_objects.bindings[1] has the name B already: \
             choose another",
        ]
    );
    assert_eq!(
        warnings("wrangler.toml", &text, None),
        [
            "wrangler.toml:7:30: durable_objects.bindings[1].class_name: no migration creates class None: its objects have \
             keys and values only; name it in new_sqlite_classes of a migration",
        ]
    );
    let text = format!(
        "{HEAD}durable_objects.bindings = [{{ name = \"A\", class_name = \"Thing\", script_name = \"things\" }}]\n"
    );
    assert_eq!(
        refused("wrangler.toml", &text, None),
        [
            "wrangler.toml:4:79: durable_objects.bindings[0].script_name: things is another application, whose classes \
             cannot be reached from here: leave it out, and export the class here",
        ]
    );
    let text =
        format!("{HEAD}durable_objects.bindings = [{{ name = \"A\", class_name = \"Thing\" }}]\n");
    let project = read("wrangler.toml", &text, None).unwrap();
    let [implied] = &project.manifest.objects.object_classes()[..] else {
        panic!("there is one class");
    };
    assert_eq!(implied.name, "Thing");
    assert_eq!(implied.storage, ObjectStorage::KeyValue);
    let text = format!(
        "{HEAD}durable_objects.bindings = [{{ name = \"A\", class_name = \"Gone\" }}]\n\
         [[migrations]]\ntag = \"v1\"\nnew_classes = [\"One\"]\nnew_sqlite_classes = [\"One\"]\n\
         [[migrations]]\ntag = \"v1\"\ndeleted_classes = [\"Two\"]\nrenamed_classes = [{{ from = \"Three\", to = \"Four\" }}]\n\
         transferred_classes = [{{ from = \"A\", from_script = \"b\", to = \"C\" }}]\n"
    );
    assert_eq!(
        refused("wrangler.toml", &text, None),
        [
            "wrangler.toml:8:23: migrations[0].new_sqlite_classes[0]: class One exists already: remove this entry, or \
             choose another name",
            "wrangler.toml:10:7: migrations[1].tag: an earlier migration has the tag \"v1\": give each a tag of its own",
            "wrangler.toml:11:20: migrations[1].deleted_classes[0]: class Two does not exist here: an earlier migration has \
             to create it",
            "wrangler.toml:12:20: migrations[1].renamed_classes[0]: class Three does not exist here: an earlier migration \
             has to create it",
            "wrangler.toml:13:23: migrations[1].transferred_classes is not possible: objects are not taken over from another \
             script; create the class with new_sqlite_classes instead",
        ]
    );
}

#[test]
fn crons_are_read_and_what_is_none_is_told() {
    let text = |crons: &str| {
        format!(
            "name = \"a\"\nmain = \"a.js\"\ntriggers.crons = [{crons}]\n[env.test.triggers]\ncrons = []\n"
        )
    };
    let right = toml(&text("\"*/5 * * * *\", \"0 8 LW JAN MON-FRI\""));
    let crons: Vec<_> = (right.manifest.crons.iter())
        .map(ToString::to_string)
        .collect();
    assert_eq!(crons, ["*/5 * * * *", "0 8 LW JAN MON-FRI"]);
    assert_eq!(
        right.manifest.with_bundle_in("a")["spec"]["triggers"],
        json!({"crons": crons})
    );
    let test = read("wrangler.toml", &text("\"* * * * *\""), Some("test"));
    assert_eq!(test.unwrap().manifest.crons, []);
    assert_eq!(
        refused("wrangler.toml", &text("\"* * * *\", \"* * * * 0\""), None),
        [
            "wrangler.toml:3:19: triggers.crons[0]: a cron expression has five fields, minutes, hours, days of the month, \
             months and days of the week, such as \"*/5 * * * *\"; this one has 4",
            "wrangler.toml:3:30: triggers.crons[1]: the days of the week \"0\" cannot be read: they are from 1, Sunday, to 7, \
             or SUN to SAT, or one of MONL, MON#2",
        ]
    );
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let text = "main = \"a.js\"\ncompatibility_flags = [\"nodejs_compat\"]\nworkers_dev = true\nsurprise = 1\n\
                kv_namespaces = []\ntriggers = { crons = [\"* * * * *\"], more = 1 }\nno_bundle = true\n\
                [build]\ncommand = \"make\"\n[assets]\ndirectory = \"public\"\n[dev]\nport = 1\n\
                [[rules]]\ntype = \"Text\"\nglobs = [\"**/*.glsl\"]\n[[rules]]\ntype = \"ESModule\"\nglobs = [\"**/*.js\"]\n";
    assert_eq!(
        warnings("wrangler.toml", text, None),
        [
            "wrangler.toml:1:1: compatibility_date is missing: wrangler asks for one, such as \"2026-01-31\"",
            "wrangler.toml:1:1: name is missing: the folder's name, folder, is used",
            "wrangler.toml:2:24: compatibility_flags[0]: the flag nodejs_compat has no effect",
            "wrangler.toml:3:1: workers_dev concerns Cloudflare only: it has no effect",
            "wrangler.toml:4:1: unknown setting surprise: it has no effect",
            "wrangler.toml:5:1: kv_namespaces is not supported yet: env will not have the bindings it declares",
            "wrangler.toml:6:37: unknown field triggers.more: it has no effect",
            "wrangler.toml:7:1: no_bundle has no effect: modules are bundled all the same",
            "wrangler.toml:8:2: build is not run: run the build yourself, and name its result in main",
            "wrangler.toml:12:2: dev has no effect: portside dev has options for these",
            "wrangler.toml:14:1: rules[0] has no fallthrough: later rules of type Text, wrangler's own too, are ignored; set \
             it to true to have them, or to false",
            "wrangler.toml:17:1: rules[1] has no effect: code is bundled, whatever rules say",
        ]
    );
    let crons = toml(text).manifest.crons;
    assert_eq!(crons, ["* * * * *".parse().unwrap()]);
}

#[test]
fn assets_are_read() {
    let text = format!(
        "{HEAD}[assets]\ndirectory = \"./public\"\nbinding = \"ASSETS\"\nhtml_handling = \"none\"\n\
         not_found_handling = \"404-page\"\nrun_worker_first = [\"/api/*\", \"!/api/docs/*\"]\n\
         [env.staging.assets]\ndirectory = \"../other\"\nrun_worker_first = false\n"
    );
    let assets = |env| {
        let manifest = read("wrangler.toml", &text, env).unwrap().manifest;
        assert_eq!(manifest.unfit, []);
        (manifest.assets.unwrap(), manifest.assets_in.unwrap())
    };
    let (top, folder) = assets(None);
    assert_eq!(folder, "./public");
    let expected = Assets {
        directory: None,
        binding: Some("ASSETS".to_owned()),
        html_handling: HtmlHandling::None,
        not_found_handling: NotFoundHandling::NotFoundPage,
        server_first: vec!["/api/*".to_owned(), "!/api/docs/*".to_owned()],
    };
    assert_eq!(top, expected);
    assert_eq!(
        assets(Some("staging")),
        (Assets::default(), "../other".to_owned())
    );
    assert_eq!(warnings("wrangler.toml", &text, None), [""; 0]);

    let always = format!("{HEAD}[assets]\ndirectory = \"a\"\nrun_worker_first = true\n");
    let first = toml(&always).manifest.assets.unwrap().server_first;
    assert_eq!(first, ["/*"]);
    assert_eq!(
        warnings("wrangler.toml", &always, None),
        [
            "wrangler.toml:6:20: assets.run_worker_first has the server answer everything, and it cannot reach the assets: \
             add a binding"
        ]
    );
}

#[test]
fn an_application_may_be_assets_alone() {
    let alone =
        "name = \"a\"\ncompatibility_date = \"2026-01-31\"\n[assets]\ndirectory = \"public\"\n";
    let project = toml(alone);
    assert!(project.main.is_none() && project.manifest.assets.is_some());
    assert_eq!(
        refused(
            "wrangler.toml",
            &format!("{alone}binding = \"A\"\nrun_worker_first = true"),
            None
        ),
        [
            "wrangler.toml:5:11: assets.binding is for a server, and there is none: leave it out, or name the module with the \
             fetch handler in main",
            "wrangler.toml:6:20: assets.run_worker_first is for a server, and there is none: leave it out, or name the module \
             with the fetch handler in main",
        ]
    );
}

#[test]
fn assets_that_cannot_be_meant_are_refused() {
    let refused = |rest: &str| {
        let found = refused("wrangler.toml", &format!("{HEAD}{rest}"), None);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    let assets = |rest: &str| refused(&format!("[assets]\ndirectory = \"a\"\n{rest}"));
    assert_eq!(
        refused("[assets]\nhtml_handling = \"none\""),
        "wrangler.toml:4:1: assets.directory is missing"
    );
    assert!(refused("[assets]\ndirectory = \"\"").contains(":5:13: assets.directory is empty"));
    let html = assets("html_handling = \"auto\"");
    assert!(
        html.starts_with(
            "wrangler.toml:6:17: assets.html_handling must be auto-trailing-slash or "
        ),
        "{html}"
    );
    assert!(
        assets("not_found_handling = \"404\"")
            .contains(":6:22: assets.not_found_handling must be none or ")
    );
    for first in ["[]", "1", "[1]"] {
        let found = assets(&format!("run_worker_first = {first}"));
        assert!(
            found.contains(":6:20: assets.run_worker_first must be true, false, or a list"),
            "{found}"
        );
    }
    assert_eq!(
        assets("run_worker_first = [\"/a\", \"b\"]"),
        "wrangler.toml:6:27: assets.run_worker_first[1] \"b\" must begin with / or !/"
    );
    assert!(
        assets("binding = \"A\"\n[vars]\nA = \"1\"")
            .contains(":6:11: assets.binding: vars.A has the name A")
    );
    assert!(assets("[site]\nbucket = \"b\"").contains(":6:2: assets and site are one too many"));
    let unknown = format!("{HEAD}[assets]\ndirectory = \"a\"\nmore = 1");
    assert_eq!(
        warnings("wrangler.toml", &unknown, None),
        ["wrangler.toml:6:1: unknown field assets.more: it has no effect"]
    );
}

#[test]
fn exports_declare_classes_as_well() {
    let text = r#"{
  "name": "a", "main": "a.js", "compatibility_date": "2026-01-31",
  "exports": {
    "Room": { "type": "durable-object", "storage": "sqlite" },
    "Old": { "type": "durable-object", "state": "renamed", "renamed_to": "Room" },
    "Gone": { "type": "durable-object", "state": "deleted" },
    "Plain": { "type": "durable-object", "storage": "legacy-kv" },
    "Admin": { "type": "worker" },
  },
}"#;
    let project = read("wrangler.jsonc", text, None).unwrap();
    let classes = project.manifest.objects.object_classes();
    let classes: Vec<_> = (classes.iter())
        .map(|class| (&*class.name, &*class.origin.name, class.storage))
        .collect();
    assert_eq!(
        classes,
        [
            ("Plain", "Plain", ObjectStorage::KeyValue),
            ("Room", "Old", ObjectStorage::Sqlite),
        ]
    );
    let text = text
        .replace("\"sqlite\"", "\"disk\"")
        .replace("\"state\": \"deleted\"", "\"state\": \"transferred\"");
    assert_eq!(
        refused("wrangler.jsonc", &text, None),
        [
            "wrangler.jsonc:4:13: exports.Room needs a storage: \"sqlite\" or \"legacy-kv\"",
            "wrangler.jsonc:5:12: exports.Old: there is no class Room: declare it, too",
            "wrangler.jsonc:6:13: exports.Gone cannot be transferred: objects are not taken over from another script, nor \
             given to one",
        ]
    );
}

const ENVIRONMENTS: &str = r#"{
  "name": "a",
  "main": "a.js",
  "compatibility_date": "2026-01-31",
  "vars": { "A": "top", "B": "top" },
  "durable_objects": { "bindings": [{ "name": "O", "class_name": "Object" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Object"] }],
  "env": {
    "staging": { "vars": { "A": "staging" }, "main": "b.js", "keep_vars": true },
    "production": { "name": "b", "durable_objects": { "bindings": [{ "name": "P", "class_name": "Object" }] } },
    "empty": {},
    "odd": 1,
  },
}"#;

#[test]
fn an_environment_inherits_what_it_may() {
    let made = |env| read("wrangler.jsonc", ENVIRONMENTS, Some(env)).unwrap();
    let staging = made("staging");
    assert_eq!(staging.manifest.name, "a-staging");
    assert_eq!(staging.main.unwrap().0, "b.js");
    assert_eq!(
        staging.manifest.env,
        [("A".to_owned(), EnvValue::Plain("staging".to_owned()))]
    );
    assert_eq!(staging.manifest.objects.bindings, []);
    assert_eq!(
        staging.manifest.objects.classes.len(),
        1,
        "migrations are inherited"
    );
    assert_eq!(
        warnings("wrangler.jsonc", ENVIRONMENTS, Some("staging")),
        [
            "wrangler.jsonc:5:25: vars.B is not inherited by env.staging: repeat it there if it is wanted",
            "wrangler.jsonc:6:3: durable_objects is not inherited by env.staging: repeat it there if it is wanted",
            "wrangler.jsonc:9:62: env.staging.keep_vars has no effect: keep_vars can stand at the top level only",
        ]
    );
    let production = made("production");
    assert_eq!(production.manifest.name, "b");
    assert_eq!(production.manifest.objects.bindings[0].name, "P");
    assert!(production.manifest.env.is_empty());
}

#[test]
fn an_environment_that_is_not_there_is_named() {
    let refused = |env| refused("wrangler.jsonc", ENVIRONMENTS, Some(env));
    assert_eq!(
        refused("test"),
        [
            "wrangler.jsonc:8:10: there is no env.test: choose staging or production or empty or odd with --env"
        ]
    );
    assert_eq!(
        refused("odd"),
        ["wrangler.jsonc:12:12: env.odd must be a map"]
    );
    let without = read("wrangler.toml", HEAD, Some("test")).unwrap_err();
    assert_eq!(
        lines(&without),
        ["wrangler.toml:1:1: there is no env.test: leave --env out"]
    );
}

#[test]
fn variables_are_what_json_has() {
    let text = format!("{HEAD}[vars]\nD = 2026-01-31\nI = [inf]\nM = {{ d = 12:00:00 }}\n");
    assert_eq!(
        refused("wrangler.toml", &text, None),
        [
            "wrangler.toml:5:5: vars.D is a date, which variables cannot be: put it in quotes",
            "wrangler.toml:6:6: vars.I[0] is a number that JSON does not have: put it in quotes",
            "wrangler.toml:7:11: vars.M.d is a date, which variables cannot be: put it in quotes",
        ]
    );
}

#[test]
fn what_a_class_in_a_cluster_cannot_have_is_known() {
    let text = format!("{HEAD}vars = {{ A = \"x\", N = 1, \"a-b\" = \"y\" }}\n")
        .replace("\"a\"", "\"a_b\"");
    let unfit = lines(&toml(&text).manifest.unfit);
    let starts = [
        "wrangler.toml:1:8: name cannot be that of a class: ",
        "wrangler.toml:4:19: vars.N is not text, and a class has only text in spec.env: ",
        "wrangler.toml:4:26: vars.a-b cannot be in a class: spec.env[2].name ",
    ];
    assert_eq!(unfit.len(), starts.len(), "{unfit:?}");
    for (line, start) in unfit.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(lines(&toml(HEAD).manifest.unfit), [""; 0]);
}

/// Settings that may have anything in them.
fn anything() -> impl Strategy<Value = serde_json::Value> {
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i32>().prop_map(|value| json!(value)),
        "[a-zA-Z./*-]{0,8}".prop_map(|value| json!(value)),
    ];
    let names = prop::sample::select(vec![
        "name",
        "main",
        "compatibility_date",
        "compatibility_flags",
        "vars",
        "durable_objects",
        "bindings",
        "class_name",
        "script_name",
        "migrations",
        "tag",
        "new_classes",
        "new_sqlite_classes",
        "renamed_classes",
        "from",
        "to",
        "deleted_classes",
        "rules",
        "type",
        "globs",
        "fallthrough",
        "triggers",
        "crons",
        "assets",
        "directory",
        "binding",
        "run_worker_first",
        "env",
        "test",
        "dev",
        "other",
    ]);
    scalar.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| json!(items)),
            prop::collection::btree_map(names.clone(), inner, 0..6)
                .prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    /// Whatever a file has in it: each problem and warning has a place in the file, and the next step or a reason.
    #[test]
    fn whatever_is_in_a_file_is_answered(settings in anything(), env in prop::option::of(Just("test"))) {
        let text = serde_json::to_string_pretty(&settings).unwrap();
        let (project, mut told) = told("wrangler.json", &text, env);
        if let Err(problems) = project {
            prop_assert!(!problems.is_empty());
            told.extend(problems);
        }
        for one in told {
            let line = text.lines().nth(one.line as usize - 1).unwrap_or_default();
            prop_assert!(one.column as usize <= line.chars().count() + 1, "{one}");
            prop_assert!(!one.message.is_empty() && !one.message.contains('\n'), "{one}");
        }
    }
}
