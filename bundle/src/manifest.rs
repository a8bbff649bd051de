//! The `ServerlessWorkerClass` in an application's folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use portside_core::cron::Cron;
use portside_core::limits::Limits;
use portside_crds::class::{Assets, DurableObjects, EnvEntry, EnvSource, Network};
use portside_crds::validate::{Step, validate};
use portside_crds::{API_VERSION, KIND, ServerlessWorkerClass, ServerlessWorkerClassSpec, schema};
use serde_json::{Value as Json, json};

use crate::node::Node;
use crate::problem::{Place, Problem};
use crate::structure;
use crate::yaml::place_of_error;

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
    /// `spec.durableObjects`.
    pub objects: DurableObjects,
    /// `spec.assets`.
    pub assets: Option<Assets>,
    /// The folder that has the assets, relative to this one or absolute.
    pub(crate) assets_in: Option<String>,
    /// What to say where that is named.
    pub(crate) assets_place: Problem,
    /// `spec.triggers.crons`.
    pub crons: Vec<Cron>,
    /// `spec.network`.
    pub network: Network,
    /// `spec.concurrency.inputGate`, `false` unless set.
    pub input_gate: bool,
    /// `spec.code.main`, and what to say at its place should it be missing.
    pub(crate) main: Option<(String, Problem)>,
    /// `spec.code.include`, and for each what to say at its place.
    pub(crate) include: Vec<(String, Problem)>,
    /// `spec.code.inline`.
    pub(crate) inline: Option<BTreeMap<String, String>>,
    /// The file it was read from; nothing if it was made.
    pub file: Option<String>,
    /// What keeps a class that was made from being applied in a cluster.
    pub(crate) unfit: Vec<Problem>,
    /// The whole document.
    document: Json,
}

/// The value of an environment entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// Given in the manifest.
    Plain(String),
    /// Given in wrangler's configuration, and not text.
    Json(Json),
    /// Kept in the cluster (`valueFrom`): outside of it, it has to be provided.
    Elsewhere(Elsewhere),
}

/// Where in the cluster an entry's value is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// What has it.
    pub kind: SourceKind,
    /// The object's name, in the class's namespace.
    pub object: String,
    /// The key in it.
    pub key: String,
    /// Whether the entry is left out where the object or the key is missing.
    pub optional: bool,
    /// What to report outside a cluster if the value is not provided.
    pub problem: Problem,
}

impl fmt::Display for Elsewhere {
    /// `key KEY of Secret NAME`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            SourceKind::Secret => "Secret",
            SourceKind::ConfigMap => "ConfigMap",
        };
        write!(f, "key {} of {kind} {}", self.key, self.object)
    }
}

/// What keeps an entry's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// `secretKeyRef`
    Secret,
    /// `configMapKeyRef`
    ConfigMap,
}

/// Where the parts of a class that is made come from.
pub(crate) struct Source<'s> {
    /// The file.
    pub path: &'s str,
    /// Where it has the name.
    pub name: Place,
    /// Where it names the assets' folder, and that.
    pub assets: Option<(Place, String)>,
    /// For each variable, where its name stands, and the way to it.
    pub env: Vec<(Place, String)>,
}

impl Manifest {
    /// A class of that name, those variables, objects, assets and crons, and nothing else.
    pub(crate) fn made(
        name: String,
        env: Vec<(String, EnvValue)>,
        objects: DurableObjects,
        assets: Option<Assets>,
        crons: Vec<Cron>,
        source: &Source<'_>,
    ) -> Self {
        let mut unfit = vec![];
        let entries = entries(&env, source, &mut unfit);
        let mut spec = json!({"code": {}, "env": entries});
        if objects != DurableObjects::default() {
            spec["durableObjects"] = json!(objects);
        }
        if let Some(assets) = &assets {
            spec["assets"] = json!(assets);
        }
        if !crons.is_empty() {
            let crons: Vec<String> = crons.iter().map(ToString::to_string).collect();
            spec["triggers"] = json!({"crons": crons});
        }
        let (place, folder) = match &source.assets {
            Some((place, folder)) => (*place, Some(folder.clone())),
            None => (Place::START, None),
        };
        let assets_place = Problem::at(source.path, place, "");
        let document = json!({
            "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec,
        });
        match serde_json::from_value(spec) {
            Ok(spec) => {
                let class = ServerlessWorkerClass::new(&name, spec);
                for violation in validate(&class) {
                    unfit.push(match &*violation.path {
                        [_, _, Step::Item(n), ..] if *n < source.env.len() => {
                            let (place, path) = &source.env[*n];
                            let message = format!("{path} cannot be in a class: {violation}");
                            Problem::at(source.path, *place, message)
                        }
                        [_, Step::Field(field), ..] if field == "assets" => Problem {
                            message: format!("cannot be in a class: {violation}"),
                            ..assets_place.clone()
                        },
                        _ => {
                            let message = format!("name cannot be that of a class: {violation}");
                            Problem::at(source.path, source.name, message)
                        }
                    });
                }
            }
            Err(error) => unfit.push(Problem::of_file(source.path, error.to_string())),
        }
        unfit.sort();
        Self {
            name,
            env,
            limits: Limits::default(),
            objects,
            assets,
            assets_in: folder,
            assets_place,
            crons,
            network: Network::default(),
            input_gate: false,
            main: None,
            include: vec![],
            inline: None,
            file: None,
            unfit,
            document,
        }
    }

    /// The class with its code in a ConfigMap of that name instead of where it was, as a manifest.
    ///
    /// `spec.code.main` goes with the sources: a bundle knows its own.
    #[must_use]
    pub fn with_bundle_in(&self, config_map: &str) -> Json {
        let mut document = self.document.clone();
        document["spec"]["code"] = json!({"configMap": {"name": config_map}});
        document
    }

    /// `metadata.namespace`.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.document["metadata"]["namespace"].as_str()
    }
}

/// `spec.env` of a class that is made, and what cannot be in it.
fn entries(env: &[(String, EnvValue)], source: &Source<'_>, unfit: &mut Vec<Problem>) -> Vec<Json> {
    let mut entries = vec![];
    for ((name, value), (place, path)) in env.iter().zip(&source.env) {
        let value = match value {
            EnvValue::Plain(text) => &**text,
            _ => {
                let message = format!(
                    "{path} is not text, and a class has only text in spec.env: write it as text, and parse it in the \
                     code"
                );
                unfit.push(Problem::at(source.path, *place, message));
                ""
            }
        };
        entries.push(json!({"name": name, "value": value}));
    }
    entries
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
            manifests.extend(reader.manifest(document));
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

/// Reads documents, collecting what is wrong with them.
struct Reader<'p> {
    path: &'p str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn report(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(Problem::at(self.path, place, message));
    }

    /// The class, unless what is wrong with it leaves none.
    fn manifest(&mut self, document: &Node) -> Option<Manifest> {
        let api_version = document.field("apiVersion");
        if api_version.and_then(Node::text) != Some(API_VERSION) {
            let place = api_version.unwrap_or(document).place;
            self.report(place, format!("apiVersion must be {API_VERSION}"));
        }
        for (key, _) in document.fields() {
            // A class that was read from a cluster has a status, which is for the operator alone.
            if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&&*key.name) {
                self.report(key.place, format!("unknown field {}", key.name));
            }
        }
        let name = self.name(document);
        let (spec, misfits) = self.spec(document)?;
        // Where the name is missing, that was said.
        let checked = ServerlessWorkerClass::new(name.as_deref().unwrap_or("unnamed"), spec);
        for violation in validate(&checked) {
            let place = match &*violation.path {
                [] => document.place_of(&[field("metadata"), field("name")]),
                // What has something wrong in it is not judged as a whole.
                path if misfits.iter().any(|misfit| misfit.starts_with(path)) => continue,
                path => document.place_of(path),
            };
            self.report(place, violation.to_string());
        }
        let code = &checked.spec.code;
        let main = code.main.clone().map(|main| {
            let place = document.place_of(&[field("spec"), field("code"), field("main")]);
            (main, Problem::at(self.path, place, ""))
        });
        let include = (code.include.iter().enumerate()).map(|(n, glob)| {
            let path = [
                field("spec"),
                field("code"),
                field("include"),
                Step::Item(n),
            ];
            let place = document.place_of(&path);
            (glob.clone(), Problem::at(self.path, place, ""))
        });
        let crons = checked.spec.triggers.crons.iter();
        let assets = checked.spec.assets.clone();
        let way = [field("spec"), field("assets"), field("directory")];
        let assets_place = Problem::at(self.path, document.place_of(&way), "");
        Some(Manifest {
            name: name?,
            env: (checked.spec.env.iter().enumerate())
                .map(|(n, entry)| (entry.name.clone(), self.env_value(document, n, entry)))
                .collect(),
            limits: checked.spec.limits.over_defaults(),
            objects: checked.spec.durable_objects.clone(),
            assets_in: assets.as_ref().and_then(|assets| assets.directory.clone()),
            assets,
            assets_place,
            // What is none was reported.
            crons: crons.filter_map(|cron| cron.parse().ok()).collect(),
            network: checked.spec.network.clone(),
            input_gate: checked.spec.concurrency.input_gate,
            main,
            include: include.collect(),
            inline: code.inline.clone(),
            file: Some(self.path.to_owned()),
            unfit: vec![],
            document: document.json(),
        })
    }

    /// `metadata.name`; what else Kubernetes keeps in `metadata` is not for here.
    fn name(&mut self, document: &Node) -> Option<String> {
        let metadata = document.field("metadata").unwrap_or(document);
        let Some(name) = metadata.field("name") else {
            self.report(metadata.place, "metadata.name is missing");
            return None;
        };
        let text = name.text().map(ToOwned::to_owned);
        if text.is_none() {
            self.report(name.place, "metadata.name must be text");
        }
        text
    }

    /// `spec` as far as it has the form it must have, and the paths of what does not.
    fn spec(&mut self, document: &Node) -> Option<(ServerlessWorkerClassSpec, Vec<Vec<Step>>)> {
        let Some(spec) = document.field("spec") else {
            self.report(document.place, "spec is missing");
            return None;
        };
        let mut misfits = vec![];
        let schema = &schema::open_api()["properties"]["spec"];
        let fitting = structure::check(spec, schema, &[field("spec")], &mut misfits);
        let mut paths = vec![];
        for misfit in misfits {
            paths.push(misfit.path.clone());
            self.problems.push(misfit.problem(self.path));
        }
        match serde_json::from_value(fitting?) {
            Ok(spec) => Some((spec, paths)),
            Err(error) => {
                self.report(spec.place, format!("spec: {error}"));
                None
            }
        }
    }

    fn env_value(&self, document: &Node, n: usize, entry: &EnvEntry) -> EnvValue {
        let source = match &entry.value_from {
            Some(EnvSource {
                secret_key_ref: Some(key),
                ..
            }) => Some((SourceKind::Secret, key)),
            Some(EnvSource {
                config_map_key_ref: Some(key),
                ..
            }) => Some((SourceKind::ConfigMap, key)),
            _ => None,
        };
        let Some((kind, key)) = source else {
            // As in Kubernetes, an entry without a value is empty.
            return EnvValue::Plain(entry.value.clone().unwrap_or_default());
        };
        let name = &entry.name;
        let path = [
            field("spec"),
            field("env"),
            Step::Item(n),
            field("valueFrom"),
        ];
        let message = format!("{name} comes from the cluster, which is not available here");
        let help = format!("provide it with --var {name}=… or --env-file");
        EnvValue::Elsewhere(Elsewhere {
            kind,
            object: key.name.clone(),
            key: key.key.clone(),
            optional: key.optional.unwrap_or_default(),
            problem: Problem::at(self.path, document.place_of(&path), message).help(help),
        })
    }
}

fn field(name: &str) -> Step {
    Step::Field(name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    awakeWorkers: 500
  network:
    deny: [10.0.0.0/8]
  concurrency:
    inputGate: true
"#;

    #[test]
    fn reads_what_a_local_run_needs() {
        let manifest = read("class.yaml", GOOD, true).unwrap().pop().unwrap();
        assert_eq!(manifest.name, "chat");
        assert_eq!(manifest.main.unwrap().0, "src/server.ts");
        assert!(manifest.input_gate);
        assert_eq!(manifest.network.deny, ["10.0.0.0/8"]);
        assert_eq!(
            manifest.limits,
            Limits {
                heap_bytes: 64 << 20,
                external_bytes: 1 << 30,
                cpu: Duration::from_millis(250),
                request: Duration::from_secs(90),
                idle: Duration::from_secs(5),
                awake_workers: Some(500),
                ..Limits::default()
            }
        );
        let (name, EnvValue::Plain(value)) = &manifest.env[0] else {
            panic!("{:?}", manifest.env);
        };
        assert_eq!((name.as_str(), value.as_str()), ("GREETING", "hello"));
        let (_, EnvValue::Elsewhere(elsewhere)) = &manifest.env[1] else {
            panic!("{:?}", manifest.env);
        };
        assert_eq!(elsewhere.to_string(), "key token of Secret chat");
        assert!(!elsewhere.optional);
        assert_eq!(
            elsewhere.problem.to_string(),
            "class.yaml:15:9: TOKEN comes from the cluster, which is not available here"
        );
        assert!(
            elsewhere
                .problem
                .help
                .as_ref()
                .unwrap()
                .contains("--env-file")
        );
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
                "k.yaml:5:17: spec.code.main must be the path of a file of the code, relative and without .., such as \
                 src/server.js",
                "k.yaml:5:20: unknown field spec.code.mian",
                "k.yaml:7:11: spec.limits.heap must be a quantity from 8Mi to 16Gi, such as 128Mi",
                "k.yaml:8:5: unknown field spec.limits.ram",
                "k.yaml:9:10: spec.limits.cpu must be a duration from 10ms to 10m, such as 500ms",
                "k.yaml:12:14: spec.env[0].value must be text",
                "k.yaml:13:7: spec.env[1].name is missing",
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
