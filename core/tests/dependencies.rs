//! The workspace's rules about who may depend on what, checked against cargo's own resolution of it.
//!
//! The rules keep boundaries honest: pure decisions without I/O, V8 and SQL in few places, and
//! programs that build and test without an engine they do not use.
#![allow(clippy::unwrap_used)] // a test may stop at the first surprise

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::process::Command;

use serde_json::Value;

/// Crates that do I/O, keep time or start tasks: not for pure decisions.
const IO: &[&str] = &[
    "async-std",
    "axum",
    "h2",
    "hyper",
    "hyper-util",
    "kube*",
    "libsqlite3-sys",
    "mio",
    "reqwest",
    "rusqlite",
    "smol",
    "socket2",
    "sqlx*",
    "tokio",
    "tokio-*",
    "tonic",
    "tower*",
];
/// V8 and what is built on it.
const ENGINE: &[&str] = &["deno_*", "serde_v8", "v8"];
/// Database drivers.
const SQL: &[&str] = &[
    "libsqlite3-sys",
    "postgres",
    "rusqlite",
    "sqlx*",
    "tokio-postgres",
];
/// Clients of the Kubernetes API. Its types alone (`kube-core`, `k8s-openapi`) are fine.
const KUBERNETES: &[&str] = &["kube", "kube-client", "kube-runtime"];

/// Servers and clients of HTTP: a codec leaves connections to its users.
const HTTP: &[&str] = &["hyper", "hyper-util", "reqwest", "tokio-tungstenite"];

/// Members that must build and test without V8.
const WITHOUT_ENGINE: &[&str] = &[
    "portside-admin",
    "portside-apiserver",
    "portside-assets",
    "portside-bench",
    "portside-bundle",
    "portside-core",
    "portside-crds",
    "portside-e2e",
    "portside-exchange",
    "portside-faults",
    "portside-frontdoor",
    "portside-gateway",
    "portside-gateway-program",
    "portside-kubectl",
    "portside-manage",
    "portside-objectdb",
    "portside-operator",
    "portside-sim",
    "portside-store",
    "portside-worker",
    "portside-store-model",
    "portside-verbs",
    "portside-watches",
    "portside-websocket",
    "portside-wire",
];

/// The workspace as cargo resolves it: every package by name, with what it needs to build and run.
///
/// Two versions of one crate are one node here: the rules are about names.
#[derive(Default)]
struct Graph {
    members: BTreeMap<String, Member>,
    /// Normal and build dependencies, of members and of all crates below them.
    edges: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Default)]
struct Member {
    is_program: bool,
    /// Dependencies of its tests alone.
    dev: BTreeSet<String>,
}

impl Graph {
    /// Reads the output of `cargo metadata`.
    fn parse(metadata: &Value) -> Self {
        let list = |value: &Value| value.as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let members: BTreeSet<_> = list(&metadata["workspace_members"])
            .iter()
            .map(text)
            .collect();

        let mut graph = Self::default();
        let mut names = BTreeMap::new();
        for package in list(&metadata["packages"]) {
            let (id, name) = (text(&package["id"]), text(&package["name"]));
            if members.contains(&id) {
                let kinds = list(&package["targets"])
                    .into_iter()
                    .flat_map(|t| list(&t["kind"]));
                let is_program = kinds.into_iter().any(|kind| kind == "bin");
                graph.members.insert(
                    name.clone(),
                    Member {
                        is_program,
                        ..Member::default()
                    },
                );
            }
            names.insert(id, name);
        }
        for node in list(&metadata["resolve"]["nodes"]) {
            let from = &names[&text(&node["id"])];
            for dependency in list(&node["deps"]) {
                let to = names[&text(&dependency["pkg"])].clone();
                if list(&dependency["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"] != "dev")
                {
                    graph.edges.entry(from.clone()).or_default().insert(to);
                } else if let Some(member) = graph.members.get_mut(from) {
                    member.dev.insert(to);
                }
            }
        }
        graph
    }

    fn needs(&self, name: &str) -> impl Iterator<Item = &String> {
        self.edges.get(name).into_iter().flatten()
    }

    /// The shortest way from a member to a crate of the list, as `a -> b -> c`.
    fn path(&self, member: &str, list: &[&str]) -> Option<String> {
        let mut came_from = BTreeMap::from([(member, None)]);
        let mut queue = VecDeque::from([member]);
        while let Some(name) = queue.pop_front() {
            if is_in(name, list) {
                let mut way: Vec<_> =
                    std::iter::successors(Some(name), |at| came_from[at]).collect();
                way.reverse();
                return Some(way.join(" -> "));
            }
            for next in self.needs(name) {
                came_from.entry(next).or_insert_with(|| {
                    queue.push_back(next);
                    Some(name)
                });
            }
        }
        None
    }

    /// Every way in which the workspace breaks a rule, one line each; none when it is as it should be.
    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for name in WITHOUT_ENGINE
            .iter()
            .filter(|name| !self.members.contains_key(**name))
        {
            found.push(format!(
                "{name} has a rule here but is not in the workspace: correct the rule"
            ));
        }
        found.extend(
            self.path("portside-core", IO)
                .map(|way| format!("core does no I/O: {way}")),
        );
        found.extend(
            self.path("portside-websocket", HTTP)
                .map(|way| format!("the codec makes no connections: {way}")),
        );
        for member in WITHOUT_ENGINE {
            found.extend(
                self.path(member, ENGINE)
                    .map(|way| format!("builds without V8: {way}")),
            );
        }
        self.only_in(
            &["portside-runtime", "portside-surface"],
            ENGINE,
            "V8",
            &mut found,
        );
        self.only_in(
            // The benchmarks measure a plain client of the database beside the store.
            &["portside-bench", "portside-objectdb", "portside-store"],
            SQL,
            "SQL",
            &mut found,
        );
        let clients = [
            "portside-operator",
            "portside-gateway-program",
            "portside-apiserver",
            "portside-kubectl",
            "portside-watches",
            "portside-e2e",
        ];
        self.only_in(&clients, KUBERNETES, "a Kubernetes client", &mut found);
        for (name, member) in &self.members {
            for program in self.needs(name).chain(&member.dev) {
                if self
                    .members
                    .get(program)
                    .is_some_and(|member| member.is_program)
                {
                    found.push(format!("nothing depends on a program: {name} -> {program}"));
                }
            }
        }
        found
    }

    /// Reports members outside `allowed` that name a crate of the list, in their tests as well.
    fn only_in(&self, allowed: &[&str], list: &[&str], what: &str, found: &mut Vec<String>) {
        let others = self
            .members
            .iter()
            .filter(|(name, _)| !allowed.contains(&name.as_str()));
        for (name, member) in others {
            for used in self
                .needs(name)
                .chain(&member.dev)
                .filter(|used| is_in(used, list))
            {
                found.push(format!(
                    "{what} only in {}: {name} -> {used}",
                    allowed.join(", ")
                ));
            }
        }
    }
}

/// Whether a list names this crate; `name*` stands for every crate that begins so.
fn is_in(name: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *entry,
    })
}

fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    let output = command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_workspace_keeps_its_rules() {
    let version = cargo(&["--version", "--verbose"]);
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    // Other platforms' crates are left out: they are not on this machine, nor built here.
    let metadata = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        host,
    ]);
    let graph = Graph::parse(&serde_json::from_str(&metadata).unwrap());

    // The rules can only fail if the graph has what they look for.
    assert!(
        graph.path("portside-runtime", &["v8"]).is_some(),
        "the runtime's way to V8 is lost"
    );
    let violations = graph.violations();
    assert!(
        violations.is_empty(),
        "dependency rules broken:\n  {}",
        violations.join("\n  ")
    );
}

/// A workspace that keeps the rules, in the few edges that matter to them.
fn sound() -> Graph {
    let mut graph = Graph::default();
    for name in
        WITHOUT_ENGINE
            .iter()
            .chain(&["portside-runtime", "portside-surface", "portside-cli"])
    {
        graph.members.insert((*name).to_owned(), Member::default());
    }
    graph.members.get_mut("portside-cli").unwrap().is_program = true;
    for (from, to) in [
        ("portside-cli", "portside-runtime"),
        ("portside-cli", "portside-store"),
        ("portside-runtime", "portside-surface"),
        ("portside-surface", "deno_core"),
        ("deno_core", "v8"),
        ("deno_core", "tokio"),
        ("portside-store", "sqlx"),
        ("sqlx", "tokio"),
        ("portside-core", "sha2"),
    ] {
        graph
            .edges
            .entry(from.to_owned())
            .or_default()
            .insert(to.to_owned());
    }
    graph
}

/// The violations of the sound workspace after one more normal dependency.
fn with(from: &str, to: &str) -> Vec<String> {
    let mut graph = sound();
    graph
        .edges
        .entry(from.to_owned())
        .or_default()
        .insert(to.to_owned());
    graph.violations()
}

#[test]
fn a_sound_workspace_has_no_violations() {
    assert_eq!(sound().violations(), Vec::<String>::new());
}

#[test]
fn each_broken_rule_is_found_with_the_way_to_it() {
    let kube = "a Kubernetes client only in portside-operator, portside-gateway-program, portside-apiserver, portside-kubectl, portside-watches, portside-e2e";
    for (from, to, violation) in [
        (
            "sha2",
            "tokio-util",
            "core does no I/O: portside-core -> sha2 -> tokio-util",
        ),
        (
            "portside-websocket",
            "hyper",
            "the codec makes no connections: portside-websocket -> hyper",
        ),
        (
            "portside-frontdoor",
            "portside-surface",
            "builds without V8: portside-frontdoor -> portside-surface -> deno_core",
        ),
        (
            "portside-cli",
            "deno_core",
            "V8 only in portside-runtime, portside-surface: portside-cli -> deno_core",
        ),
        (
            "portside-frontdoor",
            "sqlx-core",
            "SQL only in portside-bench, portside-objectdb, portside-store: portside-frontdoor -> sqlx-core",
        ),
        (
            "portside-store",
            "kube",
            &format!("{kube}: portside-store -> kube"),
        ),
        (
            "portside-surface",
            "portside-cli",
            "nothing depends on a program: portside-surface -> portside-cli",
        ),
    ] {
        assert_eq!(with(from, to), [violation]);
    }
}

#[test]
fn dependencies_of_tests_count_where_the_rule_is_about_names() {
    let mut graph = sound();
    graph
        .members
        .get_mut("portside-bundle")
        .unwrap()
        .dev
        .insert("rusqlite".to_owned());
    assert_eq!(
        graph.violations(),
        [
            "SQL only in portside-bench, portside-objectdb, portside-store: portside-bundle -> rusqlite"
        ]
    );
}

#[test]
fn a_renamed_member_does_not_escape_its_rule() {
    let mut graph = sound();
    graph.members.remove("portside-frontdoor");
    assert_eq!(
        graph.violations(),
        ["portside-frontdoor has a rule here but is not in the workspace: correct the rule"]
    );
}

#[test]
fn metadata_is_read_by_kind_of_dependency() {
    let metadata = serde_json::json!({
        "workspace_members": ["id-a", "id-b"],
        "packages": [
            { "id": "id-a", "name": "a", "targets": [{ "kind": ["lib"] }, { "kind": ["bin"] }] },
            { "id": "id-b", "name": "b", "targets": [{ "kind": ["lib"] }] },
            { "id": "id-c", "name": "c", "targets": [{ "kind": ["lib"] }] },
        ],
        "resolve": { "nodes": [
            { "id": "id-a", "deps": [
                { "pkg": "id-b", "dep_kinds": [{ "kind": "dev" }, { "kind": null }] },
                { "pkg": "id-c", "dep_kinds": [{ "kind": "dev" }] },
            ] },
            { "id": "id-b", "deps": [{ "pkg": "id-c", "dep_kinds": [{ "kind": "build" }] }] },
            { "id": "id-c", "deps": [] },
        ] },
    });
    let graph = Graph::parse(&metadata);
    assert!(graph.members["a"].is_program && !graph.members["b"].is_program);
    assert!(graph.needs("a").eq(["b"]) && graph.needs("b").eq(["c"]));
    assert!(graph.members["a"].dev.iter().eq(["c"]));
}
