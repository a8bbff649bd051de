//! The pods that there are: started, started again when they die, and replaced by those of newer code.
//!
//! One task has all of it. New code gets as many pods as the old code has, all at once; when each of them has loaded it, the old
//! ones hand over and end. If one of them has not, the new ones end and nothing has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use portside_core::backoff::Backoff;
use portside_gateway::{Endpoint, Gateway};
use portside_sidecar::{Class, now_ms};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::code::Code;
use super::message::{Said, Start};
use super::process::{News, Process};
use super::route::topology;
use crate::dev::reload::Replace;

/// Before pods that died are started again.
const BACKOFF: Backoff = Backoff {
    first_ms: 250,
    max_ms: 10_000,
};
/// A pod that has lived for this long did not die of how it began.
const SOUND: Duration = Duration::from_secs(20);
/// How long pods may take to end when all of them do. A little longer than they give themselves.
pub const END: Duration = Duration::from_secs(12);

/// The pods, as others reach them.
pub struct Fleet {
    events: mpsc::UnboundedSender<Event>,
    /// Where those are that take part.
    ready: watch::Receiver<Vec<SocketAddr>>,
}

enum Event {
    News(u64, News),
    /// The time to start again what has died.
    Fill,
    Replace(Class, oneshot::Sender<Result<(), String>>),
    /// All are to end.
    End,
    /// At once.
    Kill,
}

/// What all pods are told alike: all but their names, and their code.
pub type Common = Start<()>;

impl Fleet {
    /// Starts `count` pods of this class, which requests to the gateway go to; `ready` hears where they take them, once they do.
    ///
    /// # Errors
    /// The code is not what it says to be.
    pub fn start(
        count: usize,
        class: Class,
        common: Common,
        gateway: Arc<Gateway>,
        ready_pods: watch::Sender<Vec<SocketAddr>>,
    ) -> anyhow::Result<Self> {
        let (events, mut heard) = mpsc::unbounded_channel();
        let ready = ready_pods.subscribe();
        let mut pods = Pods {
            count,
            common,
            gateway,
            events: events.clone(),
            ready: ready_pods,
            pods: BTreeMap::new(),
            revision: Revision::of(class, 0)?,
            change: None,
            started: 0,
            failures: 0,
            is_ending: false,
        };
        pods.fill();
        tokio::spawn(async move {
            while let Some(event) = heard.recv().await {
                pods.hear(event);
                if pods.is_ending && pods.pods.is_empty() {
                    return;
                }
            }
        });
        Ok(Self { events, ready })
    }

    /// Returns when so many pods have taken part at once.
    pub async fn ready(&self, count: usize) {
        let mut ready = self.ready.clone();
        // The other end goes away when all pods end: there is nothing to wait for then.
        let _ = ready.wait_for(|ready| ready.len() >= count).await;
    }

    /// Ends all pods, after the writes under way; those that take too long, at once.
    pub async fn end(&self) {
        let mut ready = self.ready.clone();
        // The other end goes away with the last pod.
        let gone = async move { while ready.changed().await.is_ok() {} };
        let mut gone = std::pin::pin!(gone);
        // If it is gone there is nobody to end.
        let _ = self.events.send(Event::End);
        if timeout(END, &mut gone).await.is_err() {
            let _ = self.events.send(Event::Kill);
            gone.await;
        }
    }
}

impl Replace for Fleet {
    fn replace(&self, class: Class) -> BoxFuture<'_, Result<(), String>> {
        let (done, outcome) = oneshot::channel();
        let _ = self.events.send(Event::Replace(class, done));
        async { outcome.await.unwrap_or_else(|_| Err("it ends".to_owned())) }.boxed()
    }
}

/// Code, of which each change has a greater number, over all starts of this program.
struct Revision {
    number: u64,
    class: Class,
    code: serde_json::Value,
}

impl Revision {
    fn of(class: Class, before: u64) -> anyhow::Result<Arc<Self>> {
        let now = u64::try_from(now_ms()).unwrap_or_default();
        Ok(Arc::new(Self {
            number: now.max(before + 1),
            code: serde_json::to_value(Code::of(&class)?)?,
            class,
        }))
    }
}

struct Pods {
    count: usize,
    common: Common,
    gateway: Arc<Gateway>,
    events: mpsc::UnboundedSender<Event>,
    ready: watch::Sender<Vec<SocketAddr>>,
    pods: BTreeMap<u64, Pod>,
    /// What runs.
    revision: Arc<Revision>,
    change: Option<Change>,
    started: u64,
    /// Deaths in a row.
    failures: u32,
    is_ending: bool,
}

struct Pod {
    process: Process,
    name: String,
    revision: u64,
    since: Instant,
    /// Once it takes part.
    endpoint: Option<Endpoint>,
    /// Why its code cannot be loaded.
    failed: Option<String>,
    is_leaving: bool,
}

/// New code on its way.
struct Change {
    to: Arc<Revision>,
    done: oneshot::Sender<Result<(), String>>,
}

impl Pods {
    fn hear(&mut self, event: Event) {
        match event {
            Event::News(number, News::Said(said)) => self.said(number, said),
            Event::News(number, News::Ended(status)) => self.ended(number, status),
            Event::Fill => self.fill(),
            Event::Replace(class, done) => self.replace(class, done),
            Event::End => {
                self.is_ending = true;
                self.pods.values_mut().for_each(|pod| pod.process.stop());
            }
            Event::Kill => self.pods.values().for_each(|pod| pod.process.kill()),
        }
        self.go_on();
    }

    fn said(&mut self, number: u64, said: Said) {
        let Some(pod) = self.pods.get_mut(&number) else {
            return;
        };
        match said {
            Said::Failed { why } => pod.failed = Some(why),
            Said::Ready { http, admin } => {
                tracing::info!(pod = pod.name, %http, %admin, "a pod takes part");
                pod.endpoint = Some(Endpoint {
                    pod: pod.name.clone(),
                    http,
                    admin,
                });
                self.publish();
            }
        }
    }

    fn ended(&mut self, number: u64, status: std::io::Result<ExitStatus>) {
        let Some(pod) = self.pods.remove(&number) else {
            return;
        };
        self.publish();
        if self.is_ending || pod.is_leaving {
            return;
        }
        let how = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let of_change = (self.change.as_ref()).is_some_and(|it| it.to.number == pod.revision);
        if of_change && pod.revision != self.revision.number {
            let why = pod.failed.unwrap_or(format!("{} ended: {how}", pod.name));
            self.give_up(why);
            return;
        }
        if pod.since.elapsed() > SOUND {
            self.failures = 0;
        }
        let pause = Duration::from_millis(BACKOFF.delay_ms(self.failures));
        self.failures += 1;
        eprintln!(
            "portside: {} ended ({how}): another one takes its place in {} ms",
            pod.name,
            pause.as_millis()
        );
        self.fill_after(pause);
    }

    fn fill_after(&self, pause: Duration) {
        let events = self.events.clone();
        tokio::spawn(async move {
            sleep(pause).await;
            // It ends.
            let _ = events.send(Event::Fill);
        });
    }

    /// Starts the pods of the present code that are missing.
    fn fill(&mut self) {
        let revision = self.revision.clone();
        self.start_missing(&revision, false);
    }

    fn start_missing(&mut self, revision: &Arc<Revision>, must_load: bool) {
        let is_of = |pod: &&Pod| pod.revision == revision.number && !pod.is_leaving;
        let there = self.pods.values().filter(is_of).count();
        for _ in there..self.count {
            if self.is_ending {
                return;
            }
            if let Err(error) = self.start_pod(revision, must_load) {
                eprintln!("portside: a pod cannot be started: {error}");
                self.fill_after(Duration::from_millis(BACKOFF.max_ms));
                return;
            }
        }
    }

    fn start_pod(&mut self, revision: &Revision, must_load: bool) -> std::io::Result<()> {
        let number = self.started + 1;
        let name = format!("pod-{number}");
        let start = (self.common).of_pod(name, revision.number, &revision.code, must_load);
        let events = self.events.clone();
        let process = Process::start(&start, move |news| {
            // It ends.
            let _ = events.send(Event::News(number, news));
        })?;
        self.started = number;
        let pod = Pod {
            process,
            name: start.pod,
            revision: revision.number,
            since: Instant::now(),
            endpoint: None,
            failed: None,
            is_leaving: false,
        };
        self.pods.insert(number, pod);
        Ok(())
    }

    fn replace(&mut self, class: Class, done: oneshot::Sender<Result<(), String>>) {
        let to = match Revision::of(class, self.revision.number) {
            Ok(to) => to,
            Err(why) => {
                // Whoever asked may be gone.
                let _ = done.send(Err(format!("{why:#}")));
                return;
            }
        };
        self.change = Some(Change {
            to: to.clone(),
            done,
        });
        self.start_missing(&to, true);
    }

    /// The new code is not taken, and its pods end.
    fn give_up(&mut self, why: String) {
        let Some(change) = self.change.take() else {
            return;
        };
        for pod in self.pods.values_mut() {
            if pod.revision == change.to.number {
                pod.is_leaving = true;
                pod.process.leave();
            }
        }
        // Whoever asked may be gone.
        let _ = change.done.send(Err(why));
    }

    /// Takes the next step of a change, if it is due.
    fn go_on(&mut self) {
        let Some(change) = &self.change else { return };
        let to = change.to.clone();
        let is_ready = |pod: &&Pod| pod.revision == to.number && pod.endpoint.is_some();
        if self.revision.number != to.number {
            if self.pods.values().filter(is_ready).count() < self.count {
                return;
            }
            self.revision = to.clone();
            for pod in self.pods.values_mut() {
                if pod.revision != to.number {
                    pod.is_leaving = true;
                    pod.process.leave();
                }
            }
            self.publish();
        }
        if self.pods.values().all(|pod| pod.revision == to.number)
            && let Some(change) = self.change.take()
        {
            // Whoever asked may be gone.
            let _ = change.done.send(Ok(()));
        }
    }

    /// Tells the gateway which pods there are.
    fn publish(&self) {
        let endpoints = self.pods.values().filter_map(|pod| pod.endpoint.clone());
        let endpoints: BTreeSet<Endpoint> = endpoints.collect();
        let ready = endpoints.iter().map(|endpoint| endpoint.http).collect();
        let timeout = self.revision.class.limits.request;
        self.gateway.apply(topology(endpoints, timeout));
        self.ready.send_replace(ready);
    }
}
