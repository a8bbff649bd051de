//! `portside workers`

use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use futures::TryStreamExt;
use http::Method;
use portside_manage::{Before, Event, MOST_KEYS, Move, Moved, State, Worker, Workers};
use serde::Serialize;

use crate::output::printable;
use crate::{Common, Target, block_on};

/// Arguments of `portside workers`.
#[derive(clap::Args)]
#[command(after_help = "\
A worker is SCRIPT#NAME, a Durable Object CLASS#NAME or CLASS#ID, and either its ID of 32 hexadecimal digits.

Examples:
  portside workers list --state awake
  portside workers list --watch
  portside workers get room.js#lobby -o yaml
  portside workers sleep 'Room#lobby'")]
pub struct Args<T: Target> {
    #[command(flatten)]
    common: Common<T>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the workers and Durable Objects that are stored or awake
    ///
    /// Example: portside workers list --script room.js
    List {
        /// Only those in this state
        #[arg(long, value_enum)]
        state: Option<Wanted>,
        /// Only those of this script
        #[arg(long, value_name = "PATH")]
        script: Option<String>,
        /// Go on with each that wakes, goes to sleep, comes or goes
        #[arg(short, long)]
        watch: bool,
    },
    /// Show one
    ///
    /// Example: portside workers get 'Room#lobby' -o json
    Get {
        /// Which
        worker: String,
    },
    /// Start an instance of one that sleeps
    ///
    /// Example: portside workers wake room.js#lobby
    Wake {
        /// Which
        worker: String,
    },
    /// End the instance of one that is awake, once what it wrote is durable; its ports and WebSockets are closed
    ///
    /// Example: portside workers sleep room.js#lobby
    Sleep {
        /// Which
        worker: String,
    },
    /// Move one to another pod, which takes it on as soon as what it is doing is done; what is sent to it meanwhile waits
    ///
    /// All workers of its shard move along. They stay there until pods come or go.
    ///
    /// Example: portside workers move room.js#lobby --to pod-2
    Move {
        /// Which
        worker: String,
        /// The pod that is to have it; else the one of the others that has the fewest
        #[arg(long, value_name = "POD")]
        to: Option<String>,
    },
    /// Delete everything that one has stored, its alarm too; if it is awake its instance ends first
    ///
    /// Example: portside workers delete room.js#lobby
    Delete {
        /// Which
        worker: String,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Wanted {
    /// It has an instance
    Awake,
    /// It has none
    Asleep,
}

/// One of those that a watch goes on with, for programs.
#[derive(Serialize)]
struct Next<'w> {
    #[serde(flatten)]
    worker: &'w Worker,
    /// Whether it is neither stored nor awake any more: what else is said is what it was.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gone: bool,
}

impl<T: Target> Args<T> {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            match &self.verb {
                Verb::List {
                    state,
                    script,
                    watch,
                } => {
                    let wanted = (*state, script.as_deref());
                    match watch {
                        true => self.watch(wanted).await,
                        false => self.list(wanted).await,
                    }
                }
                Verb::Get { worker } => {
                    let worker: Worker = self
                        .common
                        .client()
                        .await?
                        .get(&["workers", worker], &[])
                        .await?;
                    let rows = || vec![header(), row(&worker)];
                    self.common.output.write(&worker, rows)
                }
                Verb::Wake { worker } => {
                    let path = ["workers", worker, "wake"];
                    self.order(&Method::POST, &path, "woken").await
                }
                Verb::Sleep { worker } => {
                    let path = ["workers", worker, "sleep"];
                    self.order(&Method::POST, &path, "put to sleep").await
                }
                Verb::Move { worker, to } => {
                    let (path, to) = (["workers", worker, "move"], Move { pod: to.clone() });
                    let moved: Moved = self.common.client().await?.ask(&path, &to).await?;
                    let (worker, pod) = (printable(worker), printable(&moved.pod));
                    writeln!(std::io::stdout(), "{worker} moved to {pod}")?;
                    Ok(())
                }
                Verb::Delete { worker } => {
                    let path = ["workers", worker];
                    self.order(&Method::DELETE, &path, "deleted").await
                }
            }
        })
    }

    /// Lists them, and goes on until the application ends.
    async fn watch(&self, wanted: (Option<Wanted>, Option<&str>)) -> anyhow::Result<()> {
        // Before the list: nothing happens unseen between the two.
        let events = self.common.client().await?.lines(&["events"], &[]).await?;
        let mut events = pin!(events);
        self.list(wanted).await?;
        while let Some(line) = events.try_next().await? {
            // What it does not know a later version says.
            let Ok(Event::Change {
                worker,
                gone,
                before,
                ..
            }) = serde_json::from_slice(&line)
            else {
                continue;
            };
            // Also one that was wanted until now.
            let was = match before {
                Before::Awake => Some(State::Awake),
                Before::Asleep => Some(State::Asleep),
                Before::Absent => None,
            };
            let is_wanted = |state| is_wanted(&worker, state, wanted);
            if was.is_some_and(is_wanted) || is_wanted(worker.state) {
                let next = Next {
                    worker: &worker,
                    gone,
                };
                self.common.output.write_next(&next, || {
                    let mut row = row(&worker);
                    if gone {
                        "gone".clone_into(&mut row[1]);
                    }
                    row
                })?;
            }
        }
        anyhow::bail!("the application has ended")
    }

    async fn list(&self, (state, script): (Option<Wanted>, Option<&str>)) -> anyhow::Result<()> {
        let client = self.common.client().await?;
        let state = state.map(|state| match state {
            Wanted::Awake => "awake",
            Wanted::Asleep => "asleep",
        });
        let state = state.map(|state| ("state", state));
        let script = script.map(|script| ("script", script));
        let query: Vec<_> = state.into_iter().chain(script).collect();
        let all: Workers = client.list(&["workers"], &query).await?;
        if all.items.is_empty() {
            eprintln!("there are no such workers");
        }
        self.common.output.write(&all, || {
            let rows = all.items.iter().map(row);
            [header()].into_iter().chain(rows).collect()
        })
    }

    /// Has something done with a worker, and says so, as kubectl does.
    async fn order(&self, method: &Method, path: &[&str], done: &str) -> anyhow::Result<()> {
        self.common
            .client()
            .await?
            .order(method, path, &[], None)
            .await?;
        writeln!(std::io::stdout(), "{} {done}", printable(path[1]))?;
        Ok(())
    }
}

/// Whether a worker would be listed in that state.
fn is_wanted(worker: &Worker, its: State, (state, script): (Option<Wanted>, Option<&str>)) -> bool {
    let is_in_state = match state {
        None => true,
        Some(Wanted::Awake) => its == State::Awake,
        Some(Wanted::Asleep) => its == State::Asleep,
    };
    is_in_state && script.is_none_or(|script| worker.script.as_deref() == Some(script))
}

fn header() -> Vec<String> {
    [
        "WORKER", "STATE", "POD", "SINCE", "ALARM", "KEYS", "BYTES", "ID",
    ]
    .map(String::from)
    .to_vec()
}

fn row(worker: &Worker) -> Vec<String> {
    let keys = match worker.keys {
        Some(MOST_KEYS) => format!("{MOST_KEYS}+"),
        Some(keys) => keys.to_string(),
        None => "-".to_owned(),
    };
    let or_none = |text: Option<&String>| text.map_or("-", String::as_str).to_owned();
    vec![
        printable(&worker.address),
        match worker.state {
            State::Awake => "awake".to_owned(),
            State::Asleep => "asleep".to_owned(),
        },
        worker.pod.as_deref().map_or("-".to_owned(), printable),
        or_none(worker.awake_since.as_ref()),
        or_none(worker.alarm.as_ref().map(|alarm| &alarm.due)),
        keys,
        worker.bytes.to_string(),
        worker.id.clone(),
    ]
}
