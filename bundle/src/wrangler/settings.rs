//! Wrangler's settings: which there are, which of them an environment inherits, and what Portside makes of them.
//!
//! As in wrangler 4 (`packages/workers-utils/src/config` of <https://github.com/cloudflare/workers-sdk>).

use portside_crds::validate::Step;
use serde_json::{Value as Json, json};

use crate::node::{Key, Node};

/// Where a setting may stand, and which environments it holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Anywhere. An environment that does not have it has that of the top level.
    Inherited,
    /// Anywhere. That of the top level holds only if no environment is chosen.
    Own,
    /// At the top level, for all environments.
    Top,
}

/// What Portside makes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// It is read. [`schema`] has its form.
    Read,
    /// It is for editors.
    Moot,
    /// Nothing: this is what to say about it.
    Not(&'static str),
    /// Nothing: wrangler does not know it either.
    Unknown,
}

const CLOUDFLARE: Support = Support::Not("concerns Cloudflare only: it has no effect");
const BINDING: Support =
    Support::Not("is not supported yet: env will not have the bindings it declares");
const NOT_YET: Support = Support::Not("is not supported yet: it has no effect");

/// Every setting of wrangler's.
const SETTINGS: &[(Scope, Support, &[&str])] = &[
    (
        Scope::Inherited,
        Support::Read,
        &[
            "name",
            "main",
            "compatibility_date",
            "compatibility_flags",
            "exports",
            "migrations",
            "rules",
            "triggers",
            "assets",
        ],
    ),
    (
        Scope::Own,
        Support::Read,
        &["vars", "durable_objects", "secrets"],
    ),
    (Scope::Top, Support::Moot, &["$schema", "env"]),
    (
        Scope::Inherited,
        CLOUDFLARE,
        &[
            "access",
            "account_id",
            "cache",
            "compliance_region",
            "first_party_worker",
            "limits",
            "logfwdr",
            "logpush",
            "observability",
            "placement",
            "preview_urls",
            "previews",
            "route",
            "routes",
            "upload_source_maps",
            "workers_dev",
        ],
    ),
    (
        Scope::Own,
        CLOUDFLARE,
        &[
            "cloudchamber",
            "containers",
            "streaming_tail_consumers",
            "tail_consumers",
        ],
    ),
    (
        Scope::Top,
        CLOUDFLARE,
        &[
            "addresses",
            "dependencies_instrumentation",
            "keep_vars",
            "send_metrics",
        ],
    ),
    (
        Scope::Own,
        BINDING,
        &[
            "agent_memory",
            "ai",
            "ai_search",
            "ai_search_namespaces",
            "analytics_engine_datasets",
            "artifacts",
            "browser",
            "connect",
            "d1_databases",
            "dispatch_namespaces",
            "flagship",
            "hyperdrive",
            "images",
            "kv_namespaces",
            "media",
            "mtls_certificates",
            "pipelines",
            "queues",
            "r2_buckets",
            "ratelimits",
            "secrets_store_secrets",
            "send_email",
            "services",
            "stream",
            "unsafe",
            "unsafe_hello_world",
            "vectorize",
            "version_metadata",
            "vpc_networks",
            "vpc_services",
            "websearch",
            "worker_loaders",
            "workflows",
        ],
    ),
    (
        Scope::Top,
        BINDING,
        &["data_blobs", "text_blobs", "wasm_modules"],
    ),
    (
        Scope::Inherited,
        NOT_YET,
        &[
            "base_dir",
            "find_additional_modules",
            "jsx_factory",
            "jsx_fragment",
            "keep_names",
            "minify",
            "preserve_file_names",
            "python_modules",
            "tsconfig",
        ],
    ),
    (Scope::Own, NOT_YET, &["define"]),
    (
        Scope::Top,
        NOT_YET,
        &["alias", "pages_build_output_dir", "site"],
    ),
    (
        Scope::Inherited,
        Support::Not("is not run: run the build yourself, and name its result in main"),
        &["build"],
    ),
    (
        Scope::Inherited,
        Support::Not("has no effect: modules are bundled all the same"),
        &["no_bundle"],
    ),
    (
        Scope::Top,
        Support::Not("has no effect: portside dev has options for these"),
        &["dev"],
    ),
];

/// Where a setting may stand, and what is made of it.
fn about(name: &str) -> (Scope, Support) {
    (SETTINGS.iter())
        .find_map(|(scope, support, names)| names.contains(&name).then_some((*scope, *support)))
        .unwrap_or((Scope::Inherited, Support::Unknown))
}

/// The form of a setting that is read.
pub(super) fn schema(name: &str) -> Json {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "array", "items": text() });
    match name {
        "name" | "main" => text(),
        "compatibility_date" => json!({
            "type": "string",
            "x-kubernetes-validations": [{ "message": "must be a date in quotes, such as \"2026-01-31\"" }],
        }),
        "compatibility_flags" => texts(),
        "vars" => json!({ "type": "object", "additionalProperties": {} }),
        "secrets" => json!({ "type": "object", "properties": { "required": texts() } }),
        "durable_objects" => json!({
            "type": "object",
            "properties": { "bindings": { "type": "array", "items": {
                "type": "object",
                "required": ["name", "class_name"],
                "properties": { "name": text(), "class_name": text(), "script_name": text() },
            } } },
        }),
        "migrations" => json!({ "type": "array", "items": {
            "type": "object",
            "required": ["tag"],
            "properties": {
                "tag": text(),
                "new_classes": texts(),
                "new_sqlite_classes": texts(),
                "deleted_classes": texts(),
                "renamed_classes": { "type": "array", "items": {
                    "type": "object",
                    "required": ["from", "to"],
                    "properties": { "from": text(), "to": text() },
                } },
                "transferred_classes": {},
            },
        } }),
        "exports" => json!({
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["type"],
                "properties": {
                    "type": { "type": "string", "enum": ["durable-object", "worker"] },
                    "state": text(),
                    "storage": text(),
                    "renamed_to": text(),
                    "transferred_to": text(),
                    "transfer_from": text(),
                    "container": text(),
                },
            },
        }),
        "rules" => json!({ "type": "array", "items": {
            "type": "object",
            "required": ["type", "globs"],
            "properties": {
                "type": { "type": "string", "enum": ["ESModule", "CommonJS", "CompiledWasm", "Text", "Data"] },
                "globs": texts(),
                "fallthrough": { "type": "boolean" },
            },
        } }),
        "assets" => json!({
            "type": "object",
            "required": ["directory"],
            "properties": {
                "directory": text(),
                "binding": text(),
                "html_handling": {
                    "type": "string",
                    "enum": ["auto-trailing-slash", "force-trailing-slash", "drop-trailing-slash", "none"],
                },
                "not_found_handling": { "type": "string", "enum": ["none", "404-page", "single-page-application"] },
                "run_worker_first": {}, // true, false, or a list
            },
        }),
        "triggers" => json!({ "type": "object", "properties": { "crons": texts() } }),
        _ => json!({}),
    }
}

/// A setting that holds.
pub(super) struct Setting<'d> {
    pub name: &'d str,
    pub key: &'d Key,
    pub node: &'d Node,
    /// The way to it, from the document's root.
    pub path: Vec<Step>,
    pub support: Support,
}

/// The settings that hold in an environment.
#[derive(Default)]
pub(super) struct Chosen<'d> {
    pub settings: Vec<Setting<'d>>,
    /// Those of the top level that the environment would have to repeat, and that it does not have.
    pub left_behind: Vec<&'d Key>,
    /// Those that cannot stand in an environment, and do.
    pub misplaced: Vec<&'d Key>,
}

impl<'d> Chosen<'d> {
    /// Chooses among the settings of the document and of one environment, or of none.
    pub fn new(document: &'d Node, env: Option<(&'d str, &'d Node)>) -> Self {
        let mut chosen = Self::default();
        let overridden = |name: &str| env.is_some_and(|(_, node)| node.field(name).is_some());
        for (key, node) in document.fields() {
            let (scope, support) = about(&key.name);
            match scope {
                Scope::Inherited if overridden(&key.name) => {}
                Scope::Own if env.is_some() => {
                    if support != Support::Moot && !overridden(&key.name) {
                        chosen.left_behind.push(key);
                    }
                }
                _ => chosen.add(key, node, support, &[]),
            }
        }
        let Some((env, settings)) = env else {
            return chosen;
        };
        let way = ["env", env].map(|name| Step::Field(name.to_owned()));
        for (key, node) in settings.fields() {
            match about(&key.name) {
                (Scope::Top, _) => chosen.misplaced.push(key),
                (_, support) => chosen.add(key, node, support, &way),
            }
        }
        chosen
    }

    fn add(&mut self, key: &'d Key, node: &'d Node, support: Support, way: &[Step]) {
        let name = Step::Field(key.name.clone());
        self.settings.push(Setting {
            name: &key.name,
            key,
            node,
            path: way.iter().cloned().chain([name]).collect(),
            support,
        });
    }

    /// The setting of that name, if it holds.
    pub fn get(&self, name: &str) -> Option<&Setting<'d>> {
        self.settings.iter().find(|setting| setting.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_setting_is_listed_twice_and_what_is_read_has_a_form() {
        let mut seen = BTreeSet::new();
        for (_, support, names) in SETTINGS {
            for name in *names {
                assert!(seen.insert(*name), "{name} is listed twice");
                let is_free = schema(name) == json!({});
                assert!(*support != Support::Read || !is_free, "{name} has no form");
            }
        }
    }
}
