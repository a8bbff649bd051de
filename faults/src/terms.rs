//! What pods say of who is active, asked all the time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use hyper::Method;
use portside_crds::sidecar::SERVING_TERM;
use portside_testkit::Site;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The port of a pod that answers what it is.
pub const ADMIN_PORT: u16 = 7490;
const PATIENCE: Duration = Duration::from_millis(500);
const BETWEEN: Duration = Duration::from_millis(100);

/// What a pod said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its name.
    pub pod: String,
    /// Its term, if it says that it is active.
    pub active: Option<u64>,
}

/// Asks the pod at an address. `None` if it does not answer.
pub async fn ask(address: &str) -> Option<Said> {
    let site = Site::at(&format!("{address}:{ADMIN_PORT}"));
    let asking = site.try_request(Method::GET, "/ownership", &[], "");
    let reply = timeout(PATIENCE, asking).await.ok()?.ok()?;
    let said: Value = serde_json::from_str(reply.text()).ok()?;
    Some(Said {
        pod: said["pod"].as_str()?.to_owned(),
        active: if said["state"] == "active" {
            said["term"].as_u64()
        } else {
            None
        },
    })
}

/// Asks all pods, until it is dropped.
#[derive(Debug)]
pub struct Watching {
    terms: Arc<Mutex<Terms>>,
    task: JoinHandle<()>,
}

impl Watching {
    /// Asks those that there are at any time, by where they take requests.
    #[must_use]
    pub fn start(pods: watch::Receiver<Vec<Site>>) -> Self {
        let terms = Arc::new(Mutex::new(Terms::default()));
        let heard = terms.clone();
        let task = tokio::spawn(async move {
            loop {
                let pods = pods.borrow().clone();
                let asking = pods
                    .iter()
                    .filter_map(|pod| Some(ask(pod.address.split_once(':')?.0)));
                for said in join_all(asking).await.into_iter().flatten() {
                    heard
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .hear(&said);
                }
                sleep(BETWEEN).await;
            }
        });
        Self { terms, task }
    }

    /// What cannot be.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        self.terms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contradictions
            .clone()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who was active in which term.
#[derive(Debug, Default)]
struct Terms {
    owners: BTreeMap<u64, String>,
    contradictions: Vec<String>,
}

impl Terms {
    fn hear(&mut self, said: &Said) {
        // All that serve together say the same.
        let Some(term) = said.active.filter(|term| *term != SERVING_TERM) else {
            return;
        };
        let owner = self.owners.entry(term).or_insert_with(|| said.pod.clone());
        if *owner != said.pod {
            let message = format!(
                "{owner} and {} both say that they are active in term {term}",
                said.pod
            );
            if !self.contradictions.contains(&message) {
                self.contradictions.push(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_has_one_owner() {
        let mut terms = Terms::default();
        let mut hear = |pod: &str, active| {
            terms.hear(&Said {
                pod: pod.to_owned(),
                active,
            });
            terms.contradictions.len()
        };
        assert_eq!(hear("a", Some(1)), 0);
        assert_eq!(hear("b", None), 0);
        assert_eq!(hear("b", Some(2)), 0);
        assert_eq!(hear("a", Some(1)), 0, "it has not noticed yet");
        assert_eq!(hear("a", Some(2)), 1);
        assert_eq!(hear("a", Some(2)), 1, "said once");
    }
}
