//! The rules of a class, without a cluster.

use std::fmt;

use crate::class::{
    CaKey, Database, DurableObjects, EnvEntry, KeyRef, LocalRef, NamedKey, Pod, Route,
    ServerlessWorkerClass, ServerlessWorkerClassSpec,
};
use crate::quantity::Quantity;
use crate::rules::{self, Rule};

/// One step from a value into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field, or a map's key.
    Field(String),
    /// An item of a list, from 0.
    Item(usize),
}

/// A rule that a class breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The value, from the manifest's root.
    pub path: Vec<Step>,
    /// What it must be. Begins with the field only where the path is the root.
    pub message: &'static str,
}

impl fmt::Display for Violation {
    /// `PATH MESSAGE`, such as `spec.code needs exactly one of …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_slice() {
            [] => f.write_str(self.message),
            path => write!(f, "{} {}", Path(path), self.message),
        }
    }
}

/// Steps as `spec.env[0].name`.
#[derive(Debug, Clone, Copy)]
pub struct Path<'p>(pub &'p [Step]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if n == 0 => f.write_str(name)?,
                Step::Field(name) if name.contains(['.', '/']) => write!(f, "[{name}]")?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

/// Every rule that a class breaks, of those the API server has in the class's definition.
///
/// A class without a source of code passes: outside a cluster the folder with the manifest is the code. Bounds of single
/// fields are in the schema only ([`crate::schema`]).
#[must_use]
pub fn validate(class: &ServerlessWorkerClass) -> Vec<Violation> {
    let mut at = Cursor::default();
    at.apply(rules::CLASS, class);
    at.field("spec", |at| spec(at, &class.spec));
    at.found
}

fn spec(at: &mut Cursor, spec: &ServerlessWorkerClassSpec) {
    at.apply(rules::SPEC, spec);
    at.field("code", |at| {
        let code = &spec.code;
        at.apply(rules::CODE, code);
        at.option("main", code.main.as_deref(), rules::MAIN);
        at.option("include", Some(&code.include), rules::INCLUDE);
        at.option("inline", code.inline.as_ref(), rules::INLINE);
        if let Some(map) = &code.config_map {
            at.field("configMap", |at| at.name("name", &map.name));
        }
        if let Some(oci) = &code.oci {
            at.field("oci", |at| {
                at.option("reference", Some(&*oci.reference), rules::OCI_REFERENCE);
                at.option("digest", oci.digest.as_deref(), rules::OCI_DIGEST);
                if let Some(secret) = &oci.pull_secret {
                    at.field("pullSecret", |at| at.name("name", &secret.name));
                }
            });
        }
    });
    at.items("env", &spec.env, env_entry);
    at.field("durableObjects", |at| objects(at, &spec.durable_objects));
    if let Some(assets) = &spec.assets {
        at.field("assets", |at| {
            let directory = assets.directory.as_deref();
            at.option("directory", directory, rules::ASSETS_DIRECTORY);
            at.option("binding", assets.binding.as_deref(), rules::ENV_NAME);
            at.option(
                "serverFirst",
                Some(&assets.server_first),
                rules::SERVER_FIRST,
            );
        });
    }
    at.field("triggers", |at| {
        at.option("crons", Some(&spec.triggers.crons), rules::CRONS);
    });
    at.field("storage", |at| {
        at.field("database", |at| database(at, &spec.storage.database));
    });
    at.field("limits", |at| {
        at.option("heap", spec.limits.heap.as_ref(), rules::HEAP);
        let external = spec.limits.external_memory.as_ref();
        at.option("externalMemory", external, rules::EXTERNAL_MEMORY);
        at.option("cpu", spec.limits.cpu.as_deref(), rules::CPU);
        let request = spec.limits.request_timeout.as_deref();
        at.option("requestTimeout", request, rules::REQUEST_TIMEOUT);
        at.option("idle", spec.limits.idle.as_deref(), rules::IDLE);
    });
    at.field("network", |at| {
        at.option("deny", Some(&spec.network.deny), rules::NETWORKS);
        at.option("allow", Some(&spec.network.allow), rules::NETWORKS);
    });
    at.items("routes", &spec.routes, |at, route: &Route| {
        at.option("host", Some(&*route.host), rules::HOST);
        at.option("path", Some(&*route.path), rules::PATH);
        let guests = Some(&route.allow_namespaces);
        at.option("allowNamespaces", guests, rules::NAMESPACES);
    });
    at.field("ingress", |at| {
        if let Some(class) = &spec.ingress.class_name {
            at.name("className", class);
        }
        if let Some(tls) = &spec.ingress.tls {
            at.field("tls", |at| at.name("secretName", &tls.secret_name));
        }
    });
    let parents = spec.http_route.as_ref().map(|route| &*route.parent_refs);
    at.field("httpRoute", |at| {
        at.items("parentRefs", parents.unwrap_or_default(), |at, parent| {
            at.name("name", &parent.name);
            at.option("namespace", parent.namespace.as_deref(), rules::OBJECT_NAME);
            at.option(
                "sectionName",
                parent.section_name.as_deref(),
                rules::OBJECT_NAME,
            );
        });
    });
    at.field("pod", |at| pod(at, &spec.pod));
}

fn database(at: &mut Cursor, database: &Database) {
    let secret = &database.secret_key_ref;
    at.field("secretKeyRef", |at| key(at, secret.named()));
    if let Some(ca) = &database.ca {
        at.field("ca", |at| {
            at.apply(rules::CA_SOURCE, ca);
            let secret = ca.secret_key_ref.as_ref().map(CaKey::named);
            let config_map = ca.config_map_key_ref.as_ref().map(CaKey::named);
            sources(at, secret, config_map);
        });
    }
}

fn env_entry(at: &mut Cursor, entry: &EnvEntry) {
    at.apply(rules::ENV_ENTRY, entry);
    at.option("name", Some(&*entry.name), rules::ENV_NAME);
    if let Some(source) = &entry.value_from {
        at.field("valueFrom", |at| {
            at.apply(rules::ENV_SOURCE, source);
            let secret = source.secret_key_ref.as_ref().map(KeyRef::named);
            let config_map = source.config_map_key_ref.as_ref().map(KeyRef::named);
            sources(at, secret, config_map);
        });
    }
}

fn objects(at: &mut Cursor, objects: &DurableObjects) {
    at.apply(rules::DURABLE_OBJECTS, objects);
    let date = objects.compatibility_date.as_deref();
    at.option("compatibilityDate", date, rules::DATE);
    at.items("classes", &objects.classes, |at, class| {
        at.option("name", Some(&*class.name), rules::ENV_NAME);
        if let Some(origin) = &class.origin {
            at.field("origin", |at| {
                at.option("name", Some(&*origin.name), rules::ENV_NAME);
            });
        }
    });
    at.items("bindings", &objects.bindings, |at, binding| {
        at.option("name", Some(&*binding.name), rules::ENV_NAME);
    });
}

/// Keys of a Secret and of a ConfigMap, those that are named.
fn sources(at: &mut Cursor, secret: Option<NamedKey<'_>>, config_map: Option<NamedKey<'_>>) {
    for (field, named) in [("secretKeyRef", secret), ("configMapKeyRef", config_map)] {
        if let Some(named) = named {
            at.field(field, |at| key(at, named));
        }
    }
}

fn key(at: &mut Cursor, (name, key): NamedKey<'_>) {
    at.name("name", name);
    at.option("key", Some(key), rules::KEY);
}

fn pod(at: &mut Cursor, pod: &Pod) {
    at.option("image", pod.image.as_deref(), rules::IMAGE);
    if let Some(resources) = &pod.resources {
        at.field("resources", |at| {
            for (name, all) in [
                ("requests", &resources.requests),
                ("limits", &resources.limits),
            ] {
                at.field(name, |at| {
                    for (resource, quantity) in all {
                        at.option::<Quantity>(resource, Some(quantity), rules::RESOURCE);
                    }
                });
            }
        });
    }
    at.items(
        "imagePullSecrets",
        &pod.image_pull_secrets,
        |at, secret: &LocalRef| {
            at.name("name", &secret.name);
        },
    );
    at.option(
        "extraContainers",
        Some(&pod.extra_containers),
        rules::EXTRA_CONTAINERS,
    );
    at.option(
        "initContainers",
        Some(&pod.init_containers),
        rules::EXTRA_CONTAINERS,
    );
    at.option("volumes", Some(&pod.volumes), rules::VOLUMES);
    let priority = pod.priority_class_name.as_deref();
    at.option("priorityClassName", priority, rules::OBJECT_NAME);
    let runtime = pod.runtime_class_name.as_deref();
    at.option("runtimeClassName", runtime, rules::OBJECT_NAME);
    at.option(
        "annotations",
        Some(&pod.annotations),
        rules::POD_ANNOTATIONS,
    );
    at.option("labels", Some(&pod.labels), rules::POD_LABELS);
}

/// Where the walk is, and what it found.
#[derive(Default)]
struct Cursor {
    path: Vec<Step>,
    found: Vec<Violation>,
}

impl Cursor {
    fn apply<T: ?Sized>(&mut self, rules: &[Rule<T>], value: &T) {
        let broken = rules.iter().filter(|rule| !(rule.holds)(value));
        self.found.extend(broken.map(|rule| Violation {
            path: self.path.clone(),
            message: rule.message,
        }));
    }

    fn within(&mut self, step: Step, visit: impl FnOnce(&mut Self)) {
        self.path.push(step);
        visit(self);
        self.path.pop();
    }

    fn field(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        self.within(Step::Field(name.to_owned()), visit);
    }

    fn option<T: ?Sized>(&mut self, name: &str, value: Option<&T>, rules: &[Rule<T>]) {
        if let Some(value) = value {
            self.field(name, |at| at.apply(rules, value));
        }
    }

    fn name(&mut self, field: &str, name: &str) {
        self.option(field, Some(name), rules::OBJECT_NAME);
    }

    fn items<T>(&mut self, name: &str, items: &[T], visit: impl Fn(&mut Self, &T)) {
        self.field(name, |at| {
            for (n, item) in items.iter().enumerate() {
                at.within(Step::Item(n), |at| visit(at, item));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn violations(spec: &serde_json::Value) -> Vec<String> {
        let class = json!({
            "apiVersion": crate::API_VERSION,
            "kind": crate::KIND,
            "metadata": {"name": "chat"},
            "spec": spec,
        });
        let class = serde_json::from_value(class).unwrap();
        validate(&class).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_unusual_is_not_wrong() {
        let spec = json!({
            "code": {
                "main": "./src/server.ts",
                "inline": {"src/server.ts": "x", "package.json": "{}", "a/b/..c.d.js": ""}
            },
            "env": [
                {"name": "_A1", "value": "1"},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s.t", "key": "..k.k_-1", "optional": true}}},
                {"name": "C"}
            ],
            "limits": {
                "heap": 67_108_864, "externalMemory": "1.5Gi",
                "cpu": "10ms", "requestTimeout": "1h", "idle": "1m30.5s"
            },
            "routes": [
                {"host": "*.example.com"}, {"path": "/a/b/"}, {"host": "a-b.0.com", "path": "/~x:@"}
            ],
            "ingress": {"className": "nginx", "annotations": {"a": "b"}, "tls": {"secretName": "t"}},
            "pod": {
                "image": "registry.example:5000/a/b@sha256:00",
                "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": 2, "memory": "1e9"}},
                "extraContainers": [{"name": "logs", "image": "x"}],
                "labels": {"app.kubernetes.io/part-of": "b"}
            }
        });
        assert_eq!(violations(&spec), [] as [&str; 0]);
        // Outside a cluster, the folder.
        assert_eq!(violations(&json!({"code": {}})), [] as [&str; 0]);
        for reference in ["r.io/a", "R.io:5000/a/b_c.d-e:V_1.2", "localhost:5000/x:_"] {
            let spec = json!({"code": {"oci": {"reference": reference}}});
            assert_eq!(violations(&spec), [] as [&str; 0], "{reference}");
        }
    }

    #[test]
    fn inline_code_is_bounded_in_all() {
        let half = "x".repeat(128 << 10);
        let fits = json!({"code": {"inline": {"a.js": half, "b.js": half}}});
        assert_eq!(violations(&fits), [] as [&str; 0]);
        let too_much = json!({"code": {"inline": {"a.js": half, "b.js": half, "c.js": "x"}}});
        let found = violations(&too_much);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("spec.code.inline must be at most 256 KiB in all"));
    }
}
