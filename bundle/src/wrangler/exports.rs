//! The classes that `exports` declares, wrangler's newer way beside `migrations`.

use portside_core::migrations::{ObjectClass, ObjectStorage, Origin};
use portside_crds::validate::{Path, Step};

use super::migrations::Wrong;
use crate::node::Node;

/// The classes that live after all of `exports`, or what is wrong. `path` leads to it.
pub(super) fn classes(exports: &Node, path: &[Step]) -> Result<Vec<ObjectClass>, Vec<Wrong>> {
    let mut classes = vec![];
    let mut renamed = vec![];
    let mut wrong = vec![];
    for (key, entry) in exports.fields() {
        let text = |field: &str| entry.field(field).and_then(Node::text);
        let way: Vec<Step> = (path.iter().cloned())
            .chain([Step::Field(key.name.clone())])
            .collect();
        if text("type") != Some("durable-object") {
            continue; // an entry point, which needs no declaration
        }
        let must = |what: &str| (way.clone(), format!("{} {what}", Path(&way)));
        match text("state").unwrap_or("created") {
            "created" => match text("storage").and_then(storage) {
                Some(storage) => classes.push(ObjectClass {
                    name: key.name.clone(),
                    origin: origin(&key.name),
                    storage,
                }),
                None => wrong.push(must("needs a storage: \"sqlite\" or \"legacy-kv\"")),
            },
            "renamed" => match text("renamed_to") {
                Some(to) => renamed.push((way.clone(), key.name.clone(), to.to_owned())),
                None => wrong.push(must("needs renamed_to, the class's name from now on")),
            },
            "deleted" => {}
            state => wrong.push(must(&format!(
                "cannot be {state}: objects are not taken over from another script, nor given to one"
            ))),
        }
    }
    for (way, from, to) in renamed {
        match classes.iter_mut().find(|class| class.name == to) {
            Some(class) => class.origin = origin(&from),
            None => wrong.push((
                way.clone(),
                format!("{}: there is no class {to}: declare it, too", Path(&way)),
            )),
        }
    }
    classes.sort_by(|a, b| a.name.cmp(&b.name));
    if wrong.is_empty() {
        Ok(classes)
    } else {
        Err(wrong)
    }
}

/// No migration has this tag.
fn origin(name: &str) -> Origin {
    Origin {
        tag: String::new(),
        name: name.to_owned(),
    }
}

fn storage(text: &str) -> Option<ObjectStorage> {
    match text {
        "sqlite" => Some(ObjectStorage::Sqlite),
        "legacy-kv" => Some(ObjectStorage::KeyValue),
        _ => None,
    }
}
