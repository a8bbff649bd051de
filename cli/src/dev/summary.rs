//! What `portside dev` has found in a folder, for whoever starts it.

use std::fmt::Write;

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
    add("server", vec![class.bundle.main.clone()]);
    add("workers", workers.clone());
    let classes = class.objects.iter().map(|class| match class.storage {
        ObjectStorage::KeyValue => format!("{} (keys)", class.name),
        ObjectStorage::Sqlite => format!("{} (SQLite)", class.name),
    });
    add("classes", classes.collect());
    let (mut bindings, mut variables) = (vec![], vec![]);
    for (name, value) in class.env.iter() {
        match value {
            Value::Objects(place) => {
                let bound = class.objects.get(*place).map(|class| &*class.name);
                bindings.push(format!("{name} ({})", bound.unwrap_or_default()));
            }
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

fn model(class: &Class, workers: &[String]) -> &'static str {
    match (workers.is_empty(), class.objects.is_empty()) {
        (true, true) => "a server",
        (false, true) => "a server and its ServerlessWorkers",
        (true, false) => "a server and its Durable Objects",
        (false, false) => "a server, its ServerlessWorkers and its Durable Objects",
    }
}
