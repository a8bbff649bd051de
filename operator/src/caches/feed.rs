//! One store, filled from one watch per namespace.

use std::collections::HashSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use kube::Resource;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::index::{Filler, Indexed};
use super::unseen::Unseen;
use crate::class::owned::LAST_APPLIED_ANNOTATION;

/// How often in a row a watch is refused until it is not waited for any more.
const REFUSALS: u32 = 3;
/// How long a watch that was refused so often waits until it begins anew.
const REFUSED: Duration = Duration::from_secs(20);

/// Whether a watch's first list is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Yes,
    /// It has come.
    Listed,
    /// It is refused, as in a namespace that is gone with the rights in it. Others are not kept waiting.
    Refused,
}

/// Keeps a store as the watches say, and tells which objects changed.
///
/// The store is ready when every watch has listed its objects once, but for those in namespaces where it is refused. A watch that lists again, having lost its place,
/// tells of the objects that went meanwhile as well.
pub(super) struct Feed<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    writer: Writer<K>,
    store: Indexed<K>,
    /// The objects listed by each watch that is listing.
    listing: Vec<Vec<K>>,
    /// Which watches are waited for; `None` once none is.
    waiting: Option<Vec<Waits>>,
    /// Which objects a watch is in charge of: those of one namespace, or all.
    namespaces: Vec<Option<String>>,
    /// What the first lists gave, until all have come.
    first: Vec<K>,
    /// How often in a row each watch was refused.
    refused: Vec<u32>,
    /// Where that is told.
    unseen: Unseen,
}

impl<K> Feed<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    pub(super) fn new(filler: Filler<K>, namespaces: Vec<Option<String>>, unseen: Unseen) -> Self {
        let Filler { writer, store } = filler;
        Self {
            refused: vec![0; namespaces.len()],
            unseen,
            store,
            writer,
            listing: vec![vec![]; namespaces.len()],
            waiting: Some(vec![Waits::Yes; namespaces.len()]),
            namespaces,
            first: vec![],
        }
    }

    /// Runs until dropped. `trim` takes away what is not to be kept, and `changed` is called after the store has the change.
    pub(super) async fn run(
        mut self,
        apis: Vec<Api<K>>,
        config: watcher::Config,
        mut trim: impl FnMut(&mut K),
        mut changed: impl FnMut(&K),
    ) {
        let watches = apis.into_iter().enumerate().map(|(index, api)| {
            begun_anew(api, config.clone())
                .map(move |event| (index, event))
                .boxed()
        });
        let mut events = stream::select_all(watches);
        while let Some((index, event)) = events.next().await {
            match event {
                Ok(event) => {
                    let event = event.modify(|object| {
                        slim(object);
                        trim(object);
                    });
                    self.take(index, event, &mut changed);
                }
                Err(error) => {
                    let kind = K::kind(&());
                    // What is refused all the time is said once.
                    match is_refusal(&error) && self.refused[index] >= REFUSALS {
                        true => tracing::debug!(%kind, %error, "a watch is refused still"),
                        false => tracing::warn!(%kind, %error, "a watch failed and is tried again"),
                    }
                    if is_refusal(&error) {
                        self.refused(index, &mut changed);
                    }
                }
            }
        }
    }

    /// Takes note of a watch that the API server refuses.
    fn refused(&mut self, index: usize, changed: &mut impl FnMut(&K)) {
        self.refused[index] = self.refused[index].saturating_add(1);
        let Some(namespace) = &self.namespaces[index] else {
            // Nothing would be seen at all.
            return;
        };
        if self.refused[index] != REFUSALS {
            return;
        }
        let kind = K::kind(&());
        tracing::error!(%kind, namespace, "may not be watched; if the namespace is gone, take it out of --watch-namespace");
        self.unseen.add(namespace, &kind);
        if let Some(waiting) = &mut self.waiting
            && waiting[index] == Waits::Yes
        {
            waiting[index] = Waits::Refused;
            self.fill(changed);
        }
    }

    /// Takes note of a watch that works.
    fn works(&mut self, index: usize) {
        let refused = std::mem::take(&mut self.refused[index]);
        if let (Some(namespace), REFUSALS..) = (&self.namespaces[index], refused) {
            self.unseen.remove(namespace, &K::kind(&()));
        }
    }

    fn take(&mut self, index: usize, event: Event<K>, changed: &mut impl FnMut(&K)) {
        // A list begins before it is known whether it is refused.
        if !matches!(event, Event::Init) {
            self.works(index);
        }
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

    /// Fills the store if it was the last watch that had to list.
    fn listed_first(&mut self, index: usize, listed: Vec<K>, changed: &mut impl FnMut(&K)) {
        let namespace = &self.namespaces[index];
        self.first.retain(|object| !within(namespace, object));
        self.first.extend(listed);
        if let Some(waiting) = &mut self.waiting {
            waiting[index] = Waits::Listed;
            self.fill(changed);
        }
    }

    /// Fills the store, unless something is waited for. Where all is refused it is not the namespaces that are gone, but the rights.
    fn fill(&mut self, changed: &mut impl FnMut(&K)) {
        let waiting = self.waiting.as_deref().unwrap_or_default();
        if waiting.contains(&Waits::Yes) || !waiting.contains(&Waits::Listed) {
            return;
        }
        self.waiting = None;
        self.writer.apply_watcher_event(&Event::Init);
        for object in self.first.drain(..) {
            self.store.set(&object);
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
        match &event {
            Event::Apply(object) => self.store.set(object),
            Event::Delete(object) => self.store.remove(object),
            Event::Init | Event::InitApply(_) | Event::InitDone => {}
        }
        if let Event::Apply(object) | Event::Delete(object) = &event {
            changed(object);
        }
    }
}

/// A watch that begins with a list again when it was refused so often in a row that it is not waited for: one that goes on where it
/// was says nothing once it is allowed again, until something changes.
fn begun_anew<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let begin = move || {
        watcher(api.clone(), config.clone())
            .default_backoff()
            .boxed()
    };
    stream::unfold((begin(), 0), move |(mut watch, refusals)| {
        let begin = begin.clone();
        async move {
            if refusals == REFUSALS {
                sleep(REFUSED).await;
                watch = begin();
            }
            let event = watch.next().await?;
            let refusals = match &event {
                Err(error) if is_refusal(error) => refusals % REFUSALS + 1,
                Err(_) => refusals % REFUSALS,
                Ok(_) => 0,
            };
            Some((event, (watch, refusals)))
        }
    })
}

/// Whether a watch failed because it is not allowed, or there is no such kind.
fn is_refusal(error: &watcher::Error) -> bool {
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code,
        _ => return false,
    };
    matches!(code, 403 | 404)
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
    use kube::ResourceExt;

    use super::*;
    use crate::caches::index;

    fn map(namespace: &str, name: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.namespace = Some(namespace.to_owned());
        map.metadata.name = Some(name.to_owned());
        map
    }

    fn feed(namespaces: &[Option<&str>]) -> (Indexed<ConfigMap>, Feed<ConfigMap>) {
        let (store, filler) = index::new();
        let namespaces = namespaces.iter().map(|one| one.map(ToOwned::to_owned));
        let feed = Feed::new(filler, namespaces.collect(), Unseen::default());
        (store, feed)
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

    /// As where a namespace is gone, and with it the rights in it.
    #[tokio::test]
    async fn a_namespace_that_may_not_be_watched_does_not_keep_others_waiting() {
        let (store, mut feed) = feed(&[Some("a"), Some("b")]);
        let mut names = vec![];
        let mut changed = |map: &ConfigMap| names.push(map.name_any());
        for event in list("a", &["one"]) {
            feed.take(0, event, &mut changed);
        }
        for _ in 0..REFUSALS {
            assert!(feed.waiting.is_some());
            feed.take(1, Event::Init, &mut changed);
            feed.refused(1, &mut changed);
        }
        store.wait_until_ready().await.unwrap();
        assert_eq!(names, ["one"]);
        assert_eq!(feed.unseen.within("b").as_deref(), Some("ConfigMap"));
        assert_eq!((feed.unseen.within("a"), feed.unseen.count()), (None, 1));
        // It may come back.
        assert_eq!(told(&mut feed, 1, list("b", &["two"])), ["two"]);
        assert_eq!((store.len(), feed.unseen.count()), (2, 0));
    }

    #[test]
    fn rights_that_are_missing_everywhere_are_waited_for() {
        let (store, mut feed) = feed(&[Some("a"), Some("b")]);
        for index in [0, 1, 0, 1, 0, 1, 0, 1] {
            feed.refused(index, &mut |_| {});
        }
        assert!(feed.waiting.is_some() && store.is_empty());
        assert_eq!(told(&mut feed, 1, list("b", &["two"])), ["two"]);
    }

    #[test]
    fn only_refusals_count_as_such() {
        let status = |code: u16| {
            Box::new(kube::core::Status {
                code,
                ..kube::core::Status::default()
            })
        };
        let list = |code| watcher::Error::InitialListFailed(kube::Error::Api(status(code)));
        assert!(is_refusal(&list(403)) && is_refusal(&list(404)));
        assert!(is_refusal(&watcher::Error::WatchError(status(403))));
        assert!(!is_refusal(&list(500)) && !is_refusal(&watcher::Error::WatchError(status(410))));
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
        map.metadata.annotations = Some(
            annotations
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
        );
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
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
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
