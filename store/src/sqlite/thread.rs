//! Threads that own connections to SQLite, which blocks: the runtime's threads must not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{Error, Result};

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Threads that share a queue, each with a connection of its own.
///
/// Dropping them waits until all that was asked is done and the connections are closed.
#[derive(Debug)]
pub(super) struct Threads {
    /// There until it is dropped, which ends the threads.
    queue: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    patience: Duration,
    /// Which file: errors begin with it.
    file: Arc<str>,
}

impl Threads {
    /// Starts a thread for each connection to `file`. What has waited for its turn longer than `patience` is refused then.
    pub fn start(
        name: &str,
        file: &Path,
        connections: Vec<Connection>,
        patience: Duration,
    ) -> Result<Self> {
        let (queue, jobs) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let start = |connection| {
            let jobs = jobs.clone();
            let thread = Builder::new().name(name.to_owned());
            thread
                .spawn(move || run(connection, &jobs))
                .map_err(|error| Error::Database(format!("cannot start a thread: {error}")))
        };
        Ok(Self {
            threads: connections.into_iter().map(start).collect::<Result<_>>()?,
            queue: Some(queue),
            patience,
            file: file.display().to_string().into(),
        })
    }

    /// Has `work` done by the next thread that is free. Calls to a single thread are done in their order.
    ///
    /// Work that has been asked for is done even if nobody waits for its answer any more. Work that panics is an error,
    /// and harms no other. A transaction that work leaves open, however it ended, is undone.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let (asked, patience) = (Instant::now(), self.patience);
        let job: Job = Box::new(move |connection| {
            let result = if asked.elapsed() > patience {
                Err(busy(patience))
            } else {
                let done = catch_unwind(AssertUnwindSafe(|| work(connection)));
                let done = done.unwrap_or_else(|_| Err(panicked()));
                end_transaction(connection).and(done)
            };
            // Nobody may be waiting any more.
            let _ = answer.send(result);
        });
        if let Some(queue) = &self.queue {
            // A refused job is dropped, and so answered.
            let _ = queue.send(job);
        }
        let result = answered.await.unwrap_or_else(|_| Err(ended()));
        result.map_err(|error| match error {
            Error::Database(why) => Error::Database(format!("{}: {why}", self.file)),
            other => other,
        })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // Unless the last user of the store was a waker that a thread of ours called.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn run(mut connection: Connection, jobs: &Mutex<Receiver<Job>>) {
    loop {
        // Whoever waits for the next job holds the lock, and lets go of it before the work.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else {
            return;
        };
        job(&mut connection);
    }
}

/// Nothing of a transaction may be left for the next call, which would fail to begin its own.
///
/// What was to be written was not if it is still open; so its end is the caller's error, too.
fn end_transaction(connection: &Connection) -> Result<()> {
    if connection.is_autocommit() {
        return Ok(());
    }
    connection.execute_batch("ROLLBACK")?;
    Err(Error::Database(
        "a transaction was left open, and undone: a fault of this program".into(),
    ))
}

fn busy(patience: Duration) -> Error {
    Error::Database(format!(
        "the database had no time for this within {} s; \
         the disk is slow, or another program has locked the database file",
        patience.as_secs()
    ))
}

fn panicked() -> Error {
    Error::Database(
        "the database's thread panicked at this, which is a fault of this program: its log says where"
            .into(),
    )
}

fn ended() -> Error {
    Error::Database("the database's thread has ended: restart this process".into())
}

#[cfg(test)]
mod tests;
