//! What `portside dev` has found in a folder, for whoever starts it.

use std::fmt::Write;
use std::path::Path;

use portside_assets::Assets;
use portside_core::migrations::ObjectStorage;
use portside_core::variable::Value;
use portside_sidecar::Class;

use super::source::Loaded;

/// What the application is made of, a line for each kind of thing that it has. Of variables the names alone.
pub fn summary(loaded: &Loaded) -> String {
    let Loaded {
        class,
        name,
        workers,
        configured_by,
        dir,
        ..
    } = loaded;
    let by = configured_by.as_deref().unwrap_or("no configuration");
    let mut lines = format!("portside: {name}, {by}: {}\n", model(class, workers));
    let mut add = |what: &str, found: Vec<String>| {
        if !found.is_empty() {
            // A String takes all that is written.
            let _ = writeln!(lines, "  {what:<11}{}", found.join(", "));
        }
    };
    if class.bundle.has_server() {
        add("server", vec![class.bundle.main.clone()]);
    }
    add("workers", workers.clone());
    let classes = class.objects.iter().map(|class| match class.storage {
        ObjectStorage::KeyValue => format!("{} (keys)", class.name),
        ObjectStorage::Sqlite => format!("{} (SQLite)", class.name),
    });
    add("classes", classes.collect());
    let assets = class.assets.iter().map(|assets| shown(assets, dir));
    add("assets", assets.collect());
    let (mut bindings, mut variables) = (vec![], vec![]);
    for (name, value) in class.env.iter() {
        match value {
            Value::Objects(place) => {
                let bound = class.objects.get(*place).map(|class| &*class.name);
                bindings.push(format!("{name} ({})", bound.unwrap_or_default()));
            }
            Value::Assets => bindings.push(format!("{name} (assets)")),
            Value::Text(_) | Value::Json(_) => variables.push(name.clone()),
        }
    }
    add("bindings", bindings);
    add("variables", variables);
    add(
        "crons",
        class.crons.iter().map(ToString::to_string).collect(),
    );
    lines
}

/// How many assets there are, where, and what else is said of them.
fn shown(assets: &Assets, dir: &Path) -> String {
    let folder = assets.root();
    let folder = folder.strip_prefix(dir).unwrap_or(folder).display();
    let files = counted(assets.count(), "file", "files");
    let mut shown = format!("{files} in {folder}");
    let (headers, redirects) = assets.rules();
    for (count, one, more) in [
        (headers, "rule for headers", "rules for headers"),
        (redirects, "redirect", "redirects"),
    ] {
        if count > 0 {
            let _ = write!(shown, ", {}", counted(count, one, more));
        }
    }
    shown
}

fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

fn model(class: &Class, workers: &[String]) -> &'static str {
    if !class.bundle.has_server() {
        return "assets alone";
    }
    match (workers.is_empty(), class.objects.is_empty()) {
        (true, true) => "a server",
        (false, true) => "a server and its ServerlessWorkers",
        (true, false) => "a server and its Durable Objects",
        (false, false) => "a server, its ServerlessWorkers and its Durable Objects",
    }
}
