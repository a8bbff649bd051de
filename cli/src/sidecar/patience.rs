//! Waiting for what a pod needs and somebody else provides: a Secret's key, the database.
//!
//! The kubelet learns why a container ended only when it has, and then starts it ever more slowly, after five minutes in
//! the end. So a pod ends once to say what is missing; started again, it waits for just that, and is there at once when
//! it comes.

use std::path::Path;
use std::time::Duration;

use portside_admin::Readiness;
use portside_crds::sidecar::TerminationReason as Reason;

use super::failure::Failure;

/// How a container waits.
#[derive(Clone, Copy)]
pub struct Patience<'p> {
    /// What the container before this one has said to be missing when it ended: a file that outlives containers, but not the pod.
    pub told: &'p Path,
    /// Between two tries.
    pub pause: Duration,
    /// Says what is waited for.
    pub readiness: &'p Readiness,
}

impl Patience<'_> {
    /// Tries until `attempt` succeeds, or fails otherwise than the container before this one did.
    pub async fn until<T>(
        self,
        attempt: impl AsyncFn() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let told = std::fs::read_to_string(self.told).ok();
        let mut waits_for = None;
        let outcome = loop {
            let termination = match attempt().await {
                Err(Failure::Start(termination)) => termination,
                outcome => break outcome,
            };
            let now = termination.to_log();
            if told.as_deref() != Some(&*now) || termination.reason.is_final() {
                self.tell(&now);
                break Err(Failure::Start(termination));
            }
            if waits_for.is_none() {
                // The kubelet knows the last end alone. If this container ends in another way, the next one has to tell it again.
                let _ = std::fs::remove_file(self.told);
            }
            tracing::info!(reason = termination.message, "waiting");
            let what = missing(termination.reason);
            self.readiness.wait_for(what);
            waits_for = Some(what);
            tokio::time::sleep(self.pause).await;
        };
        if let Some(what) = waits_for {
            self.readiness.done(what);
        }
        outcome
    }

    /// Lets the next container know what this one's end tells.
    fn tell(self, what: &str) {
        if let Err(error) = std::fs::write(self.told, what) {
            tracing::warn!(%error, file = %self.told.display(), "cannot be written: the next container ends, too");
        }
    }
}

/// What is missing, as probes tell it.
const fn missing(reason: Reason) -> &'static str {
    match reason {
        Reason::CodePullFailed => "the code's artifact (CodePullFailed)",
        Reason::EnvMissing => "a value of the env (EnvMissing)",
        Reason::DatabaseMissing => "the database's URL (DatabaseMissing)",
        Reason::DatabaseCaMissing => "the database's certificate authority (DatabaseMissing)",
        Reason::DatabaseUnavailable => "the database (DatabaseUnavailable)",
        // Nobody waits for these.
        Reason::CodeDigestMismatch
        | Reason::CodeInvalid
        | Reason::CodeFailed
        | Reason::DatabaseIncompatible
        | Reason::ClassInvalid => "another class",
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn what_was_told_is_waited_for_and_what_is_new_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let told = dir.path().join("told");
        let readiness = Readiness::default();
        let patience = Patience {
            told: &told,
            pause: Duration::from_millis(1),
            readiness: &readiness,
        };
        let (tries, waits) = (Cell::new(0), Cell::new(0));
        let missing_until = async |enough: u32, reason: Reason, what: &str| {
            tries.set(0);
            waits.set(0);
            let attempt = async || {
                tries.set(tries.get() + 1);
                if readiness.missing() == ["a value of the env (EnvMissing)"] {
                    waits.set(waits.get() + 1);
                }
                if tries.get() < enough {
                    Err(Failure::new(reason, what))
                } else {
                    Ok(())
                }
            };
            patience.until(attempt).await.is_ok()
        };
        // Told once, then waited for.
        assert!(!missing_until(9, Reason::EnvMissing, "A").await);
        assert_eq!(tries.get(), 1);
        assert!(missing_until(9, Reason::EnvMissing, "A").await);
        assert_eq!((tries.get(), waits.get()), (9, 8));
        assert!(readiness.missing().is_empty());
        // A container that waited, and ended in another way: what it waited for is told again, once.
        assert!(!missing_until(9, Reason::EnvMissing, "A").await);
        let waiting = missing_until(u32::MAX, Reason::EnvMissing, "A");
        let ended = tokio::time::timeout(Duration::from_millis(20), waiting).await;
        assert!(ended.is_err() && tries.get() > 1);
        assert!(!missing_until(9, Reason::EnvMissing, "A").await);
        assert_eq!(tries.get(), 1);
        // Something else is told first.
        assert!(!missing_until(9, Reason::EnvMissing, "B").await);
        assert_eq!(tries.get(), 1);
        // Nobody waits for code to become sound.
        assert!(!missing_until(9, Reason::CodeInvalid, "C").await);
        assert!(!missing_until(9, Reason::CodeInvalid, "C").await);
        assert_eq!(tries.get(), 1);
    }
}
