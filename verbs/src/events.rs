//! `portside events`

use std::collections::HashMap;
use std::io::Write;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::bail;
use clap::builder::NonEmptyStringValueParser;
use futures::TryStreamExt;
use jiff::{Timestamp, Unit};
use portside_manage::{ADDRESSES, Before, State, parse_id};
use serde::{Deserialize, Serialize};

use crate::output::{Output, printable};
use crate::seen::Seen;
use crate::{Client, Common, Scope, Target, block_on};

/// Arguments of `portside events`.
#[derive(clap::Args)]
#[command(after_help = "\
What happens from now on: a worker Appeared, Woke, Slept, Moved to another pod, or was Deleted; or what it has stored Changed while it slept.
A worker that goes to another pod has Slept in the one and Woke in the other, or has Moved if nobody heard before that it sleeps.
The time is that at which it was heard of. In a cluster there are also the Events of Kubernetes of classes and what belongs to them, unless --worker is given.

Examples:
  portside events
  portside events --worker room.js#lobby -o json")]
pub struct Args<T: Target> {
    #[command(flatten)]
    common: Common<T>,
    #[command(flatten)]
    scope: T::Scope,
    /// Only what happens to this one, by its address or its ID
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    worker: Option<String>,
}

/// An Event of Kubernetes, among those of workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// In a word.
    pub reason: String,
    /// `Normal` or `Warning`.
    pub severity: String,
    /// Of what: `KIND/NAME`.
    pub about: String,
    /// What it says.
    pub message: String,
}

/// A line of what happens.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    /// See [`portside_manage::Event::Change`].
    Change {
        before: Before,
        worker: Box<Seen>,
        #[serde(default)]
        gone: bool,
        /// Whether nobody knows what it was before.
        #[serde(default)]
        guessed: bool,
    },
    /// Kubernetes tells something.
    Kubernetes(Told),
    /// What this version does not know.
    #[serde(other)]
    Other,
}

/// What is shown of one.
#[derive(Debug, Serialize)]
struct Happened {
    time: String,
    event: String,
    /// Where it was awake before, if that is elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<Box<Seen>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<Told>,
}

impl<T: Target> Args<T> {
    /// Goes on until the application ends.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            if let Some(worker) = &self.worker {
                must_be_a_worker(worker)?;
            }
            let client = self.common.client().await?;
            let kubernetes = T::IS_CLUSTER && self.worker.is_none();
            let kubernetes = kubernetes.then_some(("kubernetes", "true"));
            let query: Vec<_> = kubernetes.into_iter().chain(self.scope.query()).collect();
            let lines = client.lines(&["events"], &query).await?;
            let mut lines = pin!(lines);
            // Not before, so that none is missed.
            let mut awake = Awake::of(&client).await?;
            if self.common.output == Output::Table {
                writeln!(std::io::stdout(), "{}", cells("TIME", "EVENT", "WHAT", ""))?;
            }
            while let Some(line) = lines.try_next().await? {
                let Ok(line) = serde_json::from_slice(&line) else {
                    continue;
                };
                if let Some(happened) = self.chosen(awake.look(line)) {
                    self.common
                        .output
                        .write_next(&happened, || vec![happened.shown()])?;
                }
            }
            bail!("the application has ended")
        })
    }

    /// That, if it was asked for.
    fn chosen(&self, happened: Option<Happened>) -> Option<Happened> {
        let happened = happened?;
        let called = |text: &String| {
            happened
                .worker
                .as_ref()
                .is_some_and(|it| it.is_called(text))
        };
        let scope = self.scope.query();
        let is_in = |(_, pod): &(&str, &str)| happened.is_in(pod);
        (self.worker.as_ref().is_none_or(called) && scope.iter().all(is_in)).then_some(happened)
    }
}

/// # Errors
/// Nothing that happens is of a worker called so.
fn must_be_a_worker(text: &str) -> anyhow::Result<()> {
    let id = text.rsplit_once('.').map_or(text, |(_, id)| id);
    if !text.contains('#') && parse_id(id).is_none() {
        bail!("{:?} is no worker: {ADDRESSES}", printable(text));
    }
    Ok(())
}

/// Where workers are awake, as far as it was told: the pod, if that has a name.
struct Awake(HashMap<String, Option<String>>);

impl Awake {
    async fn of(client: &Client) -> anyhow::Result<Self> {
        let mut awake = HashMap::new();
        let take = |workers: Vec<Seen>| {
            let those = workers.into_iter();
            awake.extend(those.map(|seen| (seen.key().to_owned(), seen.worker.pod)));
        };
        let query = [("state", "awake")];
        client.each_page(&["workers"], &query, take).await?;
        Ok(Self(awake))
    }

    /// What has happened; nothing if that is not known.
    fn look(&mut self, line: Line) -> Option<Happened> {
        let now = Timestamp::now().round(Unit::Millisecond).ok()?.to_string();
        match line {
            Line::Other => None,
            Line::Kubernetes(told) => Some(Happened {
                time: now,
                event: told.reason.clone(),
                from: None,
                worker: None,
                kubernetes: Some(told),
            }),
            Line::Change {
                before,
                worker,
                gone,
                guessed,
            } => {
                let was = self.0.remove(worker.key());
                let is_awake = worker.worker.state == State::Awake && !gone;
                if is_awake {
                    let pod = worker.worker.pod.clone();
                    self.0.insert(worker.key().to_owned(), pod);
                }
                let slept = was.is_some() || (before == Before::Awake && !guessed);
                let from = was
                    .flatten()
                    .filter(|from| worker.worker.pod.as_ref() != Some(from));
                let event = match before {
                    _ if gone => "Deleted",
                    _ if is_awake && from.is_some() => "Moved",
                    Before::Absent => "Appeared",
                    _ if is_awake => "Woke",
                    _ if slept => "Slept",
                    _ => "Changed",
                };
                Some(Happened {
                    time: now,
                    event: event.to_owned(),
                    from,
                    worker: Some(worker),
                    kubernetes: None,
                })
            }
        }
    }
}

impl Happened {
    /// Whether it is of a pod.
    fn is_in(&self, pod: &str) -> bool {
        let its = self.worker.as_ref().and_then(|it| it.worker.pod.as_deref());
        let about = self.kubernetes.as_ref();
        let about = about.and_then(|it| it.about.strip_prefix("Pod/"));
        [its, self.from.as_deref(), about].contains(&Some(pod))
    }

    fn shown(&self) -> String {
        if let Some(told) = &self.kubernetes {
            let (about, message) = (printable(&told.about), printable(&told.message));
            return cells(&self.time, &printable(&self.event), &about, &message);
        }
        let worker = self.worker.as_ref().map(|it| &it.worker);
        let address = worker.map(|it| printable(&it.address)).unwrap_or_default();
        let to = worker.and_then(|it| it.pod.as_deref()).map(printable);
        let place = match (self.from.as_deref().map(printable), to) {
            (Some(from), Some(to)) => format!("from {from} to {to}"),
            (Some(from), None) => format!("in {from}"),
            (None, Some(to)) => format!("in {to}"),
            (None, None) => String::new(),
        };
        cells(&self.time, &self.event, &address, &place)
    }
}

/// What comes later is as wide as it is: columns that most fits into.
fn cells(time: &str, event: &str, what: &str, more: &str) -> String {
    let line = format!("{time:<24}   {event:<10}   {what:<32}   {more}");
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(before: &str, state: &str, pod: Option<&str>, more: serde_json::Value) -> Line {
        let worker =
            json!({"id": "0", "address": "a.js#x", "state": state, "pod": pod, "bytes": 0});
        let mut line = json!({"type": "change", "seq": 1, "before": before, "worker": worker});
        line.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(line).unwrap()
    }

    fn awake() -> Awake {
        Awake(HashMap::new())
    }

    #[test]
    fn what_happens_has_a_name() {
        let mut seen = awake();
        let mut event = |line| seen.look(line).unwrap().event;
        let none = json!({});
        let change = |before, state, pod| change(before, state, pod, none.clone());
        assert_eq!(event(change("absent", "awake", Some("p-1"))), "Appeared");
        assert_eq!(event(change("awake", "asleep", None)), "Slept");
        assert_eq!(event(change("asleep", "asleep", None)), "Changed");
        assert_eq!(event(change("asleep", "awake", Some("p-1"))), "Woke");
        assert_eq!(event(change("awake", "awake", Some("p-2"))), "Moved");
        // Heard of in its order, the way to another pod has two parts.
        assert_eq!(event(change("awake", "asleep", None)), "Slept");
        assert_eq!(event(change("asleep", "awake", Some("p-1"))), "Woke");
        let gone = json!({"gone": true});
        let gone = super::tests::change("awake", "asleep", None, gone);
        assert_eq!(event(gone), "Deleted");
    }

    #[test]
    fn what_a_watch_guesses_is_known_by_what_was_told_before() {
        let guessed = json!({"guessed": true});
        let mut seen = awake();
        let stored = change("awake", "asleep", None, guessed.clone());
        assert_eq!(seen.look(stored).unwrap().event, "Changed");
        seen.look(change("asleep", "awake", Some("p-1"), guessed.clone()));
        let slept = seen.look(change("awake", "asleep", None, guessed)).unwrap();
        assert_eq!(
            (&*slept.event, slept.from.as_deref()),
            ("Slept", Some("p-1"))
        );
        assert!(slept.is_in("p-1") && !slept.is_in("p-2"));
    }

    #[test]
    fn what_is_no_worker_is_said() {
        let id = "0123456789abcdef0123456789abcdef";
        for good in ["a.js#x", "Room#", id, &format!("chat.{id}")] {
            assert!(must_be_a_worker(good).is_ok(), "{good}");
        }
        assert!(must_be_a_worker("nobody").is_err());
    }

    #[test]
    fn an_event_of_kubernetes_is_a_line_among_others() {
        let line = json!({"type": "kubernetes", "reason": "Pulled", "severity": "Normal", "about": "Pod/p-1", "message": "a\nb"});
        let happened = awake().look(serde_json::from_value(line).unwrap()).unwrap();
        assert!(happened.is_in("p-1"));
        let shown = happened.shown();
        assert!(
            shown.contains("Pulled") && shown.ends_with("a\\nb"),
            "{shown}"
        );
    }
}
