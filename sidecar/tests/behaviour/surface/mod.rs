//! Every name that the surface has is used once, in a server and in a worker.
//!
//! Being there proves little: scripts of the platform are compiled when they are first needed, and what they need may be
//! missing by then. The uses are JavaScript, one for each name; a name without one fails.

pub mod durable;
pub mod outgoing;

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::app::{Peered, Setup};
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    every_name_works_in_a_server,
    every_name_works_in_a_worker,
    every_name_of_the_readme_is_used,
];

const MODULES: &[(&str, &str)] = &[
    ("server.js", include_str!("server.js")),
    ("worker.js", include_str!("worker.js")),
    ("other.js", include_str!("other.js")),
    ("uses.js", include_str!("uses.js")),
    ("check.js", include_str!("check.js")),
    ("platform.js", include_str!("platform.js")),
    ("streams.js", include_str!("streams.js")),
    ("cryptography.js", include_str!("cryptography.js")),
    ("network.js", include_str!("network.js")),
    ("portside.js", include_str!("portside.js")),
];

/// The names of ECMAScript, as of this engine, and V8's own.
pub const LANGUAGE: &str = "globalThis Infinity NaN undefined eval isFinite isNaN parseFloat parseInt decodeURI \
    decodeURIComponent encodeURI encodeURIComponent escape unescape Object Function Boolean Symbol Error AggregateError \
    EvalError RangeError ReferenceError SyntaxError TypeError URIError SuppressedError Number BigInt Math Date Temporal \
    String RegExp Array Int8Array Uint8Array Uint8ClampedArray Int16Array Uint16Array Int32Array Uint32Array \
    BigInt64Array BigUint64Array Float16Array Float32Array Float64Array Map Set WeakMap WeakSet ArrayBuffer \
    SharedArrayBuffer DataView Atomics JSON WeakRef FinalizationRegistry Iterator Promise Proxy Reflect Intl \
    DisposableStack AsyncDisposableStack";

#[derive(Deserialize)]
struct Names {
    used: BTreeSet<String>,
    globals: BTreeSet<String>,
}

/// The application, which its own code reaches over the network.
async fn start() -> Peered {
    let mut setup = Setup::new(MODULES);
    setup.env = vec![("GREETING".into(), "hello".into())];
    Peered::start(setup).await
}

async fn names(surface: &Peered, place: &str) -> Names {
    serde_json::from_str(&surface.app.text(&format!("/{place}")).await).unwrap()
}

/// Uses every name in this place, and tells which do not work, and which have no use.
async fn use_all(place: &str) {
    let surface = start().await;
    let Names { used, globals } = names(&surface, place).await;
    let mut failed = Vec::new();
    for name in &used {
        let path = format!("/{place}/{name}?peer=http://{}", surface.peer);
        let wrong = surface.app.text(&path).await;
        if !wrong.is_empty() {
            failed.push(format!("{name}: {wrong}"));
        }
    }
    assert!(failed.is_empty(), "in a {place}:\n{}", failed.join("\n"));
    let language: BTreeSet<String> = LANGUAGE.split(' ').map(str::to_owned).collect();
    let unused: Vec<_> = globals
        .difference(&used)
        .filter(|name| !language.contains(*name))
        .collect();
    assert!(unused.is_empty(), "without a use: {unused:?}");
    surface.end().await;
}

async fn every_name_works_in_a_server() {
    use_all("server").await;
}

async fn every_name_works_in_a_worker() {
    use_all("worker").await;
}

async fn every_name_of_the_readme_is_used() {
    const README: &str = include_str!("../../../../README.md");
    let (_, section) = README.split_once("## The JavaScript surface").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let surface = start().await;
    let used = names(&surface, "worker").await.used;
    let mut seen = 0;
    for name in listed(section) {
        assert!(used.contains(name), "{name} has no use");
        seen += 1;
    }
    assert!(seen > 30, "only {seen} names are seen in the README");
    surface.end().await;
}

/// The names in the first paragraph and in the left column of the table: the functions of a piece of code, or the last
/// word of one that has none.
fn listed(section: &str) -> impl Iterator<Item = &str> {
    let paragraph = section
        .trim_start()
        .split("\n\n")
        .next()
        .unwrap_or_default();
    let column = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    paragraph
        .split('`')
        .skip(1)
        .step_by(2)
        .chain(column.flat_map(|cell| cell.split('`').step_by(2)))
        .flat_map(|code| {
            let called: Vec<&str> = code
                .split('(')
                .rev()
                .skip(1)
                .filter_map(last_word)
                .collect();
            if called.is_empty() {
                last_word(code).into_iter().collect()
            } else {
                called
            }
        })
}

/// The identifier that ends this code.
fn last_word(code: &str) -> Option<&str> {
    let word = code
        .rsplit(|letter: char| !letter.is_ascii_alphanumeric())
        .next()?;
    (!word.is_empty()).then_some(word)
}
