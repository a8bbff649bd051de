//! `types/` declares what there is, and all that there is.
//!
//! What it declares is looked for in a server and a worker. What they have in addition to JavaScript is written to
//! `types/generated/surface.ts`, as a program that uses each name and member once: `make types` has TypeScript compile it,
//! which fails if one is declared neither there nor by TypeScript's own libraries.

mod declared;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use declared::Declared;
use serde::Deserialize;

use crate::app::Setup;
use crate::surface::LANGUAGE;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    what_is_declared_is_there_and_all_that_is_there,
    the_program_for_typescript_uses_all_that_is_there,
];

const DECLARATIONS: &[&str] = &[
    include_str!("../../../../types/serverless-worker.d.ts"),
    include_str!("../../../../types/workers.d.ts"),
    include_str!("../../../../types/modules.d.ts"),
];

/// Types of the platform's to which members are added: the others are declared by TypeScript.
const ADDED_TO: &[&str] = &[
    "Request",
    "Response",
    "ResponseInit",
    "ServiceWorkerGlobalScope",
];

const MODULES: &[(&str, &str)] = &[
    ("server.js", include_str!("server.js")),
    ("worker.js", include_str!("worker.js")),
    ("other.js", include_str!("other.js")),
    ("broken.js", "throw new Error('as it should')"),
    ("looks.js", include_str!("looks.js")),
];

/// What is there.
#[derive(Deserialize)]
struct Report {
    /// Types by the names that they are declared by, or that they have.
    types: BTreeMap<String, BTreeSet<String>>,
    /// What classes have themselves.
    statics: BTreeMap<String, BTreeSet<String>>,
    globals: BTreeMap<String, Global>,
}

#[derive(Deserialize)]
struct Global {
    kind: Kind,
    statics: BTreeSet<String>,
    members: BTreeSet<String>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Interface,
    Object,
    Value,
}

async fn report() -> Report {
    let app = Setup::new(MODULES).start().await;
    let report = serde_json::from_str(&app.text("/").await).unwrap();
    app.stop().await;
    report
}

async fn what_is_declared_is_there_and_all_that_is_there() {
    let report = report().await;
    let mut declared = Declared::default();
    DECLARATIONS.iter().for_each(|source| declared.read(source));
    let mut wrong = vec![];
    for name in &declared.globals {
        if !report.globals.contains_key(name) {
            wrong.push(format!("{name} is declared and not there"));
        }
    }
    for (name, own) in &declared.types {
        let Some(seen) = report.types.get(name) else {
            wrong.push(format!("worker.js does not say what {name} has"));
            continue;
        };
        let whole = declared.whole(name);
        let inherited: BTreeSet<_> = (whole.bases.iter())
            .flat_map(|base| &report.types[base])
            .collect();
        for (member, optional) in &whole.members {
            if !optional && !seen.contains(member) {
                wrong.push(format!("{name}.{member} is declared and not there"));
            }
        }
        for member in seen {
            let is_known = whole.members.contains_key(member) || inherited.contains(member);
            if !is_known && !ADDED_TO.contains(&&**name) {
                wrong.push(format!("{name}.{member} is not declared"));
            }
        }
        let none = BTreeSet::new();
        let statics = report.statics.get(name).unwrap_or(&none);
        if *statics != own.statics {
            wrong.push(format!(
                "{name} has {statics:?} itself, and {:?} are declared",
                own.statics
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(declared.types.len() > 20, "the declarations are read");
}

const HEADER: &str = "\
// Each name and member that the surface has in addition to JavaScript's, for TypeScript to look up. Made by a test; after a
// change of the surface, make it again with
// PORTSIDE_BLESS=1 scripts/with-v8 cargo test --workspace --test behaviour -- types
";

/// What TypeScript's libraries do not know, and is not declared here: names newer than they, which they would clash with one
/// day; Workers' names in types that cannot be added to, or that only the ends of pairs may call; and what others left in sight.
const UNTYPED: &str = "Blob.textStream QuotaExceededError ReadableStream.from Request.textStream Response.textStream \
    SubtleCrypto.decapsulateBits SubtleCrypto.decapsulateKey SubtleCrypto.encapsulateBits SubtleCrypto.encapsulateKey \
    SubtleCrypto.getPublicKey SubtleCrypto.supports WebAssembly.SuspendError WebAssembly.Suspending WebAssembly.promising \
    WebSocket.READY_STATE_CLOSED WebSocket.READY_STATE_CLOSING WebSocket.READY_STATE_CONNECTING WebSocket.READY_STATE_OPEN \
    WebSocket.accept WebSocket.deserializeAttachment WebSocket.serializeAttachment \
    Crypto.create Crypto.registerSymbols Event.initialized EventTarget.getParent MessagePort.hasRef MessagePort.ref \
    MessagePort.unref SubtleCrypto.create console.indentLevel console.profile console.profileEnd \
    performance.getParent";

async fn the_program_for_typescript_uses_all_that_is_there() {
    let report = report().await;
    let words = |text: &'static str| text.split(' ').collect::<BTreeSet<_>>();
    let (language, mut untyped) = (words(LANGUAGE), words(UNTYPED));
    let mut program = HEADER.to_owned();
    for (name, global) in &report.globals {
        if language.contains(&**name) || untyped.remove(&**name) {
            continue;
        }
        let mut of = |owner: &str, names: &BTreeSet<String>| -> Vec<String> {
            let typed = |one: &&String| !untyped.remove(&*format!("{name}.{one}"));
            (names.iter().filter(typed))
                .map(|one| format!("{owner}.{one}"))
                .collect()
        };
        let line = if global.kind == Kind::Interface {
            let used = [of(name, &global.statics), of("it", &global.members)].concat();
            format!("void ((it: {name}) => [{}]);", used.join(", "))
        } else {
            let used = [vec![name.clone()], of(name, &global.members)].concat();
            format!("void [{}];", used.join(", "))
        };
        writeln!(program, "{line}").unwrap();
    }
    assert_eq!(untyped, BTreeSet::new(), "not there any more");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../types/generated/surface.ts");
    if std::env::var_os("PORTSIDE_BLESS").is_some() {
        std::fs::write(file, program).unwrap();
    } else {
        let kept = std::fs::read_to_string(file).unwrap_or_default();
        assert!(kept == program, "{file} is stale: see its first lines");
    }
}
