//! From the document of a configuration to what it makes.

use std::collections::BTreeMap;

use portside_core::compatibility::Compatibility;
use portside_core::cron::Cron;
use portside_core::migrations::{ObjectClass, ObjectStorage, Origin};
use portside_crds::class::{
    Assets, DurableObjectBinding, DurableObjectClass, DurableObjects, Isolation,
};
use portside_crds::validate::{Path, Step};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::assets::{self, AssetsSetting};
use super::migrations::{MigrationSetting, classes};
use super::rules::{Rule, Rules};
use super::settings::{Chosen, Support, schema};
use super::toml::is_date;
use super::{Project, Wrangler, exports};
use crate::manifest::{EnvValue, Manifest, Source};
use crate::node::{Key, Node, Value};
use crate::problem::{Place, Problem};
use crate::structure;

/// What the document makes in an environment, or in none, and what to warn of, sorted, whether or not something is wrong.
/// `folder` is the application's name if it has none.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn project(
    file: &str,
    document: &Node,
    env: Option<&str>,
    is_main_given: bool,
    folder: &str,
    warnings: &mut Vec<Problem>,
) -> Result<Project, Vec<Problem>> {
    let mut reader = Reader {
        file,
        document,
        problems: vec![],
        warnings: vec![],
    };
    if !matches!(document.value, Value::Map(_)) {
        reader.report(document.place, "must be an object with the settings");
        return Err(reader.problems);
    }
    let env = reader.environment(env);
    let chosen = Chosen::new(document, env);
    reader.chosen(&chosen, env);
    let project = reader.project(&chosen, env.map(|(name, _)| name), is_main_given, folder);
    let Reader {
        mut problems,
        warnings: mut found,
        ..
    } = reader;
    found.sort();
    warnings.extend(found);
    if problems.is_empty() {
        return Ok(project);
    }
    problems.sort();
    Err(problems)
}

/// Reads a document, collecting what is wrong with it.
struct Reader<'d> {
    file: &'d str,
    document: &'d Node,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Objects {
    bindings: Vec<Binding>,
}

#[derive(Debug, Deserialize)]
struct Binding {
    name: String,
    class_name: String,
    script_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Triggers {
    crons: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Secrets {
    required: Option<Vec<String>>,
}

/// Adds the classes that are bound and that no migration creates.
fn imply(bindings: &[DurableObjectBinding], classes: &mut Vec<ObjectClass>) {
    for binding in bindings {
        let name = &binding.class;
        if classes.iter().all(|class| class.name != *name) {
            classes.push(ObjectClass {
                name: name.clone(),
                origin: Origin {
                    tag: String::new(), // no migration has this one
                    name: name.clone(),
                },
                storage: ObjectStorage::KeyValue,
            });
        }
    }
}

impl<'d> Reader<'d> {
    fn report(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(Problem::at(self.file, place, message));
    }

    fn warn(&mut self, place: Place, message: impl Into<String>) {
        self.warnings.push(Problem::at(self.file, place, message));
    }

    /// The environment that was asked for, if it is there.
    fn environment(&mut self, wanted: Option<&str>) -> Option<(&'d str, &'d Node)> {
        let wanted = wanted?;
        let all = self.document.field("env");
        let fields = all.map_or(&[][..], Node::fields);
        if let Some((key, node)) = fields.iter().find(|(key, _)| key.name == wanted) {
            if !matches!(node.value, Value::Map(_)) {
                self.report(node.place, format!("env.{wanted} must be a map"));
            }
            return Some((&key.name, node));
        }
        let names: Vec<_> = fields.iter().map(|(key, _)| &*key.name).collect();
        let step = match &*names {
            [] => "leave --env out".to_owned(),
            names => format!("choose {} with --env", names.join(" or ")),
        };
        let place = all.map_or(Place::START, |all| all.place);
        self.report(place, format!("there is no env.{wanted}: {step}"));
        None
    }

    /// Says what is not made of the settings that were chosen, and of those that were not.
    fn chosen(&mut self, chosen: &Chosen<'d>, env: Option<(&str, &Node)>) {
        for setting in &chosen.settings {
            let (place, path) = (setting.key.place, Path(&setting.path));
            match setting.support {
                Support::Read | Support::Moot => {}
                Support::Not(why) => self.warn(place, format!("{path} {why}")),
                Support::Unknown => {
                    self.warn(place, format!("unknown setting {path}: it has no effect"));
                }
            }
        }
        let Some((env, settings)) = env else {
            return;
        };
        for key in &chosen.misplaced {
            let name = &key.name;
            let message =
                format!("env.{env}.{name} has no effect: {name} can stand at the top level only");
            self.warn(key.place, message);
        }
        let mut left_behind: Vec<(Place, String)> = (chosen.left_behind.iter())
            .map(|key| (key.place, key.name.clone()))
            .collect();
        if let (Some(top), Some(own)) = (self.document.field("vars"), settings.field("vars")) {
            let missing = top
                .fields()
                .iter()
                .filter(|(key, _)| own.field(&key.name).is_none());
            left_behind.extend(missing.map(|(key, _)| (key.place, format!("vars.{}", key.name))));
        }
        for (place, name) in left_behind {
            let message =
                format!("{name} is not inherited by env.{env}: repeat it there if it is wanted");
            self.warn(place, message);
        }
    }

    /// A setting as far as it has its form.
    fn value<T: DeserializeOwned>(&mut self, chosen: &Chosen<'d>, name: &str) -> Option<T> {
        let setting = chosen.get(name)?;
        let mut misfits = vec![];
        let fitting = structure::check(setting.node, &schema(name), &setting.path, &mut misfits);
        for misfit in misfits {
            if misfit.unknown {
                self.warn(
                    misfit.place,
                    format!("{}: it has no effect", misfit.message),
                );
            } else {
                self.problems.push(misfit.problem(self.file));
            }
        }
        match serde_json::from_value(fitting?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.report(
                    setting.node.place,
                    format!("{}: {error}", Path(&setting.path)),
                );
                None
            }
        }
    }

    fn project(
        &mut self,
        chosen: &Chosen<'d>,
        env: Option<&str>,
        is_main_given: bool,
        folder: &str,
    ) -> Project {
        let name = self.name(chosen, env, folder);
        let (compatibility_date, compatibility_flags) = self.compatibility(chosen);
        let classes = self.classes(chosen);
        let vars = self.vars(chosen);
        let bindings = self.bindings(chosen, &name.0, classes.as_deref(), &vars);
        let mut classes = classes.unwrap_or_default();
        imply(&bindings, &mut classes);
        let objects = DurableObjects {
            classes: classes.iter().map(DurableObjectClass::from).collect(),
            bindings,
            compatibility_date,
            compatibility_flags,
            isolation: Isolation::default(),
        };
        let rules = self.rules(chosen);
        let crons = self.crons(chosen);
        let secrets = self.secrets(chosen);
        let main = self.main(chosen, is_main_given);
        let has_main = is_main_given || chosen.get("main").is_some();
        let taken = names(&vars, &objects.bindings);
        let assets = self.assets(chosen, has_main, &taken);
        let environments = self.document.field("env").map_or(&[][..], Node::fields);
        Project {
            main,
            manifest: self.manifest(name, vars, objects, assets, crons),
            rules,
            wrangler: Wrangler {
                file: self.file.to_owned(),
                environments: (environments.iter())
                    .map(|(key, _)| key.name.clone())
                    .collect(),
                secrets,
            },
        }
    }

    /// The application's name, and where it comes from.
    fn name(&mut self, chosen: &Chosen<'d>, env: Option<&str>, folder: &str) -> (String, Place) {
        let Some(setting) = chosen.get("name") else {
            let message = format!("name is missing: the folder's name, {folder}, is used");
            self.warn(Place::START, message);
            return (folder.to_owned(), Place::START);
        };
        let place = setting.node.place;
        let Some(name) = self.value::<String>(chosen, "name") else {
            return (folder.to_owned(), place);
        };
        let plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
            let path = Path(&setting.path);
            let message =
                format!("{path} must be lowercase letters, digits, - and _, such as my-worker");
            self.report(place, message);
        }
        // The name of the top level is that of several applications.
        let inherited = setting.path.len() == 1;
        match env {
            Some(env) if inherited => (format!("{name}-{env}"), place),
            _ => (name, place),
        }
    }

    /// What the code was written for: the date, and flags.
    fn compatibility(&mut self, chosen: &Chosen<'d>) -> (Option<String>, Vec<String>) {
        let date = match chosen.get("compatibility_date") {
            None => {
                let message =
                    "compatibility_date is missing: wrangler asks for one, such as \"2026-01-31\"";
                self.warn(Place::START, message);
                None
            }
            Some(setting) => {
                let date = self.value::<String>(chosen, "compatibility_date");
                if date.as_ref().is_some_and(|text| !is_date(text)) {
                    let path = Path(&setting.path);
                    let message = format!("{path} must be a date, such as \"2026-01-31\"");
                    self.report(setting.node.place, message);
                }
                date.filter(|text| is_date(text))
            }
        };
        let flags = self.value::<Vec<String>>(chosen, "compatibility_flags");
        let flags = flags.unwrap_or_default();
        self.idle_flags(chosen, &flags);
        (date, flags)
    }

    /// Warns of flags that change nothing.
    fn idle_flags(&mut self, chosen: &Chosen<'d>, flags: &[String]) {
        let Some(setting) = chosen.get("compatibility_flags") else {
            return;
        };
        for (n, flag) in flags.iter().enumerate() {
            if Compatibility::is_flag(flag) {
                continue;
            }
            let path = with(&setting.path, [Step::Item(n)]);
            let message = format!("{}: the flag {flag} has no effect", Path(&path));
            self.warn(self.document.place_of(&path), message);
        }
    }

    /// The classes that exist; nothing if it cannot be said which.
    fn classes(&mut self, chosen: &Chosen<'d>) -> Option<Vec<ObjectClass>> {
        let found = if let Some(setting) = chosen.get("migrations") {
            let migrations = self.value::<Vec<MigrationSetting>>(chosen, "migrations")?;
            if let Some(exports) = chosen.get("exports") {
                let message = format!("{} has no effect beside migrations", Path(&exports.path));
                self.warn(exports.key.place, message);
            }
            classes(migrations, &setting.path)
        } else if let Some(setting) = chosen.get("exports") {
            self.value::<Json>(chosen, "exports")?;
            exports::classes(setting.node, &setting.path)
        } else {
            return Some(vec![]);
        };
        match found {
            Ok(classes) => Some(classes),
            Err(wrong) => {
                for (path, message) in wrong {
                    self.report(self.document.place_of(&path), message);
                }
                None
            }
        }
    }

    /// The variables, in the order of the file.
    fn vars(&mut self, chosen: &Chosen<'d>) -> Vec<(&'d Key, Vec<Step>, Json)> {
        let Some(setting) = chosen.get("vars") else {
            return vec![];
        };
        if self.value::<Json>(chosen, "vars").is_none() {
            return vec![];
        }
        let mut vars = vec![];
        for (key, node) in setting.node.fields() {
            let path = with(&setting.path, [Step::Field(key.name.clone())]);
            self.json(node, &path);
            vars.push((key, path, node.json()));
        }
        vars
    }

    /// Reports what of a variable's value JSON does not have.
    fn json(&mut self, node: &Node, path: &[Step]) {
        let told = match &node.value {
            Value::Date(_) => "is a date, which variables cannot be: put it in quotes",
            Value::Number(_) if !node.json().is_number() => {
                "is a number that JSON does not have: put it in quotes"
            }
            Value::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    self.json(item, &with(path, [Step::Item(n)]));
                }
                return;
            }
            Value::Map(fields) => {
                for (key, field) in fields {
                    self.json(field, &with(path, [Step::Field(key.name.clone())]));
                }
                return;
            }
            _ => return,
        };
        self.report(node.place, format!("{} {told}", Path(path)));
    }

    fn bindings(
        &mut self,
        chosen: &Chosen<'d>,
        own_name: &str,
        classes: Option<&[ObjectClass]>,
        vars: &[(&'d Key, Vec<Step>, Json)],
    ) -> Vec<DurableObjectBinding> {
        let objects = self.value::<Objects>(chosen, "durable_objects");
        let (Some(objects), Some(setting)) = (objects, chosen.get("durable_objects")) else {
            return vec![];
        };
        let mut taken: BTreeMap<String, String> = (vars.iter())
            .map(|(key, path, _)| (key.name.clone(), Path(path).to_string()))
            .collect();
        let mut bindings = vec![];
        for (n, binding) in objects.bindings.into_iter().enumerate() {
            let way = [Step::Field("bindings".to_owned()), Step::Item(n)];
            let path = with(&setting.path, way);
            let field = |name: &str| with(&path, [Step::Field(name.to_owned())]);
            if let Some(other) = taken.get(&binding.name) {
                let path = field("name");
                let message = format!(
                    "{}: {other} has the name {} already: choose another",
                    Path(&path),
                    binding.name
                );
                self.report(self.document.place_of(&path), message);
            }
            taken.insert(binding.name.clone(), Path(&path).to_string());
            let script_name = binding.script_name.filter(|script| script != own_name);
            let class = &binding.class_name;
            let exists = |known: &[ObjectClass]| known.iter().any(|one| one.name == *class);
            if script_name.is_none() && classes.is_some_and(|known| !exists(known)) {
                let path = field("class_name");
                let message = format!(
                    "{}: no migration creates class {class}: its objects have keys and values only; name it in \
                     new_sqlite_classes of a migration",
                    Path(&path)
                );
                self.warn(self.document.place_of(&path), message);
            }
            if let Some(script) = script_name {
                let path = field("script_name");
                let message = format!(
                    "{}: {script} is another application, whose classes cannot be reached from here: leave it out, and \
                     export the class here",
                    Path(&path)
                );
                self.report(self.document.place_of(&path), message);
                continue;
            }
            bindings.push(DurableObjectBinding {
                name: binding.name,
                class: binding.class_name,
            });
        }
        bindings
    }

    fn rules(&mut self, chosen: &Chosen<'d>) -> Rules {
        let own = self.value::<Vec<Rule>>(chosen, "rules").unwrap_or_default();
        let (rules, unsaid) = Rules::new(&own);
        let Some(setting) = chosen.get("rules") else {
            return rules;
        };
        for (n, rule) in own.iter().enumerate() {
            let path = with(&setting.path, [Step::Item(n)]);
            let place = self.document.place_of(&path);
            let (path, kind) = (Path(&path), rule.kind);
            if kind.kind().is_none() {
                self.warn(
                    place,
                    format!("{path} has no effect: code is bundled, whatever rules say"),
                );
            } else if unsaid.contains(&n) {
                let message = format!(
                    "{path} has no fallthrough: later rules of type {kind:?}, wrangler's own too, are ignored; set it to \
                     true to have them, or to false"
                );
                self.warn(place, message);
            }
        }
        rules
    }

    /// When the server's `scheduled` handler is run.
    fn crons(&mut self, chosen: &Chosen<'d>) -> Vec<Cron> {
        let triggers = self.value::<Triggers>(chosen, "triggers");
        let (Some(triggers), Some(setting)) = (triggers, chosen.get("triggers")) else {
            return vec![];
        };
        let mut crons = vec![];
        for (n, text) in triggers.crons.iter().enumerate() {
            match text.parse() {
                Ok(cron) => crons.push(cron),
                Err(error) => {
                    let way = [Step::Field("crons".to_owned()), Step::Item(n)];
                    let path = with(&setting.path, way);
                    let message = format!("{}: {error}", Path(&path));
                    self.report(self.document.place_of(&path), message);
                }
            }
        }
        crons
    }

    fn secrets(&mut self, chosen: &Chosen<'d>) -> Option<Vec<String>> {
        let setting = chosen.get("secrets")?;
        let message = format!(
            "{} is for portside types alone: all secrets of .dev.vars are taken, and none is asked for",
            Path(&setting.path)
        );
        self.warn(setting.key.place, message);
        self.value::<Secrets>(chosen, "secrets")?.required
    }

    /// `main`, which assets do without.
    fn main(&mut self, chosen: &Chosen<'d>, is_given: bool) -> Option<(String, Problem)> {
        if let Some(setting) = chosen.get("main") {
            let main = self.value::<String>(chosen, "main")?;
            let missing = Problem::at(self.file, setting.node.place, "");
            return Some((main, missing));
        }
        if !is_given && chosen.get("assets").is_none() {
            let message =
                "main is missing: name the module with the fetch handler, such as src/index.ts";
            self.report(Place::START, message);
        }
        None
    }

    /// The static assets, the place of their folder's name, and that. `has_main` says whether there is a server, and `taken`
    /// which names `env` has already, and by what.
    fn assets(
        &mut self,
        chosen: &Chosen<'d>,
        has_main: bool,
        taken: &BTreeMap<String, String>,
    ) -> Option<(Assets, (Place, String))> {
        let setting = chosen.get("assets")?;
        if let Some(site) = chosen.get("site") {
            let message = format!(
                "{} and site are one too many: leave site out",
                Path(&setting.path)
            );
            self.report(site.key.place, message);
        }
        let written = self.value::<AssetsSetting>(chosen, "assets")?;
        let (directory, binding) = (written.directory.clone(), written.binding.clone());
        let (assets, wrong, warnings) = assets::made(written, has_main);
        let field = |name: &str| with(&setting.path, [Step::Field(name.to_owned())]);
        let whole =
            |way: Vec<Step>| -> Vec<Step> { setting.path.iter().cloned().chain(way).collect() };
        for (way, message) in wrong {
            let path = whole(way);
            self.report(
                self.document.place_of(&path),
                format!("{} {message}", Path(&path)),
            );
        }
        for (way, message) in warnings {
            let path = whole(way);
            self.warn(
                self.document.place_of(&path),
                format!("{} {message}", Path(&path)),
            );
        }
        if let Some((name, other)) = binding.and_then(|name| taken.get_key_value(&name)) {
            let path = field("binding");
            let message = format!(
                "{}: {other} has the name {name} already: choose another",
                Path(&path)
            );
            self.report(self.document.place_of(&path), message);
        }
        let place = self.document.place_of(&field("directory"));
        Some((assets, (place, directory)))
    }

    /// The class that runs the application.
    fn manifest(
        &self,
        (name, place): (String, Place),
        vars: Vec<(&'d Key, Vec<Step>, Json)>,
        objects: DurableObjects,
        assets: Option<(Assets, (Place, String))>,
        crons: Vec<Cron>,
    ) -> Manifest {
        let (assets, folder) = assets.unzip();
        let source = Source {
            path: self.file,
            name: place,
            assets: folder,
            env: vars
                .iter()
                .map(|(key, path, _)| (key.place, Path(path).to_string()))
                .collect(),
        };
        let value = |value| match value {
            Json::String(text) => EnvValue::Plain(text),
            json => EnvValue::Json(json),
        };
        let env = vars
            .into_iter()
            .map(|(key, _, json)| (key.name.clone(), value(json)))
            .collect();
        Manifest::made(name, env, objects, assets, crons, &source)
    }
}

/// The names that `env` has, and by what.
fn names(
    vars: &[(&Key, Vec<Step>, Json)],
    bindings: &[DurableObjectBinding],
) -> BTreeMap<String, String> {
    let vars = vars
        .iter()
        .map(|(key, path, _)| (key.name.clone(), Path(path).to_string()));
    let bindings = bindings.iter().map(|binding| {
        let by = format!("durable_objects' binding of {}", binding.class);
        (binding.name.clone(), by)
    });
    vars.chain(bindings).collect()
}

/// A way and the steps after it.
fn with<const N: usize>(path: &[Step], steps: [Step; N]) -> Vec<Step> {
    path.iter().cloned().chain(steps).collect()
}
