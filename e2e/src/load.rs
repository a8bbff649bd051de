//! Clients that never stop, and remember what they were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use portside_testkit::Site;
use tokio::task::JoinHandle;

use crate::cluster::until;

/// Counts the loads, so that no two write the same entry.
static LOADS: AtomicUsize = AtomicUsize::new(0);

/// What one client, which writes to a ledger of its own, was told.
#[derive(Debug, Default)]
struct Told {
    confirmed: Vec<String>,
    failures: Vec<String>,
    slowest: Duration,
    versions: BTreeSet<String>,
}

/// Clients that write entries to ledgers, one after the other.
#[derive(Debug)]
pub struct Load {
    site: Site,
    stop: Arc<AtomicBool>,
    clients: Vec<(Arc<AtomicUsize>, JoinHandle<Told>)>,
}

/// What all clients were told.
#[derive(Debug)]
pub struct Outcome {
    /// How many entries were confirmed.
    pub confirmed: usize,
    /// What did not succeed.
    pub failures: Vec<String>,
    /// The longest that an answer took.
    pub slowest: Duration,
    /// The versions that answered.
    pub versions: BTreeSet<String>,
}

impl Load {
    /// Starts so many clients, each with a ledger of its own.
    pub fn start(site: &Site, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let load = LOADS.fetch_add(1, Ordering::Relaxed);
        let client = |client| {
            let confirmed = Arc::<AtomicUsize>::default();
            let writer = Writer {
                site: site.clone(),
                ledger: ledger(client),
                load,
                confirmed: Arc::clone(&confirmed),
                stop: Arc::clone(&stop),
            };
            let writing = writer.write();
            (confirmed, tokio::spawn(writing))
        };
        Self {
            site: site.clone(),
            clients: (0..clients).map(client).collect(),
            stop,
        }
    }

    /// Waits until every client has had an answer to something that it asked after this, and returns how long that took.
    ///
    /// # Panics
    /// When one has none after `patience`.
    pub async fn goes_on(&self, patience: Duration) -> Duration {
        let start = Instant::now();
        let confirmed = || -> Vec<usize> {
            let counts = self.clients.iter().map(|(count, _)| count);
            counts.map(|count| count.load(Ordering::Relaxed)).collect()
        };
        let before = confirmed();
        until("every client to be answered", patience, async || {
            let now = confirmed();
            // What comes first may have been on its way already.
            if before
                .iter()
                .zip(&now)
                .all(|(before, now)| *now >= before + 2)
            {
                Ok(())
            } else {
                Err(format!("{now:?} after {before:?}"))
            }
        })
        .await;
        start.elapsed()
    }

    /// Ends the clients, and checks that no entry is missing that was confirmed, none is there twice, and that they are in the
    /// order in which they were confirmed.
    ///
    /// # Panics
    /// When it is not so.
    pub async fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcome = Outcome {
            confirmed: 0,
            failures: Vec::new(),
            slowest: Duration::ZERO,
            versions: BTreeSet::new(),
        };
        for (client, (_, task)) in self.clients.into_iter().enumerate() {
            let told = task.await.unwrap();
            let kept = entries(&self.site, &ledger(client)).await;
            if let Some(wrong) = wrong(&told.confirmed, &kept) {
                panic!("the ledger of client {client} {wrong}");
            }
            outcome.confirmed += told.confirmed.len();
            outcome.failures.extend(told.failures);
            outcome.slowest = outcome.slowest.max(told.slowest);
            outcome.versions.extend(told.versions);
        }
        let (failed, slowest) = (outcome.failures.len(), outcome.slowest);
        eprintln!(
            "{} writes, {failed} unknown, the slowest took {slowest:?}",
            outcome.confirmed
        );
        outcome
    }
}

/// What is wrong with a ledger, given what was confirmed to its one client in this order. What was not may be there or not.
fn wrong(confirmed: &[String], kept: &[String]) -> Option<String> {
    let mut places = BTreeMap::new();
    for (place, entry) in kept.iter().enumerate() {
        if places.insert(entry, place).is_some() {
            return Some(format!("has {entry} twice"));
        }
    }
    let mut last = None;
    for entry in confirmed {
        let place = places.get(entry);
        if place.is_none() {
            return Some(format!("lost {entry}, which was confirmed"));
        }
        if place <= last {
            return Some(format!("has {entry} before what was confirmed earlier"));
        }
        last = place;
    }
    None
}

impl Outcome {
    /// At most so many failed, for this reason: nobody knows what became of what was on its way.
    ///
    /// # Panics
    /// When more did.
    pub fn fails_at_most(&self, count: usize, why: &str) {
        let failures = &self.failures;
        assert!(failures.len() <= count, "{why}: {failures:#?}");
    }

    /// Nothing failed, and there was something to fail.
    ///
    /// # Panics
    /// When it is not so.
    pub fn flawless(&self) {
        assert!(
            self.failures.is_empty(),
            "requests failed: {:#?}",
            self.failures
        );
        assert!(
            self.confirmed > 20,
            "only {} requests in all",
            self.confirmed
        );
    }
}

/// The entries of a ledger, in the order in which they were added.
pub async fn entries(site: &Site, path: &str) -> Vec<String> {
    let reply = site.get(path).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_value(reply.json()["entries"].clone()).unwrap()
}

/// Adds one entry and expects its confirmation.
pub async fn add(site: &Site, path: &str, entry: &str) {
    let reply = site
        .request(Method::POST, &format!("{path}?entry={entry}"), &[], "")
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["added"], entry);
}

fn ledger(client: usize) -> String {
    format!("/client-{client}")
}

/// One client.
struct Writer {
    site: Site,
    ledger: String,
    /// Which load it is of.
    load: usize,
    confirmed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Writer {
    async fn write(self) -> Told {
        let mut told = Told::default();
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            self.add(format!("entry-{}-{number}", self.load), &mut told)
                .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        told
    }

    async fn add(&self, entry: String, told: &mut Told) {
        let path = format!("{}?entry={entry}", self.ledger);
        let start = Instant::now();
        let asking = self.site.try_request(Method::POST, &path, &[], "");
        let outcome = tokio::time::timeout(Duration::from_secs(60), asking).await;
        let took = start.elapsed();
        told.slowest = told.slowest.max(took);
        let failure = match outcome {
            Ok(Ok(reply)) if reply.status == 200 => {
                let answer = reply.json();
                let added = &answer["added"];
                assert_eq!(added, entry.as_str(), "an answer to another question");
                let version = answer["version"].as_str().unwrap().to_owned();
                told.versions.insert(version);
                told.confirmed.push(entry);
                self.confirmed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(Ok(reply)) => format!("after {took:?}: {} {}", reply.status, reply.text()),
            Ok(Err(error)) => format!("after {took:?}: {error}"),
            Err(_) => format!("no answer in {took:?}"),
        };
        told.failures.push(format!("{path} {failure}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_of(confirmed: &[&str], kept: &[&str]) -> Option<String> {
        let owned = |list: &[&str]| list.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        wrong(&owned(confirmed), &owned(kept))
    }

    #[test]
    fn what_is_lost_doubled_or_moved_is_found() {
        assert_eq!(wrong_of(&["a", "c"], &["a", "b", "c", "d"]), None);
        let lost = wrong_of(&["a", "c"], &["a", "b"]).unwrap();
        assert!(lost.starts_with("lost c"), "{lost}");
        let twice = wrong_of(&["a"], &["a", "b", "b"]).unwrap();
        assert!(twice.contains("b twice"), "{twice}");
        let moved = wrong_of(&["a", "b"], &["b", "a"]).unwrap();
        assert!(moved.contains("b before"), "{moved}");
    }
}
