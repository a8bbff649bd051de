//! How Portside's programs look at a cluster: with a client that waits for nothing without end, and by watches of some namespaces, or of
//! all.

mod known;

pub use known::{Filling, Known, gathered, known};

use std::time::Duration;

use kube::runtime::watcher;
use kube::{Client, Config};

/// For how long nothing may come of an answer that has begun. Longer than a watch takes in which nothing happens.
const SILENCE: Duration = Duration::from_secs(60);

/// How long one watch takes, in seconds, before another one goes on from there: of a connection that died without a word nothing else
/// is heard. A watch gives up a few seconds after that.
const WATCH_SECONDS: u32 = 50;

/// The configuration of a client that waits for nothing without end.
///
/// # Errors
/// It cannot be found, or read.
pub async fn config() -> anyhow::Result<Config> {
    let mut config = Config::infer().await?;
    config.read_timeout = Some(SILENCE);
    Ok(config)
}

/// A client with [`config`].
///
/// # Errors
/// As of that.
pub async fn connect() -> anyhow::Result<Client> {
    Ok(Client::try_from(config().await?)?)
}

/// How everything is watched.
#[must_use]
pub fn watching() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}
