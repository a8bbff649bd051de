//! Waiting for what a pod needs and somebody else provides: a Secret's key, the database.
//!
//! The kubelet learns why a container ended only when it has, and then starts it ever more slowly, after five minutes in
//! the end. So a pod ends once to say what is missing; started again, it waits for just that, and is there at once when
//! it comes.

use std::path::Path;
use std::time::Duration;

use super::failure::Failure;

/// Tries until `attempt` succeeds, or fails otherwise than the container before this one did, as `told` remembers: a
/// file that outlives containers, but not the pod. Between two tries `pause` passes.
pub async fn patiently<T>(
    told: &Path,
    pause: Duration,
    attempt: impl AsyncFn() -> Result<T, Failure>,
) -> Result<T, Failure> {
    loop {
        let failure = match attempt().await {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        let Failure::Start(termination) = &failure else {
            return Err(failure);
        };
        let now = termination.to_log();
        let is_known = std::fs::read_to_string(told).is_ok_and(|before| before == now);
        if termination.reason.is_final() || !is_known {
            if let Err(error) = std::fs::write(told, now) {
                tracing::warn!(%error, file = %told.display(), "cannot be written: the next container ends, too");
            }
            return Err(failure);
        }
        tracing::info!(reason = termination.message, "waiting");
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use portside_crds::sidecar::TerminationReason as Reason;

    use super::*;

    #[tokio::test]
    async fn what_was_told_is_waited_for_and_what_is_new_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let told = dir.path().join("told");
        let tries = Cell::new(0);
        let missing_until = async |enough: u32, reason: Reason, what: &str| {
            tries.set(0);
            let attempt = async || {
                tries.set(tries.get() + 1);
                if tries.get() < enough {
                    Err(Failure::new(reason, what))
                } else {
                    Ok(())
                }
            };
            patiently(&told, Duration::from_millis(1), attempt)
                .await
                .is_ok()
        };
        // Told once, then waited for.
        assert!(!missing_until(9, Reason::EnvMissing, "A").await);
        assert_eq!(tries.get(), 1);
        assert!(missing_until(9, Reason::EnvMissing, "A").await);
        assert_eq!(tries.get(), 9);
        // Something else is told first.
        assert!(!missing_until(9, Reason::EnvMissing, "B").await);
        assert_eq!(tries.get(), 1);
        // Nobody waits for code to become sound.
        assert!(!missing_until(9, Reason::CodeInvalid, "C").await);
        assert!(!missing_until(9, Reason::CodeInvalid, "C").await);
        assert_eq!(tries.get(), 1);
    }
}
