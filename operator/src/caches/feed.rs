//! One store, filled from one watch per namespace.

use std::collections::HashSet;
use std::fmt::Debug;

use futures::stream::{self, StreamExt};
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::class::owned::LAST_APPLIED_ANNOTATION;

/// Keeps a store as the watches say, and tells which objects changed.
///
/// The store is ready when every watch has listed its objects once. A watch that lists again, having lost its place,
/// tells of the objects that went meanwhile as well.
pub(super) struct Feed<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    writer: Writer<K>,
    store: Store<K>,
    /// The objects listed by each watch that is listing.
    listing: Vec<Vec<K>>,
    /// Watches that have not listed yet; `None` once all have.
    waiting: Option<Vec<bool>>,
    /// Which objects a watch is in charge of: those of one namespace, or all.
    namespaces: Vec<Option<String>>,
    /// What the first lists gave, until all have come.
    first: Vec<K>,
}

impl<K> Feed<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    pub(super) fn new(writer: Writer<K>, namespaces: Vec<Option<String>>) -> Self {
        Self {
            store: writer.as_reader(),
            writer,
            listing: vec![vec![]; namespaces.len()],
            waiting: Some(vec![true; namespaces.len()]),
            namespaces,
            first: vec![],
        }
    }

    /// Runs until dropped. `changed` is called after the store has the change.
    pub(super) async fn run(
        mut self,
        apis: Vec<Api<K>>,
        config: watcher::Config,
        mut changed: impl FnMut(&K),
    ) {
        let watches = apis.into_iter().enumerate().map(|(index, api)| {
            watcher(api, config.clone())
                .default_backoff()
                .map(move |event| (index, event))
                .boxed()
        });
        let mut events = stream::select_all(watches);
        while let Some((index, event)) = events.next().await {
            match event {
                Ok(event) => self.take(index, event.modify(slim), &mut changed),
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&()), %error, "a watch failed and is tried again");
                }
            }
        }
    }

    fn take(&mut self, index: usize, event: Event<K>, changed: &mut impl FnMut(&K)) {
        match event {
            Event::Init => self.listing[index].clear(),
            Event::InitApply(object) => self.listing[index].push(object),
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listing[index]);
                if self.waiting.is_some() {
                    self.listed_first(index, listed, changed);
                } else {
                    self.listed_again(index, listed, changed);
                }
            }
            Event::Apply(object) if self.waiting.is_some() => self.first.push(object),
            Event::Delete(object) if self.waiting.is_some() => {
                let gone = key(&object);
                self.first.retain(|object| key(object) != gone);
            }
            event @ (Event::Apply(_) | Event::Delete(_)) => self.pass(event, changed),
        }
    }

    /// Fills the store when the last watch has listed.
    fn listed_first(&mut self, index: usize, listed: Vec<K>, changed: &mut impl FnMut(&K)) {
        let namespace = &self.namespaces[index];
        self.first.retain(|object| !within(namespace, object));
        self.first.extend(listed);
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        waiting[index] = false;
        if waiting.iter().any(|waits| *waits) {
            return;
        }
        self.waiting = None;
        self.writer.apply_watcher_event(&Event::Init);
        for object in self.first.drain(..) {
            self.writer.apply_watcher_event(&Event::InitApply(object));
        }
        self.writer.apply_watcher_event(&Event::InitDone);
        self.store.state().iter().for_each(|object| changed(object));
    }

    fn listed_again(&mut self, index: usize, listed: Vec<K>, changed: &mut impl FnMut(&K)) {
        let namespace = self.namespaces[index].clone();
        let there: HashSet<_> = listed.iter().map(key).collect();
        let gone = self
            .store
            .state_filter(|object| within(&namespace, object) && !there.contains(&key(object)));
        for object in gone {
            self.pass(Event::Delete((*object).clone()), changed);
        }
        for object in listed {
            self.pass(Event::Apply(object), changed);
        }
    }

    fn pass(&mut self, event: Event<K>, changed: &mut impl FnMut(&K)) {
        self.writer.apply_watcher_event(&event);
        if let Event::Apply(object) | Event::Delete(object) = &event {
            changed(object);
        }
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> (Option<&str>, Option<&str>) {
    let meta = object.meta();
    (meta.namespace.as_deref(), meta.name.as_deref())
}

fn within<K: Resource<DynamicType = ()>>(namespace: &Option<String>, object: &K) -> bool {
    namespace.is_none() || *namespace == object.meta().namespace
}

/// What nothing here reads, and often the larger part of an object.
fn slim<K: Resource>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    // All of the object once more. What changes with it changes by itself, too.
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED_ANNOTATION);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector;

    use super::*;

    fn map(namespace: &str, name: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.namespace = Some(namespace.to_owned());
        map.metadata.name = Some(name.to_owned());
        map
    }

    fn feed(namespaces: &[Option<&str>]) -> (Store<ConfigMap>, Feed<ConfigMap>) {
        let (store, writer) = reflector::store();
        let namespaces = namespaces.iter().map(|one| one.map(ToOwned::to_owned));
        (store, Feed::new(writer, namespaces.collect()))
    }

    /// Feeds events and gives the names that were told of, sorted.
    fn told(
        feed: &mut Feed<ConfigMap>,
        index: usize,
        events: Vec<Event<ConfigMap>>,
    ) -> Vec<String> {
        let mut names = vec![];
        for event in events {
            feed.take(index, event, &mut |map| names.push(map.name_any()));
        }
        names.sort();
        names
    }

    fn list(namespace: &str, names: &[&str]) -> Vec<Event<ConfigMap>> {
        let objects = names
            .iter()
            .map(|name| Event::InitApply(map(namespace, name)));
        let events = std::iter::once(Event::Init).chain(objects);
        events.chain([Event::InitDone]).collect()
    }

    #[tokio::test]
    async fn is_ready_when_every_namespace_is_listed() {
        let (store, mut feed) = feed(&[Some("a"), Some("b")]);
        assert!(told(&mut feed, 0, list("a", &["one"])).is_empty());
        assert!(told(&mut feed, 0, vec![Event::Apply(map("a", "two"))]).is_empty());
        assert!(told(&mut feed, 0, vec![Event::Delete(map("a", "one"))]).is_empty());
        assert!(store.is_empty());
        assert_eq!(told(&mut feed, 1, list("b", &["three"])), ["three", "two"]);
        store.wait_until_ready().await.unwrap();
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn a_second_list_tells_what_went() {
        let (store, mut feed) = feed(&[Some("a"), Some("b")]);
        told(&mut feed, 0, list("a", &["one", "two"]));
        told(&mut feed, 1, list("b", &["three"]));
        assert_eq!(
            told(&mut feed, 0, list("a", &["two", "four"])),
            ["four", "one", "two"]
        );
        let mut names: Vec<String> = store.state().iter().map(|one| one.name_any()).collect();
        names.sort();
        assert_eq!(names, ["four", "three", "two"]);
    }

    #[test]
    fn what_nothing_reads_is_not_kept() {
        let annotations = [
            (LAST_APPLIED_ANNOTATION, "all of it"),
            ("example.com/other", "x"),
        ];
        let mut map = map("a", "one");
        map.metadata.managed_fields = Some(vec![]);
        map.metadata.annotations =
            Some(annotations.map(|(name, value)| (name.into(), value.into())).into());
        slim(&mut map);
        assert_eq!(map.metadata.managed_fields, None);
        let kept: Vec<_> = map.metadata.annotations.unwrap().into_keys().collect();
        assert_eq!(kept, ["example.com/other"]);
    }

    /// With a comparison of each with each it takes a quarter of a minute.
    #[test]
    fn a_second_list_of_many_takes_no_time() {
        let names: Vec<String> = (0..20_000).map(|number| format!("n{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_, mut feed) = feed(&[None]);
        told(&mut feed, 0, list("a", &names));
        let began = std::time::Instant::now();
        assert_eq!(told(&mut feed, 0, list("a", &names)).len(), names.len());
        let took = began.elapsed();
        assert!(took < std::time::Duration::from_secs(3), "{took:?}");
    }

    #[test]
    fn changes_are_told_once_the_store_has_them() {
        let (store, mut feed) = feed(&[None]);
        told(&mut feed, 0, list("a", &["one"]));
        let mut seen = vec![];
        feed.take(0, Event::Apply(map("b", "two")), &mut |_| {
            seen.push(store.len())
        });
        feed.take(0, Event::Delete(map("a", "one")), &mut |_| {
            seen.push(store.len())
        });
        assert_eq!(seen, [2, 1]);
    }
}
