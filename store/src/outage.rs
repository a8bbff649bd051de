//! Saying once that the database fails, and once that it works again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, Measures, Result};

/// What has not failed for this long works again: one statement may succeed among many that do not.
const QUIET: Duration = Duration::from_secs(5);

/// Whether a database fails. Its lines in the log are few however many workers there are, and however often each asks.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    failing: Mutex<Option<Failing>>,
    failed: AtomicU64,
    incompatible: AtomicU64,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    last: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Begun,
    Ended { after: Duration },
}

impl Outage {
    /// Notes what came of a call to the database, and hands it on.
    pub fn saw<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.count(error);
        }
        match (self.change(&result, Instant::now()), &result) {
            (Some(Change::Begun), Err(error)) => tracing::error!("{error}"),
            (Some(Change::Ended { after }), _) => {
                tracing::warn!("storage: works again after {} s", after.as_secs());
            }
            _ => {}
        }
        result
    }

    fn count(&self, error: &Error) {
        let counter = match error {
            Error::Database(_) => &self.failed,
            Error::Incompatible(_) => &self.incompatible,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls have failed.
    pub fn measures(&self) -> Measures {
        Measures {
            failed: self.failed.load(Ordering::Relaxed),
            incompatible: self.incompatible.load(Ordering::Relaxed),
            connections: vec![],
        }
    }

    #[cfg(test)]
    pub fn is_failing(&self) -> bool {
        self.failing.lock().unwrap().is_some()
    }

    fn change<T>(&self, result: &Result<T>, now: Instant) -> Option<Change> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match (result, failing.as_mut()) {
            (Err(Error::Database(_)), None) => {
                let (since, last) = (now, now);
                *failing = Some(Failing { since, last });
                Some(Change::Begun)
            }
            (Err(Error::Database(_)), Some(failing)) => {
                failing.last = now;
                None
            }
            (Ok(_), Some(Failing { since, last })) if now.duration_since(*last) >= QUIET => {
                let after = now.duration_since(*since);
                *failing = None;
                Some(Change::Ended { after })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_and_ends_once() {
        let outage = Outage::default();
        let start = Instant::now();
        let failed = || Err::<(), _>(Error::Database("gone".into()));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(outage.change(&Ok(()), at(0)), None);
        assert_eq!(outage.change(&failed(), at(1)), Some(Change::Begun));
        assert_eq!(outage.change(&failed(), at(2)), None);
        assert_eq!(outage.change(&Ok(()), at(3)), None);
        assert_eq!(outage.change(&failed(), at(4)), None);
        assert_eq!(outage.change(&Ok(()), at(8)), None);
        let after = Duration::from_secs(8);
        assert_eq!(outage.change(&Ok(()), at(9)), Some(Change::Ended { after }));
        assert_eq!(outage.change(&Ok(()), at(20)), None);
        assert_eq!(outage.change(&failed(), at(21)), Some(Change::Begun));
    }

    #[test]
    fn each_error_is_counted() {
        let outage = Outage::default();
        let _ = outage.saw(Err::<(), _>(Error::Database("gone".into())));
        let _ = outage.saw(Err::<(), _>(Error::Database("gone".into())));
        let _ = outage.saw(Err::<(), _>(Error::Incompatible("newer".into())));
        let _ = outage.saw(Ok(()));
        let measures = outage.measures();
        assert_eq!((measures.failed, measures.incompatible), (2, 1));
    }
}
