//! The `ServerlessWorkerClass` in an application's folder, as far as running it here needs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portside_core::limits::Limits;

use crate::problem::{Place, Problem};
use crate::quantity;
use crate::yaml::{Node, Value, place_of_error};

const API_VERSION: &str = "portside.dev/v1alpha1";
const KIND: &str = "ServerlessWorkerClass";

/// The files that can be nothing but the manifest, best first. Any other YAML file may be it, if it has the kind.
const NAMES: [&str; 2] = ["class.yaml", "class.yml"];

/// A class, as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// `metadata.name`.
    pub name: String,
    /// `spec.env`, in the manifest's order.
    pub env: Vec<(String, EnvValue)>,
    /// `spec.limits` over the defaults.
    pub limits: Limits,
    /// `spec.concurrency.inputGate`, `false` unless set.
    pub input_gate: bool,
    /// `spec.code.main`, and what to say at its place should it be missing.
    pub(crate) main: Option<(String, Problem)>,
}

/// The value of an environment entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// Given in the manifest.
    Plain(String),
    /// Kept in the cluster (`valueFrom`): outside of it, it has to be provided. The problem to report if it is not.
    Elsewhere(Problem),
}

/// Finds and reads the manifest among the YAML files of `root`.
pub(crate) fn find(
    root: &Path,
    inputs: &mut BTreeSet<PathBuf>,
) -> Result<Option<Manifest>, Vec<Problem>> {
    let mut found: Vec<(String, Manifest)> = vec![];
    let mut problems = vec![];
    for name in yaml_files(root) {
        let certain = NAMES.contains(&name.as_str());
        let path = root.join(&name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if certain => {
                problems.push(Problem::of_file(name, format!("cannot be read: {error}")));
                continue;
            }
            Err(_) => continue,
        };
        if !certain && !text.contains(KIND) {
            continue;
        }
        inputs.insert(path);
        match read(&name, &text, certain) {
            Ok(manifests) => found.extend(manifests.into_iter().map(|one| (name.clone(), one))),
            Err(errors) => problems.extend(errors),
        }
    }
    if let [(first, _), (second, _), ..] = found.as_slice() {
        let message = format!("a second {KIND}; the first is in {first}");
        problems.push(Problem::of_file(second, message).help("keep one class in the folder"));
    }
    if problems.is_empty() {
        Ok(found.pop().map(|(_, manifest)| manifest))
    } else {
        Err(problems)
    }
}

/// The names of the folder's YAML files; only `class.yaml` or `class.yml` if there is one.
fn yaml_files(root: &Path) -> Vec<String> {
    if let Some(name) = NAMES.iter().find(|name| root.join(name).is_file()) {
        return vec![(*name).to_owned()];
    }
    let mut names: Vec<String> = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
        .collect();
    names.sort();
    names
}

/// Every class in a YAML file.
fn read(path: &str, text: &str, certain: bool) -> Result<Vec<Manifest>, Vec<Problem>> {
    let documents: Vec<Node> = serde_saphyr::from_multiple(text).map_err(|error| {
        let message = error.without_snippet().to_string();
        vec![Problem::at(path, place_of_error(&error), message)]
    })?;
    let mut reader = Reader {
        path,
        problems: vec![],
    };
    let mut manifests = vec![];
    for document in &documents {
        let kind = document.field("kind").and_then(Node::text);
        if kind == Some(KIND) {
            manifests.push(reader.manifest(document));
        } else if certain {
            let place = document.field("kind").unwrap_or(document).place;
            reader.report(place, format!("kind must be {KIND}"));
        }
    }
    if certain && documents.is_empty() {
        reader.report(Place::START, format!("has no {KIND}"));
    }
    if reader.problems.is_empty() {
        Ok(manifests)
    } else {
        Err(reader.problems)
    }
}

/// Walks a document, collecting what is wrong with it.
struct Reader<'p> {
    path: &'p str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn report(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(Problem::at(self.path, place, message));
    }

    fn manifest(&mut self, document: &Node) -> Manifest {
        let mut manifest = Manifest {
            name: String::new(),
            env: vec![],
            limits: Limits::default(),
            input_gate: false,
            main: None,
        };
        if document.field("apiVersion").is_none() {
            self.report(document.place, format!("apiVersion must be {API_VERSION}"));
        }
        self.fields(document, "", |reader, name, node| {
            match name {
                "kind" => {}
                "apiVersion" if node.text() == Some(API_VERSION) => {}
                "apiVersion" => {
                    reader.report(node.place, format!("apiVersion must be {API_VERSION}"));
                }
                "metadata" => manifest.name = reader.name(node),
                "spec" => reader.spec(node, &mut manifest),
                _ => return false,
            }
            true
        });
        if document.field("metadata").is_none() {
            self.report(document.place, "metadata.name is missing");
        }
        manifest
    }

    /// `metadata.name`; what else Kubernetes keeps in `metadata` is not for here.
    fn name(&mut self, metadata: &Node) -> String {
        match metadata.field("name") {
            Some(name) => self.text(name, "metadata.name").unwrap_or_default(),
            None => {
                self.report(metadata.place, "metadata.name is missing");
                String::new()
            }
        }
    }

    fn spec(&mut self, spec: &Node, manifest: &mut Manifest) {
        self.fields(spec, "spec", |reader, name, node| {
            match name {
                "code" => reader.fields(node, "spec.code", |reader, name, node| {
                    if name == "main"
                        && let Some(main) = reader.text(node, "spec.code.main")
                    {
                        let place = Problem::at(reader.path, node.place, "");
                        manifest.main = Some((main, place));
                    }
                    name == "main"
                }),
                "env" => manifest.env = reader.env(node),
                "limits" => reader.limits(node, &mut manifest.limits),
                "concurrency" => reader.fields(node, "spec.concurrency", |reader, name, node| {
                    match (name, &node.value) {
                        ("inputGate", Value::Bool(on)) => manifest.input_gate = *on,
                        ("inputGate", _) => {
                            let message = "spec.concurrency.inputGate must be true or false";
                            reader.report(node.place, message);
                        }
                        _ => return false,
                    }
                    true
                }),
                _ => return false,
            }
            true
        });
    }

    fn limits(&mut self, node: &Node, limits: &mut Limits) {
        self.fields(node, "spec.limits", |reader, name, node| {
            match name {
                "heap" => reader.bytes(node, name, &mut limits.heap_bytes),
                "externalMemory" => reader.bytes(node, name, &mut limits.external_bytes),
                "cpu" => reader.duration(node, name, &mut limits.cpu),
                "requestTimeout" => reader.duration(node, name, &mut limits.request),
                "idle" => reader.duration(node, name, &mut limits.idle),
                _ => return false,
            }
            true
        });
    }

    fn bytes(&mut self, node: &Node, name: &str, limit: &mut usize) {
        match scalar(node).and_then(|text| quantity::bytes(&text)) {
            Some(bytes) => *limit = bytes,
            None => {
                let message = format!("spec.limits.{name} must be a quantity, such as 128Mi");
                self.report(node.place, message);
            }
        }
    }

    fn duration(&mut self, node: &Node, name: &str, limit: &mut Duration) {
        match scalar(node).and_then(|text| quantity::duration(&text)) {
            Some(duration) => *limit = duration,
            None => {
                let message = format!("spec.limits.{name} must be a duration, such as 30s");
                self.report(node.place, message);
            }
        }
    }

    fn env(&mut self, node: &Node) -> Vec<(String, EnvValue)> {
        let Value::List(entries) = &node.value else {
            self.report(node.place, "spec.env must be a list");
            return vec![];
        };
        let mut env: Vec<(String, EnvValue)> = vec![];
        for entry in entries {
            if let Some((name, value)) = self.env_entry(entry) {
                if env.iter().any(|(other, _)| *other == name) {
                    self.report(entry.place, format!("spec.env has {name} twice"));
                }
                env.push((name, value));
            }
        }
        env
    }

    fn env_entry(&mut self, entry: &Node) -> Option<(String, EnvValue)> {
        let (mut name, mut value, mut elsewhere) = (None, None, None);
        self.fields(entry, "spec.env[]", |reader, field, node| {
            match field {
                "name" => name = reader.text(node, "spec.env[].name"),
                "value" => value = reader.text(node, "spec.env[].value"),
                "valueFrom" => elsewhere = Some(node.place),
                _ => return false,
            }
            true
        });
        if entry.field("name").is_none() {
            self.report(entry.place, "an entry of spec.env needs a name");
        }
        let name = name?;
        let value = match (value, elsewhere) {
            (Some(_), Some(place)) => {
                let message = format!("{name} has both value and valueFrom");
                self.report(place, message);
                return None;
            }
            (None, Some(place)) => {
                let message = format!("{name} comes from the cluster, which is not available here");
                let help = format!("provide it with --var {name}=… or --env-file");
                EnvValue::Elsewhere(Problem::at(self.path, place, message).help(help))
            }
            // As in Kubernetes, an entry without a value is empty.
            (value, None) => EnvValue::Plain(value.unwrap_or_default()),
        };
        Some((name, value))
    }

    /// Calls `visit` for every field of a map and reports those it does not know.
    fn fields(
        &mut self,
        node: &Node,
        path: &str,
        mut visit: impl FnMut(&mut Self, &str, &Node) -> bool,
    ) {
        let Value::Map(fields) = &node.value else {
            let what = if path.is_empty() { "a manifest" } else { path };
            self.report(node.place, format!("{what} must be a map"));
            return;
        };
        for (key, node) in fields {
            if !visit(self, &key.name, node) {
                let dot = if path.is_empty() { "" } else { "." };
                self.report(key.place, format!("unknown field {path}{dot}{}", key.name));
            }
        }
    }

    fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        let text = node.text().map(ToOwned::to_owned);
        if text.is_none() {
            let problem = Problem::at(self.path, node.place, format!("{path} must be text"));
            self.problems.push(match node.value {
                Value::Bool(_) | Value::Number(_) => problem.help("put it in quotes"),
                _ => problem,
            });
        }
        text
    }
}

/// Text, or a number as text: Kubernetes takes either for a quantity.
fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
apiVersion: portside.dev/v1alpha1
kind: ServerlessWorkerClass
metadata:
  name: chat
  labels: { team: a }
spec:
  code:
    main: src/server.ts
  env:
    - name: GREETING
      value: hello
    - name: TOKEN
      valueFrom:
        secretKeyRef: { name: chat, key: token }
  limits:
    heap: 64Mi
    externalMemory: 1Gi
    cpu: 250ms
    requestTimeout: 1m30s
    idle: 5s
  concurrency:
    inputGate: true
"#;

    #[test]
    fn reads_what_a_local_run_needs() {
        let manifest = read("class.yaml", GOOD, true).unwrap().pop().unwrap();
        assert_eq!(manifest.name, "chat");
        assert_eq!(manifest.main.unwrap().0, "src/server.ts");
        assert!(manifest.input_gate);
        assert_eq!(
            manifest.limits,
            Limits {
                heap_bytes: 64 << 20,
                external_bytes: 1 << 30,
                cpu: Duration::from_millis(250),
                request: Duration::from_secs(90),
                idle: Duration::from_secs(5),
                ..Limits::default()
            }
        );
        let (name, EnvValue::Plain(value)) = &manifest.env[0] else {
            panic!("{:?}", manifest.env);
        };
        assert_eq!((name.as_str(), value.as_str()), ("GREETING", "hello"));
        let (_, EnvValue::Elsewhere(problem)) = &manifest.env[1] else {
            panic!("{:?}", manifest.env);
        };
        assert_eq!(
            problem.to_string(),
            "class.yaml:15:9: TOKEN comes from the cluster, which is not available here"
        );
        assert!(problem.help.as_ref().unwrap().contains("--env-file"));
    }

    #[test]
    fn reports_every_problem_with_its_place() {
        let text = "apiVersion: portside.dev/v9\nkind: ServerlessWorkerClass\nmetadata: {}\n\
                    spec:\n  code: { main: 1, mian: a }\n  limits:\n    heap: lots\n    ram: 1\n    \
                    cpu: 5\n  env:\n    - name: A\n      value: 1\n    - value: x\n  replicas: 3\n";
        let mut problems = read("k.yaml", text, false).unwrap_err();
        problems.sort();
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "k.yaml:1:13: apiVersion must be portside.dev/v1alpha1",
                "k.yaml:3:11: metadata.name is missing",
                "k.yaml:5:17: spec.code.main must be text",
                "k.yaml:5:20: unknown field spec.code.mian",
                "k.yaml:7:11: spec.limits.heap must be a quantity, such as 128Mi",
                "k.yaml:8:5: unknown field spec.limits.ram",
                "k.yaml:9:10: spec.limits.cpu must be a duration, such as 30s",
                "k.yaml:12:14: spec.env[].value must be text",
                "k.yaml:13:7: an entry of spec.env needs a name",
                "k.yaml:14:3: unknown field spec.replicas",
            ]
        );
    }

    #[test]
    fn broken_yaml_has_a_place() {
        let problems = read("class.yaml", "a: b\n  c: [\n", true).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].line >= 2, "{}", problems[0]);
    }
}
