//! What a round has to say.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::check::{Violation, value};
use crate::history::{Action, Answer, History, Micros, Operation};
use crate::round::Outcome;

/// Operations shown of a history, around the violation.
const SHOWN: usize = 60;

fn seconds(micros: Micros) -> String {
    format!("{}.{:03} s", micros / 1_000_000, micros / 1000 % 1000)
}

/// Figures of a round, some lines.
#[must_use]
pub fn figures(outcome: &Outcome) -> String {
    let mut text = String::new();
    let operations = || {
        outcome
            .histories
            .iter()
            .flat_map(|history| &history.operations)
    };
    let answered = operations()
        .filter(|operation| operation.outcome.is_ok())
        .count();
    let _ = writeln!(
        text,
        "  {} operations on {} workers, {answered} answered; {} processes ended by themselves",
        operations().count(),
        outcome.histories.len(),
        outcome.restarts
    );
    let mut failed: BTreeMap<&str, usize> = BTreeMap::new();
    for operation in operations() {
        if let Err(why) = &operation.outcome {
            *failed.entry(why).or_default() += 1;
        }
    }
    for (why, count) in failed {
        let _ = writeln!(text, "  not answered: {count:6}  {why}");
    }
    let mut answers: Vec<Micros> = operations()
        .filter(|it| it.outcome.is_ok())
        .map(|it| it.completed)
        .collect();
    answers.sort_unstable();
    let mut faults: BTreeMap<String, (usize, Micros)> = BTreeMap::new();
    for (index, fault) in outcome.faults.iter().enumerate() {
        let until = outcome
            .faults
            .get(index + 1)
            .map_or(outcome.ended, |next| next.from);
        let entry = faults.entry(fault.fault.name()).or_default();
        entry.0 += 1;
        entry.1 = entry.1.max(longest_gap(&answers, fault.from, until));
    }
    for (fault, (count, gap)) in faults {
        let _ = writeln!(
            text,
            "  {count:3} × {fault:18} nothing answered for at most {}",
            seconds(gap)
        );
    }
    text
}

/// The longest time without any answer that began at `from` or later, and before `until`.
fn longest_gap(answers: &[Micros], from: Micros, until: Micros) -> Micros {
    let mut longest = 0;
    let mut last = from;
    let first = answers.partition_point(|at| *at < from);
    for at in &answers[first..] {
        longest = longest.max(at - last);
        last = *at;
        if last >= until {
            break;
        }
    }
    longest
}

/// One violation, with the part of the worker's history that is about it.
#[must_use]
pub fn violation(violation: &Violation, history: &History, outcome: &Outcome) -> String {
    let mut text = format!(
        "{}: {}: {}\n",
        history.worker, violation.kind, violation.message
    );
    let mut lines: Vec<(Micros, String)> = Vec::new();
    let mut operations: Vec<&Operation> = history.operations.iter().collect();
    operations.sort_by_key(|operation| operation.invoked);
    let about = |operation: &&Operation| {
        violation.value.is_some() && value(operation.action) == violation.value
            || operation.completed == violation.at
    };
    let near = operations.partition_point(|operation| operation.completed < violation.at);
    let shown = near.saturating_sub(SHOWN / 2)..(near + SHOWN / 2).min(operations.len());
    for (index, operation) in operations.iter().enumerate() {
        if shown.contains(&index) || about(operation) {
            let mark = if about(operation) { '>' } else { ' ' };
            lines.push((operation.invoked, format!("{mark} {}", describe(operation))));
        }
    }
    for fault in &outcome.faults {
        let name = fault.fault.name();
        lines.push((
            fault.from,
            format!("  fault {name} until {}", seconds(fault.until)),
        ));
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
    format!(
        "client {:4} {action} until {}: {outcome}",
        operation.client,
        seconds(operation.completed)
    )
}
