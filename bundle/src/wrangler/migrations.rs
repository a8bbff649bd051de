//! The classes that the migrations leave, and what is wrong with either.

use portside_core::migrations::{Entry, Migration, ObjectClass, Rename, fold};
use portside_crds::validate::{Path, Step};
use serde::Deserialize;

/// An item of `migrations`.
#[derive(Debug, Deserialize)]
pub(super) struct MigrationSetting {
    tag: String,
    #[serde(default)]
    new_classes: Vec<String>,
    #[serde(default)]
    new_sqlite_classes: Vec<String>,
    #[serde(default)]
    renamed_classes: Vec<RenameSetting>,
    #[serde(default)]
    deleted_classes: Vec<String>,
    transferred_classes: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct RenameSetting {
    from: String,
    to: String,
}

/// Something wrong, by the way to it from the document's root.
pub(super) type Wrong = (Vec<Step>, String);

/// The classes that the migrations leave, or what is wrong. `path` leads to the list.
pub(super) fn classes(
    settings: Vec<MigrationSetting>,
    path: &[Step],
) -> Result<Vec<ObjectClass>, Vec<Wrong>> {
    let within = |n: usize, field: &str| {
        let steps = [Step::Item(n), Step::Field(field.to_owned())];
        path.iter().cloned().chain(steps).collect::<Vec<_>>()
    };
    let mut wrong = vec![];
    for (n, setting) in settings.iter().enumerate() {
        if setting.transferred_classes.is_some() {
            let path = within(n, "transferred_classes");
            let message = format!(
                "{} is not possible: objects are not taken over from another script; create the class with \
                 new_sqlite_classes instead",
                Path(&path)
            );
            wrong.push((path, message));
        }
    }
    let migrations: Vec<Migration> = settings.into_iter().map(migration).collect();
    let (classes, faults) = fold(&migrations);
    for fault in faults {
        let (field, item) = match fault.entry {
            Entry::Tag => ("tag", None),
            Entry::New(n) => ("new_classes", Some(n)),
            Entry::NewSqlite(n) => ("new_sqlite_classes", Some(n)),
            Entry::Renamed(n) => ("renamed_classes", Some(n)),
            Entry::Deleted(n) => ("deleted_classes", Some(n)),
        };
        let mut path = within(fault.migration, field);
        path.extend(item.map(Step::Item));
        let message = format!("{}: {}", Path(&path), fault.reason);
        wrong.push((path, message));
    }
    if wrong.is_empty() {
        Ok(classes)
    } else {
        Err(wrong)
    }
}

fn migration(setting: MigrationSetting) -> Migration {
    let rename = |RenameSetting { from, to }| Rename { from, to };
    Migration {
        tag: setting.tag,
        new_classes: setting.new_classes,
        new_sqlite_classes: setting.new_sqlite_classes,
        renamed_classes: setting.renamed_classes.into_iter().map(rename).collect(),
        deleted_classes: setting.deleted_classes,
    }
}
