//! What tests use to meet a running Portside as its users do: HTTP and WebSocket clients, and a browser.
//!
//! Everything here panics when what a test needs does not happen, unless its name begins with `try_`.
#![allow(
    clippy::unwrap_used,
    reason = "this is test code: a panic is how a test fails"
)]

mod browser;
mod client;

pub use browser::{Browser, Tab};
pub use client::{Failed, Reply, Site, Socket};

use std::time::Duration;

/// How long anything that must happen may take. Generous: it bounds failures, not successes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `probe` until it answers `Some`.
///
/// # Panics
/// When it has not after [`PATIENCE`]; `what` says what was waited for.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = probe().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(what, asking).await
}

/// The future's output.
///
/// # Panics
/// When it is not there after [`PATIENCE`]; `what` says what was waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}
