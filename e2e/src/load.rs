//! Clients that never stop, and remember what they were told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use portside_testkit::Site;
use tokio::task::JoinHandle;

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
    clients: Vec<JoinHandle<Told>>,
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
        let clients = (0..clients)
            .map(|client| tokio::spawn(write(site.clone(), client, Arc::clone(&stop))))
            .collect();
        Self {
            site: site.clone(),
            stop,
            clients,
        }
    }

    /// Ends the clients, and checks that no entry is missing that was confirmed.
    ///
    /// # Panics
    /// When one is.
    pub async fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcome = Outcome {
            confirmed: 0,
            failures: Vec::new(),
            slowest: Duration::ZERO,
            versions: BTreeSet::new(),
        };
        for (client, task) in self.clients.into_iter().enumerate() {
            let told = task.await.unwrap();
            let kept = entries(&self.site, &ledger(client)).await;
            let lost: Vec<_> = told
                .confirmed
                .iter()
                .filter(|&entry| !kept.contains(entry))
                .collect();
            assert!(
                lost.is_empty(),
                "client {client} lost confirmed entries: {lost:?}"
            );
            outcome.confirmed += told.confirmed.len();
            outcome.failures.extend(told.failures);
            outcome.slowest = outcome.slowest.max(told.slowest);
            outcome.versions.extend(told.versions);
        }
        outcome
    }
}

impl Outcome {
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

/// The entries of a ledger.
pub async fn entries(site: &Site, path: &str) -> BTreeSet<String> {
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

async fn write(site: Site, client: usize, stop: Arc<AtomicBool>) -> Told {
    let mut told = Told::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let entry = format!("entry-{number}");
        let path = format!("{}?entry={entry}", ledger(client));
        let start = Instant::now();
        let asking = site.try_request(Method::POST, &path, &[], "");
        let outcome = tokio::time::timeout(Duration::from_secs(60), asking).await;
        let took = start.elapsed();
        told.slowest = told.slowest.max(took);
        match outcome {
            Ok(Ok(reply)) if reply.status == 200 => {
                let answer = reply.json();
                assert_eq!(
                    answer["added"],
                    entry.as_str(),
                    "an answer to another question"
                );
                told.versions
                    .insert(answer["version"].as_str().unwrap().to_owned());
                told.confirmed.push(entry);
            }
            Ok(Ok(reply)) => told.failures.push(format!(
                "{path} after {took:?}: {} {}",
                reply.status,
                reply.text()
            )),
            Ok(Err(error)) => told
                .failures
                .push(format!("{path} after {took:?}: {error}")),
            Err(_) => told.failures.push(format!("{path}: no answer in {took:?}")),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    told
}
