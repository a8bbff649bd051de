//! Which class has which route, worked out when the routes of one have changed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use kube::Resource;
use kube::runtime::reflector::Store;
use portside_crds::routes::{Claim, ClassKey, Routes};

use super::{Class, class_ref};
use crate::class::queue::key_of;

/// The routes of all classes. Cloning gives another handle.
#[derive(Clone, Default)]
pub(crate) struct RouteTable(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    /// A hash of what each class asks for.
    claims: HashMap<ClassKey, u64>,
    /// How often any of them has changed.
    changes: u64,
    routes: Option<Arc<Routes>>,
}

impl RouteTable {
    /// A class came, changed or went, and `classes` shows that. Whether anybody's routes may be others now.
    pub(super) fn changed(&self, class: &Class, classes: &Store<Class>) -> bool {
        let key = key_of(class.meta());
        let now = classes.get(&class_ref(&key));
        let claim = now.as_deref().and_then(claim_of).map(|claim| hash(&claim));
        let mut table = self.lock();
        let before = match claim {
            Some(claim) => table.claims.insert(key, claim),
            None => table.claims.remove(&key),
        };
        let is_news = before != claim;
        if is_news {
            table.changes += 1;
            table.routes = None;
        }
        is_news
    }

    /// Who has which route, by what `classes` has now.
    pub(crate) fn get(&self, classes: &Store<Class>) -> Arc<Routes> {
        let changes = {
            let table = self.lock();
            if let Some(routes) = &table.routes {
                return Arc::clone(routes);
            }
            table.changes
        };
        let all = classes.state();
        let routes = Arc::new(Routes::new(all.iter().filter_map(|class| claim_of(class))));
        let mut table = self.lock();
        if table.changes == changes {
            table.routes = Some(Arc::clone(&routes));
        }
        routes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn claim_of(class: &Class) -> Option<Claim<'_>> {
    let class = class.0.as_ref().ok()?;
    Some(Claim {
        class: key_of(&class.metadata),
        created: class.metadata.creation_timestamp.clone(),
        routes: &class.spec.routes,
    })
}

fn hash(claim: &Claim<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    // All of it: what a claim is made of may become more.
    format!("{claim:?}").hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn class(name: &str, created: &str, host: &str, status: &str) -> Class {
        serde_json::from_value(json!({
            "metadata": {"namespace": "a", "name": name, "creationTimestamp": created},
            "spec": {"code": {}, "routes": [{"host": host}]},
            "status": {"url": status},
        }))
        .unwrap()
    }

    #[test]
    fn it_is_worked_out_anew_when_routes_change_and_only_then() {
        let table = RouteTable::default();
        let mut writer = Writer::new(());
        let store = writer.as_reader();
        let mut happens = |event: Event<Class>| {
            writer.apply_watcher_event(&event);
            let (Event::Apply(class) | Event::Delete(class)) = event else {
                panic!("no change");
            };
            table.changed(&class, &store)
        };
        let old = class("old", "2026-01-01T00:00:00Z", "x.com", "");
        let new = class("new", "2026-01-02T00:00:00Z", "x.com", "");
        assert!(happens(Event::Apply(old.clone())));
        assert!(happens(Event::Apply(new.clone())));
        let key = key_of(new.meta());
        let routes = table.get(&store);
        assert_eq!(routes.conflicts(&key).len(), 1);
        let seen = class("new", "2026-01-02T00:00:00Z", "x.com", "http://x.com");
        assert!(!happens(Event::Apply(seen)));
        assert!(Arc::ptr_eq(&routes, &table.get(&store)));
        assert!(happens(Event::Delete(old)));
        assert!(table.get(&store).conflicts(&key).is_empty());
        let moved = class("new", "2026-01-02T00:00:00Z", "y.com", "");
        assert!(happens(Event::Apply(moved)));
        assert_eq!(table.get(&store).find("y.com", "/"), Some(&key));
    }
}
