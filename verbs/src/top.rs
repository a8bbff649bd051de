//! `portside top`

use std::cmp::Reverse;
use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use portside_manage::{Page, Usage};

use crate::output::printable;
use crate::seen::Seen;
use crate::{Client, Common, Scope, Target, block_on};

/// Arguments of `portside top`.
#[derive(clap::Args)]
#[command(after_help = "\
MEMORY is that of a worker's isolate, as of its last collection of garbage; RUN is for how long its JavaScript has run; EVENTS are requests, messages and
alarms that it took: both since it woke. A Durable Object shares the isolate of a server with others, and has neither MEMORY nor RUN.

Examples:
  portside top
  portside top --sort-by run --within 10
  portside top --all --sort-by bytes --limit 5 -o json")]
pub struct Args<T: Target> {
    #[command(flatten)]
    common: Common<T>,
    #[command(flatten)]
    scope: T::Scope,
    /// Those first that have most of this
    #[arg(long, value_enum, default_value_t)]
    sort_by: By,
    /// So many
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = at_least_one)]
    limit: usize,
    /// Also those that sleep: they have KEYS and BYTES only
    #[arg(long)]
    all: bool,
    /// How long they run, and what they take, in the next so many seconds, instead of since they woke
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    within: Option<u64>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1 on is wanted".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// What to sort by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum By {
    /// The memory of the isolate
    #[default]
    Memory,
    /// For how long its JavaScript ran
    #[value(alias = "cpu")]
    Run,
    /// What it took: requests, messages and alarms
    #[value(alias = "requests")]
    Events,
    /// Keys that are stored
    Keys,
    /// Bytes that are stored
    Bytes,
}

/// What was used when it was first looked at, by workers and since when they are awake.
type Before = HashMap<(String, Option<String>), Usage>;

impl<T: Target> Args<T> {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            let client = self.common.client().await?;
            let before = match self.within {
                None => Before::new(),
                Some(seconds) => {
                    let before = self.used(&client).await?;
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    before
                }
            };
            let (items, found) = self.most(&client, &before).await?;
            match found {
                0 if self.all => eprintln!("there are no such workers"),
                0 => eprintln!("no such worker is awake; --all shows those that sleep"),
                found if found > items.len() => {
                    eprintln!("{} more are left out: see --limit", found - items.len());
                }
                _ => {}
            }
            let all = Page { items, next: None };
            self.common.output.write(&all, || {
                let rows = all.items.iter().map(row);
                [header()].into_iter().chain(rows).collect()
            })
        })
    }

    fn query(&self) -> Vec<(&'static str, &str)> {
        let awake = (!self.all).then_some(("state", "awake"));
        let scope = self.scope.query().into_iter();
        awake.into_iter().chain(scope).collect()
    }

    /// What they have used so far.
    async fn used(&self, client: &Client) -> anyhow::Result<Before> {
        let mut before = Before::new();
        let take = |workers: Vec<Seen>| {
            let used = workers.into_iter().filter_map(|seen| {
                let usage = seen.worker.usage?;
                Some(((seen.key().to_owned(), seen.worker.awake_since), usage))
            });
            before.extend(used);
        };
        client.each_page(&["workers"], &self.query(), take).await?;
        Ok(before)
    }

    /// Those that use most, and how many there are.
    async fn most(&self, client: &Client, before: &Before) -> anyhow::Result<(Vec<Seen>, usize)> {
        let (mut most, mut found) = (Vec::new(), 0);
        let take = |workers: Vec<Seen>| {
            found += workers.len();
            most.extend(workers.into_iter().map(|seen| since(seen, before)));
            // No more is kept than is shown, however many there are.
            most.sort_by_cached_key(|seen| (Reverse(self.sort_by.of(seen)), seen.key().to_owned()));
            most.truncate(self.limit);
        };
        client.each_page(&["workers"], &self.query(), take).await?;
        Ok((most, found))
    }
}

/// With what it has used since then, if it has been awake all the time.
fn since(mut seen: Seen, before: &Before) -> Seen {
    let known = (seen.key().to_owned(), seen.worker.awake_since.clone());
    if let (Some(now), Some(before)) = (&mut seen.worker.usage, before.get(&known)) {
        now.events = now.events.saturating_sub(before.events);
        let ran = now.run_millis.zip(before.run_millis);
        now.run_millis = ran.map(|(now, before)| now.saturating_sub(before));
    }
    seen
}

impl By {
    /// How much of it a worker has.
    fn of(self, seen: &Seen) -> Option<u64> {
        let (worker, usage) = (&seen.worker, seen.worker.usage);
        match self {
            Self::Memory => usage?.memory_bytes,
            Self::Run => usage?.run_millis,
            Self::Events => usage.map(|it| it.events),
            Self::Keys => worker.keys,
            Self::Bytes => Some(worker.bytes),
        }
    }
}

fn header() -> Vec<String> {
    [
        "WORKER", "MEMORY", "RUN", "EVENTS", "KEYS", "BYTES", "POD", "ID",
    ]
    .map(String::from)
    .to_vec()
}

fn row(seen: &Seen) -> Vec<String> {
    let worker = &seen.worker;
    let usage = worker.usage.unwrap_or_default();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let seconds = |millis: u64| format!("{}.{:03}s", millis / 1000, millis % 1000);
    vec![
        printable(&worker.address),
        or_none(usage.memory_bytes.map(mebibytes)),
        or_none(usage.run_millis.map(seconds)),
        or_none(worker.usage.map(|it| it.events.to_string())),
        or_none(worker.keys.map(|it| it.to_string())),
        worker.bytes.to_string(),
        or_none(worker.pod.as_deref().map(printable)),
        printable(seen.key()),
    ]
}

/// With one digit behind the point: isolates are of a few.
fn mebibytes(bytes: u64) -> String {
    let tenths = (bytes * 10).div_ceil(1 << 20);
    format!("{}.{}Mi", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(name: &str, usage: serde_json::Value, bytes: u64) -> Seen {
        let worker = json!({
            "id": name, "address": name, "state": "awake", "awakeSince": "t", "usage": usage, "bytes": bytes,
        });
        serde_json::from_value(worker).unwrap()
    }

    #[test]
    fn what_is_not_known_comes_last() {
        let busy = seen(
            "a",
            json!({"memoryBytes": 1, "runMillis": 9, "events": 1}),
            5,
        );
        let large = seen(
            "b",
            json!({"memoryBytes": 2, "runMillis": 8, "events": 2}),
            1,
        );
        let object = seen("c", json!({"events": 3}), 9);
        let first = |by: By| {
            let mut all = [&busy, &large, &object];
            all.sort_by_key(|seen| Reverse(by.of(seen)));
            all.map(|seen| seen.worker.id.as_str()).concat()
        };
        assert_eq!(first(By::Memory), "bac");
        assert_eq!(first(By::Run), "abc");
        assert_eq!(first(By::Events), "cba");
        assert_eq!(first(By::Bytes), "cab");
    }

    #[test]
    fn what_was_used_before_does_not_count() {
        let then = seen(
            "a",
            json!({"memoryBytes": 1, "runMillis": 5, "events": 7}),
            0,
        );
        let now = seen(
            "a",
            json!({"memoryBytes": 4, "runMillis": 9, "events": 8}),
            0,
        );
        let key = (then.key().to_owned(), then.worker.awake_since.clone());
        let before = Before::from([(key, then.worker.usage.unwrap())]);
        let usage = since(now.clone(), &before).worker.usage.unwrap();
        assert_eq!(
            (usage.memory_bytes, usage.run_millis, usage.events),
            (Some(4), Some(4), 1)
        );
        // It woke anew.
        let mut anew = now;
        anew.worker.awake_since = Some("later".to_owned());
        assert_eq!(since(anew, &before).worker.usage.unwrap().events, 8);
    }

    #[test]
    fn rows_are_for_people() {
        let usage = json!({"memoryBytes": 1_310_720, "runMillis": 1_050, "events": 3});
        let cells = row(&seen("a", usage, 7));
        assert_eq!(cells, ["a", "1.3Mi", "1.050s", "3", "-", "7", "-", "a"]);
    }
}
