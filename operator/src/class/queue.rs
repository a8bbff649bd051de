//! Which classes are to be looked at again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::reflector::Store;
use portside_crds::class::Route;
use portside_crds::conditions::ConditionType;
use portside_crds::names::CLASS_LABEL;
use portside_crds::routes::{ClassKey, overlap};
use portside_crds::{KIND, Reason, ServerlessWorkerClass};

use crate::caches::Class;

/// Where watches put the classes that something happened to. Until it is opened, and once closed, it forgets them.
#[derive(Clone, Default)]
pub(crate) struct Queue(Arc<Mutex<Option<UnboundedSender<ClassKey>>>>);

impl Queue {
    /// Begins to pass on what is pushed.
    pub(crate) fn open(&self) -> UnboundedReceiver<ClassKey> {
        let (sender, receiver) = mpsc::unbounded();
        *self.lock() = Some(sender);
        receiver
    }

    /// Ends what [`Queue::open`] gave.
    pub(crate) fn close(&self) {
        *self.lock() = None;
    }

    /// Whether anybody is interested.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_some()
    }

    /// The class is to be looked at.
    pub(crate) fn push(&self, key: ClassKey) {
        if let Some(sender) = &*self.lock() {
            // Fails only when the receiver is gone, which is when the process ends.
            let _ = sender.unbounded_send(key);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<UnboundedSender<ClassKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A class's key.
pub(crate) fn key_of(meta: &ObjectMeta) -> ClassKey {
    ClassKey {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

/// The class that an object was made for: by its owner, or its label where another owner is between.
pub(crate) fn class_of(meta: &ObjectMeta) -> Option<ClassKey> {
    let owner = meta
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.kind == KIND);
    let label = || meta.labels.as_ref()?.get(CLASS_LABEL);
    Some(ClassKey {
        namespace: meta.namespace.clone()?,
        name: owner.map(|owner| &owner.name).or_else(label)?.clone(),
    })
}

/// The class itself, and those whose routes it may have taken or given back. One that waits for a route may get it now, and
/// with it a host that others have had.
pub(crate) fn concerned_by_class(class: &Class, classes: &Store<Class>) -> BTreeSet<ClassKey> {
    let mut concerned = BTreeSet::from([key_of(class.meta())]);
    let all = classes.state();
    let all: Vec<&ServerlessWorkerClass> = all
        .iter()
        .filter_map(|class| class.0.as_ref().ok())
        .collect();
    let mut moved: Vec<&[Route]> = vec![];
    moved.extend(class.0.as_ref().ok().map(|class| &*class.spec.routes));
    let waiting = all.iter().filter(|class| waits_for_route(class));
    moved.extend(waiting.map(|class| &*class.spec.routes));
    for other in all {
        let routes = &other.spec.routes;
        if waits_for_route(other) || moved.iter().any(|moved| share_host(moved, routes)) {
            concerned.insert(key_of(&other.metadata));
        }
    }
    concerned
}

/// The classes whose code is in a ConfigMap, or that it was made for.
pub(crate) fn concerned_by_config_map(
    map: &ObjectMeta,
    classes: &Store<Class>,
) -> BTreeSet<ClassKey> {
    let mut concerned: BTreeSet<ClassKey> = class_of(map).into_iter().collect();
    for class in classes.state() {
        if let Ok(class) = &class.0
            && class.metadata.namespace == map.namespace
            && (class.spec.code.config_map.as_ref()).map(|code| &code.name) == map.name.as_ref()
        {
            concerned.insert(key_of(&class.metadata));
        }
    }
    concerned
}

/// The classes that have routes: those that a gateway's coming and going concerns.
pub(crate) fn with_routes(classes: &Store<Class>) -> BTreeSet<ClassKey> {
    let state = classes.state();
    let valid = state.iter().filter_map(|class| class.0.as_ref().ok());
    valid
        .filter(|class| !class.spec.routes.is_empty())
        .map(|class| key_of(&class.metadata))
        .collect()
}

fn waits_for_route(class: &ServerlessWorkerClass) -> bool {
    let routes = class
        .status
        .as_ref()
        .and_then(|status| status.condition(ConditionType::RoutesReady));
    routes.is_some_and(|condition| condition.reason == Reason::RouteConflict.as_str())
}

fn share_host(one: &[Route], other: &[Route]) -> bool {
    one.iter()
        .any(|route| other.iter().any(|other| overlap(&route.host, &other.host)))
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn class(name: &str, spec: serde_json::Value, reason: &str) -> Class {
        let condition = json!({
            "type": "RoutesReady", "status": "False", "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"
        });
        serde_json::from_value(json!({
            "metadata": {"namespace": "a", "name": name},
            "spec": spec,
            "status": {"conditions": [condition]}
        }))
        .unwrap()
    }

    fn store(classes: &[Class]) -> Store<Class> {
        let mut writer = Writer::new(());
        for class in classes {
            writer.apply_watcher_event(&Event::Apply(class.clone()));
        }
        writer.as_reader()
    }

    fn names(keys: BTreeSet<ClassKey>) -> Vec<String> {
        keys.into_iter().map(|key| key.name).collect()
    }

    #[test]
    fn routes_concern_those_who_share_or_want_them() {
        let routes = |host: &str| json!({"code": {}, "routes": [{"host": host}]});
        let one = class("one", routes("X.com"), "Succeeded");
        let all = [
            one.clone(),
            class("same", routes("x.com"), "Succeeded"),
            class("wild", routes("*.com"), "Succeeded"),
            class("other", routes("y.com"), "Succeeded"),
            class("waits", routes("*.z.com"), "RouteConflict"),
            class("under", routes("a.z.com"), "Succeeded"),
        ];
        let store = store(&all);
        assert_eq!(
            names(concerned_by_class(&one, &store)),
            ["one", "same", "under", "waits", "wild"]
        );
        assert_eq!(with_routes(&store).len(), 6);
    }

    #[test]
    fn a_config_map_concerns_classes_whose_code_it_is() {
        let code = |map: &str| json!({"code": {"configMap": {"name": map}}});
        let store = store(&[class("one", code("src"), ""), class("two", code("x"), "")]);
        let map = |namespace: &str, label: Option<&str>| ObjectMeta {
            namespace: Some(namespace.into()),
            name: Some("src".into()),
            labels: label.map(|class| [(CLASS_LABEL.into(), class.into())].into()),
            ..ObjectMeta::default()
        };
        assert_eq!(
            names(concerned_by_config_map(&map("a", None), &store)),
            ["one"]
        );
        assert!(concerned_by_config_map(&map("b", None), &store).is_empty());
        let copy = map("b", Some("copied"));
        assert_eq!(names(concerned_by_config_map(&copy, &store)), ["copied"]);
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let queue = Queue::default();
        let key = ClassKey {
            namespace: "a".into(),
            name: "one".into(),
        };
        queue.push(key.clone());
        let mut receiver = queue.open();
        assert!(receiver.try_recv().is_err());
        queue.push(key.clone());
        assert_eq!(receiver.try_recv().unwrap(), key);
        queue.close();
        assert!(!queue.is_open());
    }
}
