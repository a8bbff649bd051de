//! Which Durable Object classes exist, by the migrations that an application declares.
//!
//! Each migration says what becomes of the classes that the ones before it left. Its renames and deletions speak of
//! those, all at the same time, so that two classes may exchange their names; its new classes come after them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// One step in the history of an application's classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migration {
    /// Its name, which no other migration has.
    pub tag: String,
    /// Classes that begin to exist, with key-value storage.
    pub new_classes: Vec<String>,
    /// Classes that begin to exist, with SQLite storage.
    pub new_sqlite_classes: Vec<String>,
    /// Classes that go on under another name, with what they have stored.
    pub renamed_classes: Vec<Rename>,
    /// Classes that end, and what they have stored with them.
    pub deleted_classes: Vec<String>,
}

/// A class gets another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The name until now.
    pub from: String,
    /// The name from now on.
    pub to: String,
}

/// How the objects of a class store things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectStorage {
    /// Keys and values.
    KeyValue,
    /// A SQLite database, which has keys and values, too.
    Sqlite,
}

/// How a class began. It stays as it is when the class is renamed, and no two classes ever have the same: a name can be
/// used again when its class was renamed or deleted, a tag cannot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The tag of the migration that created it.
    pub tag: String,
    /// The name it had then.
    pub name: String,
}

/// A class that exists after all migrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectClass {
    /// The name of the class that the code exports.
    pub name: String,
    /// How it began.
    pub origin: Origin,
    /// How its objects store things.
    pub storage: ObjectStorage,
}

/// An entry of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// The tag.
    Tag,
    /// The item of `new_classes`, from 0.
    New(usize),
    /// The item of `new_sqlite_classes`, from 0.
    NewSqlite(usize),
    /// The item of `renamed_classes`, from 0.
    Renamed(usize),
    /// The item of `deleted_classes`, from 0.
    Deleted(usize),
}

/// Something that a migration cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The migration, from 0.
    pub migration: usize,
    /// The entry that cannot be followed. What follows is judged as if the class it would leave were not there.
    pub entry: Entry,
    /// Why.
    pub reason: Reason,
}

/// Why an entry of a migration cannot be followed. Displays as a sentence that says the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// An earlier migration has the tag.
    TagTwice(String),
    /// A class of that name exists already.
    Exists(String),
    /// No class of that name exists to be renamed or deleted.
    Missing(String),
    /// An entry of the same migration renames or deletes the class already.
    GoneAlready(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TagTwice(tag) => write!(
                f,
                "an earlier migration has the tag {tag:?}: give each a tag of its own"
            ),
            Self::Exists(name) => write!(
                f,
                "class {name} exists already: remove this entry, or choose another name"
            ),
            Self::Missing(name) => write!(
                f,
                "class {name} does not exist here: an earlier migration has to create it"
            ),
            Self::GoneAlready(name) => write!(
                f,
                "this migration renames or deletes class {name} already: keep one of the two"
            ),
        }
    }
}

/// The classes that exist after all migrations, sorted by name, and the entries that could not be followed, in the order
/// of the migrations.
#[must_use]
pub fn fold(migrations: &[Migration]) -> (Vec<ObjectClass>, Vec<Fault>) {
    let mut folding = Folding::default();
    let mut tags = BTreeSet::new();
    for (n, migration) in migrations.iter().enumerate() {
        folding.migration = n;
        if !tags.insert(&*migration.tag) {
            folding.refuse(Entry::Tag, Reason::TagTwice(migration.tag.clone()));
        }
        folding.step(migration);
    }
    (folding.classes.into_values().collect(), folding.faults)
}

#[derive(Default)]
struct Folding {
    /// The number of the migration that is being followed.
    migration: usize,
    classes: BTreeMap<String, ObjectClass>,
    faults: Vec<Fault>,
}

impl Folding {
    fn refuse(&mut self, entry: Entry, reason: Reason) {
        self.faults.push(Fault {
            migration: self.migration,
            entry,
            reason,
        });
    }

    fn step(&mut self, migration: &Migration) {
        let mut gone = BTreeSet::new();
        let mut renamed = vec![];
        for (n, rename) in migration.renamed_classes.iter().enumerate() {
            if let Some(class) = self.take(&rename.from, Entry::Renamed(n), &mut gone) {
                renamed.push((n, &rename.to, class));
            }
        }
        for (n, name) in migration.deleted_classes.iter().enumerate() {
            self.take(name, Entry::Deleted(n), &mut gone);
        }
        for (n, to, mut class) in renamed {
            class.name.clone_from(to);
            self.put(class, Entry::Renamed(n));
        }
        for (n, name) in migration.new_classes.iter().enumerate() {
            self.create(migration, name, ObjectStorage::KeyValue, Entry::New(n));
        }
        for (n, name) in migration.new_sqlite_classes.iter().enumerate() {
            self.create(migration, name, ObjectStorage::Sqlite, Entry::NewSqlite(n));
        }
    }

    /// Takes a class away from its name.
    fn take<'m>(
        &mut self,
        name: &'m str,
        entry: Entry,
        gone: &mut BTreeSet<&'m str>,
    ) -> Option<ObjectClass> {
        let class = self.classes.remove(name);
        if class.is_some() {
            gone.insert(name);
        } else if gone.contains(name) {
            self.refuse(entry, Reason::GoneAlready(name.to_owned()));
        } else {
            self.refuse(entry, Reason::Missing(name.to_owned()));
        }
        class
    }

    /// Gives a class its name, unless another has it.
    fn put(&mut self, class: ObjectClass, entry: Entry) {
        if self.classes.contains_key(&class.name) {
            self.refuse(entry, Reason::Exists(class.name));
        } else {
            self.classes.insert(class.name.clone(), class);
        }
    }

    fn create(&mut self, migration: &Migration, name: &str, storage: ObjectStorage, entry: Entry) {
        let origin = Origin {
            tag: migration.tag.clone(),
            name: name.to_owned(),
        };
        let name = name.to_owned();
        let class = ObjectClass {
            name,
            origin,
            storage,
        };
        self.put(class, entry);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn migration(tag: &str, new: &[&str], renamed: &[(&str, &str)], deleted: &[&str]) -> Migration {
        Migration {
            tag: tag.to_owned(),
            new_sqlite_classes: names(new),
            renamed_classes: renamed
                .iter()
                .map(|(from, to)| Rename {
                    from: (*from).to_owned(),
                    to: (*to).to_owned(),
                })
                .collect(),
            deleted_classes: names(deleted),
            ..Migration::default()
        }
    }

    /// Each class as `NAME=TAG/FIRST NAME`.
    fn lines(migrations: &[Migration]) -> Vec<String> {
        let (classes, faults) = fold(migrations);
        assert_eq!(faults, []);
        let line = |class: &ObjectClass| {
            let Origin { tag, name } = &class.origin;
            format!("{}={tag}/{name}", class.name)
        };
        classes.iter().map(line).collect()
    }

    #[test]
    fn a_class_keeps_its_origin_and_storage() {
        let mut first = migration("v1", &["Room"], &[], &[]);
        first.new_classes = names(&["Counter"]);
        let second = migration("v2", &[], &[("Room", "ChatRoom")], &[]);
        let (classes, faults) = fold(&[first, second]);
        assert_eq!(faults, []);
        let told: Vec<_> = (classes.iter())
            .map(|class| (&*class.name, &*class.origin.name, class.storage))
            .collect();
        assert_eq!(
            told,
            [
                ("ChatRoom", "Room", ObjectStorage::Sqlite),
                ("Counter", "Counter", ObjectStorage::KeyValue),
            ]
        );
    }

    #[test]
    fn a_name_that_is_free_again_gives_another_class() {
        let all = [
            migration("v1", &["A", "B"], &[], &[]),
            migration("v2", &["A"], &[("A", "C")], &["B"]),
            migration("v3", &["B"], &[], &[]),
        ];
        assert_eq!(lines(&all), ["A=v2/A", "B=v3/B", "C=v1/A"]);
    }

    #[test]
    fn renames_of_one_migration_happen_together() {
        let all = [
            migration("v1", &["A", "B"], &[], &[]),
            migration("v2", &[], &[("A", "B"), ("B", "A")], &[]),
        ];
        assert_eq!(lines(&all), ["A=v1/B", "B=v1/A"]);
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        let mut first = migration("v1", &["A", "A"], &[("X", "Y")], &["Z"]);
        first.new_classes = names(&["B", "C"]);
        let second = migration(
            "v1",
            &["C"],
            &[("A", "B"), ("A", "D"), ("C", "E")],
            &["C", "C"],
        );
        let (classes, faults) = fold(&[first, second]);
        let told: Vec<_> = (faults.into_iter())
            .map(|fault| (fault.migration, fault.entry, fault.reason))
            .collect();
        let name = |name: &str| name.to_owned();
        assert_eq!(
            told,
            [
                (0, Entry::Renamed(0), Reason::Missing(name("X"))),
                (0, Entry::Deleted(0), Reason::Missing(name("Z"))),
                (0, Entry::NewSqlite(1), Reason::Exists(name("A"))),
                (1, Entry::Tag, Reason::TagTwice(name("v1"))),
                (1, Entry::Renamed(1), Reason::GoneAlready(name("A"))),
                (1, Entry::Deleted(0), Reason::GoneAlready(name("C"))),
                (1, Entry::Deleted(1), Reason::GoneAlready(name("C"))),
                (1, Entry::Renamed(0), Reason::Exists(name("B"))),
            ]
        );
        let left: Vec<_> = classes.iter().map(|class| &*class.name).collect();
        assert_eq!(left, ["B", "C", "E"]);
    }

    fn some_migrations() -> impl Strategy<Value = Vec<Migration>> {
        let name = || prop::sample::select(vec!["A", "B", "C", "D"]).prop_map(str::to_owned);
        let some = move || prop::collection::vec(name(), 0..3);
        let rename = (name(), name()).prop_map(|(from, to)| Rename { from, to });
        let one = (
            some(),
            some(),
            prop::collection::vec(rename, 0..3),
            prop::collection::vec(name(), 0..2),
        );
        prop::collection::vec(one, 0..6).prop_map(|all| {
            let numbered = all.into_iter().enumerate();
            let named = numbered.map(|(n, (kv, sqlite, renamed, deleted))| Migration {
                tag: format!("v{n}"),
                new_classes: kv,
                new_sqlite_classes: sqlite,
                renamed_classes: renamed,
                deleted_classes: deleted,
            });
            named.collect()
        })
    }

    proptest! {
        /// Whatever was declared: names and origins are unique, and a class stores as its origin said.
        #[test]
        fn classes_are_told_apart(migrations in some_migrations()) {
            let (classes, _) = fold(&migrations);
            let names: BTreeSet<_> = classes.iter().map(|class| &class.name).collect();
            prop_assert_eq!(names.len(), classes.len());
            let origins: BTreeSet<_> = classes.iter().map(|class| &class.origin).collect();
            prop_assert_eq!(origins.len(), classes.len());
            for class in &classes {
                let creator = migrations.iter().find(|one| one.tag == class.origin.tag).unwrap();
                let among = match class.storage {
                    ObjectStorage::KeyValue => &creator.new_classes,
                    ObjectStorage::Sqlite => &creator.new_sqlite_classes,
                };
                prop_assert!(among.contains(&class.origin.name));
            }
        }

        /// More migrations change nothing of what the ones before have said, or found wrong.
        #[test]
        fn the_past_stays(migrations in some_migrations(), at in 0_usize..6) {
            let at = at.min(migrations.len());
            let (_, before) = fold(&migrations[..at]);
            let (classes, all) = fold(&migrations);
            let early: Vec<_> = all.iter().filter(|fault| fault.migration < at).cloned().collect();
            prop_assert_eq!(before, early);
            let (earlier, _) = fold(&migrations[..at]);
            for class in classes {
                let tag = &class.origin.tag;
                if migrations[..at].iter().any(|one| one.tag == *tag) {
                    prop_assert!(earlier.iter().any(|one| one.origin == class.origin));
                }
            }
        }

        /// A class that was created is there, or was deleted, or an entry that cannot be followed is to blame.
        #[test]
        fn no_class_is_lost(migrations in some_migrations()) {
            let (classes, faults) = fold(&migrations);
            let faulty = |which: fn(&Fault) -> bool| faults.iter().filter(|one| which(one)).count();
            let created: usize = (migrations.iter())
                .map(|one| one.new_classes.len() + one.new_sqlite_classes.len())
                .sum();
            let refused = faulty(|one| matches!(one.entry, Entry::New(_) | Entry::NewSqlite(_)));
            let deleted: usize = migrations.iter().map(|one| one.deleted_classes.len()).sum();
            let kept = faulty(|one| matches!(one.entry, Entry::Deleted(_)));
            let homeless = faulty(|one| {
                matches!((one.entry, &one.reason), (Entry::Renamed(_), Reason::Exists(_)))
            });
            prop_assert_eq!(classes.len() + (deleted - kept) + homeless, created - refused);
        }
    }
}
