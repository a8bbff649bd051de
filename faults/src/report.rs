//! What a round has to say.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::ops::AddAssign;

use crate::check::{Violation, value};
use crate::history::{Action, Answer, History, Micros, Operation};
use crate::round::Outcome;

fn seconds(micros: Micros) -> String {
    format!("{}.{:03} s", micros / 1_000_000, micros / 1000 % 1000)
}

/// How much there was, in one round or in several.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    operations: usize,
    answered: usize,
    /// Answered operations that write.
    writes: usize,
    workers: usize,
    databases: usize,
    /// Numbers that came back on WebSockets that outlive pods.
    counted: usize,
    faults: usize,
    restarts: usize,
}

impl Counts {
    /// Those of a round.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let answered = || operations(outcome).filter(|it| it.outcome.is_ok());
        Self {
            operations: operations(outcome).count(),
            answered: answered().count(),
            writes: answered().filter(|it| it.action != Action::Read).count(),
            workers: outcome.histories.len(),
            databases: outcome.databases,
            counted: usize::try_from(outcome.counted).unwrap_or(usize::MAX),
            faults: outcome.faults.len(),
            restarts: outcome.restarts,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.operations += other.operations;
        self.answered += other.answered;
        self.writes += other.writes;
        self.workers += other.workers;
        self.databases += other.databases;
        self.counted += other.counted;
        self.faults += other.faults;
        self.restarts += other.restarts;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operations,
            answered,
            writes,
            workers,
            databases,
            counted,
            faults,
            restarts,
        } = self;
        write!(
            f,
            "{faults} faults; {operations} operations on {workers} workers, {answered} answered, {writes} of them writes; "
        )?;
        write!(
            f,
            "{databases} databases read; {counted} numbers counted on WebSockets; {restarts} processes ended by themselves"
        )
    }
}

fn operations(outcome: &Outcome) -> impl Iterator<Item = &Operation> {
    let histories = outcome.histories.iter();
    histories.flat_map(|history| &history.operations)
}

/// What clients were told during faults of a kind.
#[derive(Debug, Default)]
struct Told {
    /// The longest time without an answer to a write.
    gap: Micros,
    /// Of each fault the longest time in which some worker was asked in vain.
    in_vain: Vec<Micros>,
    /// Requests to the gateway that failed.
    failed: usize,
}

/// Figures of a round, some lines.
#[must_use]
pub fn figures(outcome: &Outcome) -> String {
    let mut text = String::new();
    let operations = || operations(outcome);
    let _ = writeln!(text, "  {}", Counts::of(outcome));
    let mut failed: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in operations() {
        if let Err(why) = &operation.outcome {
            *failed.entry(why).or_default() += 1;
        }
    }
    for (why, count) in failed {
        let _ = writeln!(text, "  not answered: {count:6}  {why}");
    }
    // A pod that cannot reach its database may still answer reads for a while.
    let mut answers: Vec<Micros> = operations()
        .filter(|it| it.outcome.is_ok() && it.action != Action::Read && !it.at_pod)
        .map(|it| it.completed)
        .collect();
    answers.sort_unstable();
    let mut faults: BTreeMap<String, Told> = BTreeMap::new();
    for (index, fault) in outcome.faults.iter().enumerate() {
        let until = outcome
            .faults
            .get(index + 1)
            .map_or(outcome.ended, |next| next.from);
        let told = faults.entry(fault.fault.name()).or_default();
        told.gap = told.gap.max(longest_gap(&answers, fault.from, until));
        let histories = outcome.histories.iter();
        let in_vain = histories.map(|history| longest_in_vain(history, fault.from, until));
        told.in_vain.push(in_vain.max().unwrap_or_default());
        let during = |it: &&Operation| (fault.from..until).contains(&it.invoked);
        let failed = operations()
            .filter(during)
            .filter(|it| it.failed_at_gateway());
        told.failed += failed.count();
    }
    for (fault, mut told) in faults {
        told.in_vain.sort_unstable();
        let (count, failed) = (told.in_vain.len(), told.failed);
        let gap = seconds(told.gap);
        let median = seconds(told.in_vain[count / 2]);
        let most = seconds(told.in_vain[count - 1]);
        let _ = writeln!(
            text,
            "  {count:3} × {fault:18} no write answered for at most {gap}; some worker asked in vain for at most {most}, \
             half of the times {median}; {failed} requests failed"
        );
    }
    if let Some(longest) = outcome.handed_over.last() {
        let of = |part: usize| {
            let index = outcome.handed_over.len() * part / 100;
            seconds(outcome.handed_over[index])
        };
        let _ = writeln!(
            text,
            "  {} shards given to other pods: half of them within {}, 99 of 100 within {}, all within {}",
            outcome.handed_over.len(),
            of(50),
            of(99),
            seconds(*longest)
        );
    }
    text
}

/// The longest time in which a worker answered nobody though it was asked, by what was asked between `from` and `until`.
fn longest_in_vain(history: &History, from: Micros, until: Micros) -> Micros {
    let mut operations: Vec<_> = history
        .operations
        .iter()
        .filter(|it| !it.at_pod && !matches!(it.action, Action::Half(_)))
        .filter(|it| (from..until).contains(&it.invoked))
        .collect();
    operations.sort_unstable_by_key(|it| it.completed);
    let (mut longest, mut answered) = (0, 0);
    // Since when it was asked in vain.
    let mut since = None;
    for operation in operations {
        let asked = *since.get_or_insert(operation.invoked.max(answered));
        longest = longest.max(operation.completed.saturating_sub(asked));
        if operation.outcome.is_ok() {
            (since, answered) = (None, operation.completed);
        }
    }
    longest
}

/// The longest time between `from` and `until` without any answer.
fn longest_gap(answers: &[Micros], from: Micros, until: Micros) -> Micros {
    let first = answers.partition_point(|at| *at < from);
    let last = answers.partition_point(|at| *at < until);
    let mut longest = 0;
    let mut since = from;
    for at in answers[first..last].iter().chain([&until]) {
        longest = longest.max(at - since);
        since = *at;
    }
    longest
}

/// One violation, with the worker's history: all of it, or `near` operations before it and after it, and those that are about
/// the same value.
#[must_use]
pub fn violation(
    violation: &Violation,
    history: &History,
    outcome: &Outcome,
    near: Option<usize>,
) -> String {
    let mut text = format!(
        "{}: {}: {}\n",
        history.worker, violation.kind, violation.message
    );
    let mut operations: Vec<&Operation> = history.operations.iter().collect();
    operations.sort_by_key(|operation| operation.invoked);
    let is_about = |operation: &Operation| {
        violation.value.is_some() && value(operation.action) == violation.value
            || operation.completed == violation.at
    };
    let at = operations.partition_point(|operation| operation.completed < violation.at);
    let shown = match near {
        None => 0..operations.len(),
        Some(near) => at.saturating_sub(near)..at.saturating_add(near),
    };
    let mut lines: Vec<(Micros, String)> = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        let about = is_about(operation);
        if shown.contains(&index) || about {
            let mark = if about { '>' } else { ' ' };
            lines.push((operation.invoked, format!("{mark} {}", describe(operation))));
        }
    }
    for fault in &outcome.faults {
        let (name, until) = (fault.fault.name(), seconds(fault.until));
        lines.push((fault.from, format!("  fault {name} until {until}")));
    }
    lines.sort();
    for (at, line) in lines {
        let _ = writeln!(text, "  {:>11} {line}", seconds(at));
    }
    text
}

/// One line of a history.
#[must_use]
pub fn describe(operation: &Operation) -> String {
    let action = match operation.action {
        Action::Read => "read".to_owned(),
        action => format!("{action:?}").to_lowercase(),
    };
    let outcome = match &operation.outcome {
        Err(why) => format!("unknown: {why}"),
        Ok((by, Answer::Appended(index))) => format!("entry {index}, by instance {by}"),
        Ok((by, Answer::Accepted)) => format!("accepted by instance {by}"),
        Ok((by, Answer::Contents(contents))) => {
            let tail: Vec<String> = contents
                .first
                .iter()
                .rev()
                .take(4)
                .rev()
                .map(|entry| entry.value.to_string())
                .collect();
            let waiting = if contents.pending.is_empty() {
                String::new()
            } else {
                format!(", waiting {:?}", contents.pending)
            };
            format!(
                "{} entries and {} … {}{waiting}, by instance {by}",
                contents.first.len(),
                contents.second.len(),
                tail.join(" ")
            )
        }
    };
    let place = if operation.at_pod { " at a pod" } else { "" };
    let (client, until) = (operation.client, seconds(operation.completed));
    format!("client {client:4}{place} {action} until {until}: {outcome}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_what_lies_within_the_time() {
        assert_eq!(longest_gap(&[1, 5, 11, 30], 4, 20), 9);
        assert_eq!(longest_gap(&[1, 5, 11, 30], 4, 12), 6);
        assert_eq!(longest_gap(&[1, 30], 4, 20), 16);
        assert_eq!(longest_gap(&[], 4, 20), 16);
    }
}
