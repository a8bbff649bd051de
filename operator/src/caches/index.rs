//! A store in which the objects of a class are found without looking at all of them.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use kube::Resource;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::reflector::{self, ObjectRef};
use portside_crds::names::CLASS_LABEL;
use portside_crds::routes::ClassKey;

/// A store, and which objects in it bear the label of a class. Cloning gives another handle.
pub(crate) struct Indexed<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    names: Arc<RwLock<Names>>,
}

#[derive(Default)]
struct Names {
    by_class: HashMap<ClassKey, BTreeSet<String>>,
    /// The class of each object, for when it gets another label: by namespace and name.
    classes: HashMap<(String, String), ClassKey>,
}

/// The other end of [`Indexed`].
pub(crate) struct Filler<K: Resource<DynamicType = ()> + Clone + 'static> {
    pub(super) writer: Writer<K>,
    pub(super) store: Indexed<K>,
}

/// An empty store, and what fills it.
pub(crate) fn new<K>() -> (Indexed<K>, Filler<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (store, writer) = reflector::store();
    let store = Indexed::from(store);
    let other = store.clone();
    (
        store,
        Filler {
            writer,
            store: other,
        },
    )
}

impl<K> Indexed<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    /// The objects with the label of the class.
    pub(crate) fn of(&self, key: &ClassKey) -> Vec<Arc<K>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let names = names.by_class.get(key).into_iter().flatten();
        let found = names.map(|name| self.store.get(&ObjectRef::new(name).within(&key.namespace)));
        found.flatten().collect()
    }

    /// An object came, or changed.
    pub(super) fn set(&self, object: &K) {
        let label = object
            .meta()
            .labels
            .as_ref()
            .and_then(|labels| labels.get(CLASS_LABEL));
        self.enter(object, label);
    }

    /// An object went.
    pub(super) fn remove(&self, object: &K) {
        self.enter(object, None);
    }

    fn enter(&self, object: &K, class: Option<&String>) {
        let meta = object.meta();
        let (namespace, name) = (
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        );
        let class = class.map(|class| ClassKey {
            namespace: namespace.clone(),
            name: class.clone(),
        });
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let place = (namespace, name);
        if names.classes.get(&place) == class.as_ref() {
            return;
        }
        if let Some(before) = names.classes.remove(&place)
            && let Some(others) = names.by_class.get_mut(&before)
        {
            others.remove(&place.1);
            if others.is_empty() {
                names.by_class.remove(&before);
            }
        }
        if let Some(class) = class {
            let others = names.by_class.entry(class.clone()).or_default();
            others.insert(place.1.clone());
            names.classes.insert(place, class);
        }
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Clone for Indexed<K>
where
    Store<K>: Clone,
{
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            names: Arc::clone(&self.names),
        }
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Deref for Indexed<K> {
    type Target = Store<K>;

    fn deref(&self) -> &Store<K> {
        &self.store
    }
}

/// With an index of what is in the store now.
impl<K> From<Store<K>> for Indexed<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    fn from(store: Store<K>) -> Self {
        let indexed = Self {
            store,
            names: Arc::default(),
        };
        for object in indexed.store.state() {
            indexed.set(&object);
        }
        indexed
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use kube::runtime::watcher::Event;

    use super::*;

    fn map(namespace: &str, name: &str, class: Option<&str>) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.namespace = Some(namespace.to_owned());
        map.metadata.name = Some(name.to_owned());
        let label = |class: &str| [(CLASS_LABEL.to_owned(), class.to_owned())].into();
        map.metadata.labels = class.map(label);
        map
    }

    fn key(namespace: &str, name: &str) -> ClassKey {
        ClassKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn objects_are_found_by_the_label_that_they_have_now() {
        let (store, mut filler) = new();
        let mut put = |object: ConfigMap| {
            filler.store.set(&object);
            filler.writer.apply_watcher_event(&Event::Apply(object));
        };
        put(map("a", "one", Some("chat")));
        put(map("a", "two", Some("chat")));
        put(map("b", "one", Some("chat")));
        put(map("a", "three", None));
        let found = |class: &ClassKey| -> Vec<String> {
            store.of(class).iter().map(|map| map.name_any()).collect()
        };
        assert_eq!(found(&key("a", "chat")), ["one", "two"]);
        assert_eq!(found(&key("b", "chat")), ["one"]);
        put(map("a", "one", Some("shop")));
        assert_eq!(found(&key("a", "chat")), ["two"]);
        assert_eq!(found(&key("a", "shop")), ["one"]);
        put(map("a", "one", None));
        store.remove(&map("a", "two", Some("chat")));
        let names = store.names.read().unwrap();
        assert_eq!((names.by_class.len(), names.classes.len()), (1, 1));
    }
}
