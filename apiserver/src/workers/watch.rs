//! Watches: what happens to the workers that are selected, as it happens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use portside_manage::Worker;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch as channel};
use tokio::time::{Instant, sleep_until};

use super::list::Lister;
use super::{Workers, expired, scope};
use crate::answer::{self, Answer, BoxError};
use crate::follow::{Happened, Held, Scope, Was, What};
use crate::object::Class;
use crate::query::Query;
use crate::selector::Selector;
use crate::shape::Shape;
use crate::status::Refusal;

/// How often a watch says how far it is.
const BOOKMARK: Duration = Duration::from_secs(50);
/// How many events are taken at a time.
const EVENTS: usize = 500;
/// How many workers are asked for at a time, where a watch begins with what there is.
const PAGE: usize = 500;

impl Workers {
    pub(super) async fn watch(
        self: &Arc<Self>,
        namespace: Option<&str>,
        mut query: Query,
        shape: Shape,
    ) -> Result<Answer, Refusal> {
        query.proceed = None; // it is for lists
        let permit = Arc::clone(&self.watches).try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::too_many("too many watches are open"))?;
        let scope = scope(namespace, &query);
        // Before it is looked, so that nothing is overlooked.
        let last = self.follows.last();
        let held = self.follows.hold(&scope);
        let (at, first) = match &query.version {
            Some(text) => {
                let at = self.follows.version(&scope, text).map_err(expired)?;
                (at, None)
            }
            None => {
                let lister = self.lister(namespace, &query).await?;
                (lister.version(), Some(lister))
            }
        };
        self.metrics.watches.inc();
        let watch = Watch {
            workers: Arc::clone(self),
            scope,
            selector: query.selector,
            shape,
            bookmarks: query.bookmarks,
            last,
            at,
            until: Instant::now() + query.timeout,
            mark: Instant::now() + BOOKMARK,
            columns: true,
            over: false,
            _held: held,
            _permit: permit,
        };
        let events = match first {
            Some(lister) => what_there_is(watch, lister).boxed(),
            None => events(watch).boxed(),
        };
        Ok(answer::with_type(answer::JSON, answer::streamed(events)))
    }
}

/// An open watch.
struct Watch {
    workers: Arc<Workers>,
    scope: Scope,
    selector: Selector,
    shape: Shape,
    bookmarks: bool,
    last: channel::Receiver<u64>,
    /// The number of the last event that was looked at.
    at: u64,
    /// When it ends.
    until: Instant,
    /// When it says next how far it is.
    mark: Instant,
    /// A table's first row says what its columns are.
    columns: bool,
    over: bool,
    _held: Held,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.workers.metrics.watches.dec();
    }
}

type Lines = Result<Bytes, BoxError>;

fn events(watch: Watch) -> impl Stream<Item = Lines> + Send {
    stream::unfold(watch, |mut watch| async move {
        let lines = watch.next().await?;
        Some((Ok(Bytes::from(lines)), watch))
    })
}

/// First what there is, and then what happens.
fn what_there_is(watch: Watch, lister: Lister) -> impl Stream<Item = Lines> + Send {
    let begun = (watch, Some(lister));
    stream::try_unfold(begun, |(mut watch, lister)| async move {
        let Some(mut lister) = lister else {
            let lines = watch.next().await;
            return Ok(lines.map(|it| (Bytes::from(it), (watch, None))));
        };
        let page = lister.next(PAGE).await;
        let page = page.map_err(|refusal| BoxError::from(refusal.message))?;
        let mut lines = String::new();
        let goes_on = page.is_some();
        if let Some((class, workers, _)) = page {
            let version = watch.at.to_string();
            for worker in &workers {
                watch.write(&mut lines, "ADDED", &class, worker, &version);
            }
        }
        Ok(Some((
            Bytes::from(lines),
            (watch, goes_on.then_some(lister)),
        )))
    })
}

impl Watch {
    /// The next lines, when there are some; nothing after the last.
    async fn next(&mut self) -> Option<String> {
        while !self.over {
            let mut lines = String::new();
            self.last.borrow_and_update();
            match self.workers.follows.after(&self.scope, self.at, EVENTS) {
                Ok(news) if news.events.is_empty() => {
                    self.at = news.to;
                    self.wait(&mut lines).await;
                }
                Ok(news) => {
                    self.at = news.to;
                    for event in &news.events {
                        self.take(event, &mut lines);
                        if self.over {
                            break;
                        }
                    }
                }
                Err(why) => self.end(&mut lines, expired(why)),
            }
            if !lines.is_empty() {
                return Some(lines);
            }
        }
        None
    }

    /// Waits until something happens, or it is time to say something all the same.
    async fn wait(&mut self, lines: &mut String) {
        let Self {
            workers,
            last,
            mark,
            until,
            ..
        } = self;
        tokio::select! {
            _ = last.changed() => return,
            () = sleep_until(*mark) => self.mark += BOOKMARK,
            () = sleep_until(*until) => self.over = true,
            () = workers.stop.cancelled() => self.over = true,
        }
        if self.bookmarks {
            let bookmark = self.shape.bookmark(&self.at.to_string());
            line(lines, "BOOKMARK", &bookmark);
        }
    }

    fn take(&mut self, event: &Happened, lines: &mut String) {
        let class = &event.class;
        if !self.selector.may_match(class) {
            return;
        }
        let What::Change { was, worker, gone } = &event.what else {
            let Class {
                namespace, name, ..
            } = &**class;
            let message = format!(
                "what happened to workers of class {namespace}/{name} is not known for a while: list again"
            );
            return self.end(lines, Refusal::expired(message));
        };
        if let Some((kind, worker)) = seen(&self.selector, class, was, worker, *gone) {
            let version = event.version.to_string();
            self.write(lines, kind, class, &worker, &version);
        }
    }

    fn write(
        &mut self,
        lines: &mut String,
        kind: &str,
        class: &Class,
        worker: &Worker,
        version: &str,
    ) {
        let object = self.shape.alone(class, worker, version, self.columns);
        self.columns = false;
        line(lines, kind, &object);
    }

    fn end(&mut self, lines: &mut String, refusal: Refusal) {
        line(lines, "ERROR", &refusal.status());
        self.over = true;
    }
}

fn line(lines: &mut String, kind: &str, object: &Value) {
    lines.push_str(&json!({ "type": kind, "object": object }).to_string());
    lines.push('\n');
}

/// What a change is to those who watch a selection: the kind of event, and the worker that it shows.
fn seen(
    selector: &Selector,
    class: &Class,
    was: &Was,
    worker: &Worker,
    gone: bool,
) -> Option<(&'static str, Worker)> {
    let before = was.worker(worker).filter(|it| selector.matches(class, it));
    let is_now = !gone && selector.matches(class, worker);
    match (before, is_now) {
        (None, false) => None,
        (None, true) => Some(("ADDED", worker.clone())),
        (Some(_), true) => Some(("MODIFIED", worker.clone())),
        (Some(before), false) => Some(("DELETED", before)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn kind(fields: &str, was: &Was, gone: bool) -> Option<&'static str> {
        let selector = Selector::parse("", fields).unwrap();
        let seen = seen(&selector, &sample::class(), was, &sample::worker(), gone);
        seen.map(|(kind, _)| kind)
    }

    #[test]
    fn changes_are_told_as_they_look_to_whom_they_are_told() {
        let here = Was::Awake(Some("shop-1".into()));
        let elsewhere = Was::Awake(Some("shop-2".into()));
        for (fields, was, gone, expected) in [
            ("", &Was::Absent, false, Some("ADDED")),
            ("", &Was::Asleep, false, Some("MODIFIED")),
            ("", &here, false, Some("MODIFIED")),
            ("", &Was::Asleep, true, Some("DELETED")),
            ("", &Was::Absent, true, None),
            ("status.state=Awake", &Was::Asleep, false, Some("ADDED")),
            ("status.state=Asleep", &Was::Asleep, false, Some("DELETED")),
            ("status.state=Asleep", &here, false, None),
            ("status.pod=shop-1", &elsewhere, false, Some("ADDED")),
            ("status.pod=shop-2", &elsewhere, false, Some("DELETED")),
            ("status.pod=shop-3", &elsewhere, false, None),
            ("spec.script=other", &Was::Absent, false, None),
        ] {
            assert_eq!(kind(fields, was, gone), expected, "{fields} {was:?} {gone}");
        }
    }

    #[test]
    fn what_left_the_selection_is_shown_as_it_was() {
        let selector = Selector::parse("", "status.state=Asleep").unwrap();
        let (worker, class) = (sample::worker(), sample::class());
        let (_, shown) = seen(&selector, &class, &Was::Asleep, &worker, false).unwrap();
        assert_eq!(shown.state, portside_manage::State::Asleep);
    }
}
