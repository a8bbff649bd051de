//! A load and faults, then peace, and what there is in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream;
use tokio::time::Instant;

use crate::check::{self, Kind, Violation};
use crate::databases;
use crate::history::{Action, History, Micros, Mirrored, Operation};
use crate::load::{Load, Part, Shared};
use crate::schedule::{Fault, Schedule};
use crate::system::{App, System};

/// How long workers may take to answer after all processes were killed.
const AFTER_KILL: Duration = Duration::from_secs(20);
/// The client that reads in the end. No other has its number.
const READER: u32 = 1000;
const READERS: usize = 8;
/// A worker that is asked so often in vain, for so many seconds in each of which others answer so often, is unanswered.
const VAIN: usize = 3;
const SECONDS_OF_OTHERS: usize = 10;
const OTHERS: usize = 5;

/// A round's parameters.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What its random numbers come from.
    pub seed: u64,
    /// How long faults go on.
    pub duration: Duration,
    /// The faults.
    pub faults: Vec<Fault>,
    /// Parts of the load to leave out.
    pub without: Vec<Part>,
    /// How long all workers may take to answer, and alarms to come, once nothing goes wrong any more.
    pub settle: Duration,
}

/// A fault that happened.
#[derive(Debug, Clone, Copy)]
pub struct Inflicted {
    /// Which.
    pub fault: Fault,
    /// From when.
    pub from: Micros,
    /// Until its cause was over.
    pub until: Micros,
}

/// What a round showed.
#[derive(Debug)]
pub struct Outcome {
    /// Of each worker.
    pub histories: Vec<History>,
    /// What is wrong with each, by its place in `histories`.
    pub violations: Vec<(usize, Violation)>,
    /// What happened.
    pub faults: Vec<Inflicted>,
    /// When the load ended.
    pub ended: Micros,
    /// Databases of objects, read from the store.
    pub databases: usize,
    /// How often a process ended by itself.
    pub restarts: usize,
    /// How long each shard was nobody's that a pod gave to another in order.
    pub handed_over: Vec<Micros>,
    /// What processes said of themselves that cannot be.
    pub contradictions: Vec<String>,
    /// What was wrong with the numbers on WebSockets that outlive pods.
    pub counts: Vec<String>,
    /// How many of those came back.
    pub counted: u32,
    /// Requests to the gateway that failed though all was done in order, and no code ended itself or was ended by a limit.
    pub failed: Vec<String>,
}

/// Runs a round.
///
/// # Errors
/// The system did not come back after a fault: for so long that this is a violation by itself. It says after which.
pub async fn run(system: &mut impl System, plan: &Plan) -> Result<Outcome> {
    let mut schedule = Schedule::new(plan.seed, plan.faults.clone());
    system.ready().await.context("at the start")?;
    let pods = system.pods();
    // Without pods nobody holds clients. And objects that are ended by a limit take those along that share their isolate.
    let in_order = !pods.borrow().is_empty() && plan.faults.iter().all(|fault| fault.is_planned());
    let is_without = |parts: &[Part]| parts.iter().all(|part| plan.without.contains(part));
    let no_limits = is_without(&[Part::Half, Part::Spin]);
    let is_planned = in_order && (system.app() == App::Workers || no_limits);
    let load = Load::start(system.site(), pods, plan.seed, &plan.without, is_planned);
    let shared = load.shared.clone();
    let mut faults = Vec::new();
    let end = Instant::now() + plan.duration;
    system.rest(schedule.time(500..2000)).await?;
    while Instant::now() < end {
        if let Some(fault) = schedule.next() {
            let from = shared.now();
            let inflicted = system.inflict(fault, &mut schedule).await;
            inflicted.with_context(|| {
                let before: Vec<String> = faults
                    .iter()
                    .map(|it: &Inflicted| it.fault.name())
                    .collect();
                format!("at {}, after {}", fault.name(), before.join(", "))
            })?;
            let until = shared.now();
            faults.push(Inflicted { fault, from, until });
        }
        system.rest(schedule.time(1000..4000)).await?;
    }
    system.ready().await?;
    let ended = shared.now();
    // Clients wait for what was lost, at most for as long as their patience lasts.
    let shared = meanwhile(system, load.finish()).await?;
    let mut histories = conclude(system, &shared, plan.settle).await?;
    let (restarts, contradictions) = (system.restarts(), system.contradictions());
    let databases = match system.app() {
        App::Workers => 0,
        App::Objects => databases::check(&system.end().await?, &mut histories).await?,
    };
    let mut violations = Vec::new();
    for (index, history) in histories.iter_mut().enumerate() {
        violations.extend(
            check::check(history)
                .into_iter()
                .map(|violation| (index, violation)),
        );
    }
    for (index, violation) in unanswered(&histories, ended) {
        if !violations
            .iter()
            .any(|(other, known)| *other == index && known.kind == Kind::Unanswered)
        {
            violations.push((index, violation));
        }
    }
    let failed = match in_order && no_limits && is_without(&[Part::Last]) {
        true => failed(&histories, ended),
        false => Vec::new(),
    };
    let mut handed_over = system.handed_over()?;
    handed_over.sort_unstable();
    Ok(Outcome {
        histories,
        violations,
        faults,
        ended,
        databases,
        restarts,
        handed_over,
        contradictions,
        counts: shared.wrong(),
        counted: shared.counted(),
        failed,
    })
}

/// What clients asked the gateway for, until the load ended, and were not answered.
fn failed(histories: &[History], ended: Micros) -> Vec<String> {
    let mut failed = Vec::new();
    for history in histories {
        let operations = history.operations.iter();
        for operation in operations.filter(|it| it.failed_at_gateway() && it.invoked < ended) {
            let (at, worker) = (operation.invoked, &history.worker);
            let why = operation.outcome.as_ref().err();
            let why = why.map_or("", String::as_str);
            failed.push(format!("{worker} at {at} µs: {why}"));
        }
    }
    failed
}

/// Reads every worker until it answers and has no alarm to wait for; then, from what is durable alone, once more.
async fn conclude(
    system: &mut impl System,
    shared: &Arc<Shared>,
    settling_time: Duration,
) -> Result<Vec<History>> {
    let workers: Vec<String> = shared.operations().into_keys().collect();
    let settling = stream::iter(&workers)
        .map(|worker| settle(shared, worker, Instant::now() + settling_time))
        .buffered(workers.len().max(1))
        .collect::<Vec<_>>();
    let settled = meanwhile(system, settling).await?;
    system.kill_all().await?;
    let reading = stream::iter(&workers)
        .map(|worker| until_read(shared, worker, Instant::now() + AFTER_KILL))
        .buffered(READERS)
        .collect::<Vec<_>>();
    let read = meanwhile(system, reading).await?;
    let mut operations = shared.operations();
    let mut histories = Vec::new();
    for ((worker, settled), read) in workers.iter().zip(settled).zip(read) {
        let operations = operations.remove(worker).unwrap_or_default();
        let mut history = History {
            worker: worker.clone(),
            operations,
            ..History::default()
        };
        match settled {
            Settled::Well => {}
            Settled::Waiting(values) => history.overdue = values,
            Settled::Silent => history.silent = true,
        }
        history.silent |= !read;
        history.mirrored = mirrored(shared, &history).await;
        histories.push(history);
    }
    Ok(histories)
}

/// The future's output. Meanwhile what ends by itself is started again.
async fn meanwhile<T>(system: &mut impl System, future: impl Future<Output = T>) -> Result<T> {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            output = &mut future => return Ok(output),
            rest = system.rest(Duration::from_secs(1)) => rest?,
        }
    }
}

enum Settled {
    Well,
    /// These still wait for their alarm.
    Waiting(Vec<u32>),
    /// It does not answer.
    Silent,
}

async fn settle(shared: &Shared, worker: &str, deadline: Instant) -> Settled {
    let mut last = Settled::Silent;
    while Instant::now() < deadline {
        let read = shared.read(READER, worker).await;
        last = match read.as_ref().and_then(Operation::contents) {
            None => Settled::Silent,
            Some(contents) if contents.pending.is_empty() => return Settled::Well,
            Some(contents) => Settled::Waiting(contents.pending.clone()),
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    last
}

async fn until_read(shared: &Shared, worker: &str, deadline: Instant) -> bool {
    while Instant::now() < deadline {
        if shared.read(READER, worker).await.is_some() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    false
}

/// The relays that their mirrors know of, of those whose value is not there.
async fn mirrored(shared: &Shared, history: &History) -> Vec<Mirrored> {
    let last = history
        .operations
        .iter()
        .rev()
        .find_map(Operation::contents);
    let kept: BTreeSet<u32> = last
        .iter()
        .flat_map(|contents| &contents.first)
        .map(|entry| entry.value)
        .collect();
    let mut mirrored = Vec::new();
    for operation in &history.operations {
        if let Action::Relay(value) = operation.action
            && !kept.contains(&value)
            && let Some((opened, told)) = shared.mirror(&history.worker, value).await
            && opened + told > 0
        {
            mirrored.push(Mirrored {
                value,
                told: told > 0,
            });
        }
    }
    mirrored
}

/// Workers that were asked in vain for long although others answered.
fn unanswered(histories: &[History], ended: Micros) -> Vec<(usize, Violation)> {
    const SECOND: Micros = 1_000_000;
    let mut answers: BTreeMap<Micros, usize> = BTreeMap::new();
    for operation in histories.iter().flat_map(|history| &history.operations) {
        if operation.outcome.is_ok() {
            *answers.entry(operation.completed / SECOND).or_default() += 1;
        }
    }
    let mut found = Vec::new();
    for (index, history) in histories.iter().enumerate() {
        let mut operations: Vec<&Operation> = history
            .operations
            .iter()
            .filter(|operation| operation.invoked < ended)
            .collect();
        operations.sort_by_key(|operation| operation.completed);
        // Since when it was asked in vain, and how often.
        let (mut since, mut vain) = (Micros::MAX, 0);
        for operation in operations {
            if operation.outcome.is_ok() {
                (since, vain) = (Micros::MAX, 0);
                continue;
            }
            vain += 1;
            since = since.min(operation.invoked);
            let seconds = since / SECOND + 1..operation.completed / SECOND;
            let with_others = seconds
                .filter(|second| answers.get(second).is_some_and(|n| *n >= OTHERS))
                .count();
            if vain >= VAIN && with_others >= SECONDS_OF_OTHERS {
                let message = format!(
                    "asked {vain} times in vain for {with_others} s in which others answered"
                );
                let at = since;
                found.push((
                    index,
                    Violation {
                        kind: Kind::Unanswered,
                        message,
                        value: None,
                        at,
                    },
                ));
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Contents};

    const SECOND: Micros = 1_000_000;

    fn read(second: Micros, well: bool) -> Operation {
        let contents = Contents::default();
        Operation {
            client: 1,
            at_pod: false,
            after: None,
            action: Action::Read,
            invoked: second * SECOND + 10,
            completed: second * SECOND + 20,
            outcome: if well {
                Ok((1, Answer::Contents(contents)))
            } else {
                Err("status 500".into())
            },
        }
    }

    /// How many are unanswered of one that answers five times in each second of 20, and another.
    fn count(other: Vec<Operation>) -> usize {
        let busy = (0..20)
            .flat_map(|second| vec![read(second, true); 5])
            .collect();
        let histories = [busy, other].map(|operations| History {
            operations,
            ..History::default()
        });
        unanswered(&histories, 20 * SECOND).len()
    }

    #[test]
    fn a_worker_is_unanswered_if_it_is_asked_in_vain_while_others_answer() {
        assert_eq!(
            count((2..18).map(|second| read(second, false)).collect()),
            1
        );
        assert_eq!(
            count((2..18).map(|second| read(second, second == 10)).collect()),
            0
        );
        assert_eq!(
            count((2..9).map(|second| read(second, false)).collect()),
            0,
            "not for long"
        );
        assert_eq!(
            count((17..20).map(|second| read(second, false)).collect()),
            0,
            "new"
        );
        assert_eq!(
            count(vec![read(2, false), read(18, false)]),
            0,
            "hardly asked"
        );
    }
}
