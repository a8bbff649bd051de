//! The figures of all rounds: their medians as a table, and everything as JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::{fs, thread};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::peer::Peer;
use crate::scenario::{Plan, Scenario};

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    measure: String,
    more_is_better: bool,
    value: f64,
}

impl Figure {
    /// A value of which more is better.
    pub fn more(measure: impl Into<String>, value: f64) -> Self {
        Self {
            measure: measure.into(),
            more_is_better: true,
            value,
        }
    }

    /// A value of which less is better.
    pub fn less(measure: impl Into<String>, value: f64) -> Self {
        Self {
            measure: measure.into(),
            more_is_better: false,
            value,
        }
    }
}

/// All figures so far.
#[derive(Serialize)]
pub struct Report {
    machine: Machine,
    rounds: u32,
    seconds: f64,
    connections: usize,
    alarms: usize,
    readings: Vec<Reading>,
}

#[derive(Serialize)]
struct Machine {
    cpus: usize,
    kernel: String,
    /// Programs that wanted a CPU during the minute before the first round, on average.
    load_before: f64,
}

#[derive(Serialize)]
struct Reading {
    round: u32,
    peer: Peer,
    scenario: Scenario,
    measure: String,
    more_is_better: bool,
    value: f64,
}

/// One row of the table.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    scenario: Scenario,
    measure: String,
    portside: Option<f64>,
    workerd: Option<f64>,
    /// How many times better Portside is, where both were measured.
    ratio: Option<f64>,
}

impl Report {
    /// An empty report, with what describes this machine.
    pub fn new(rounds: u32, plan: &Plan) -> Result<Self> {
        let read = |path| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let load = read("/proc/loadavg")?;
        let machine = Machine {
            cpus: thread::available_parallelism()?.get(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load_before: load.split(' ').next().unwrap_or_default().parse()?,
        };
        let (seconds, connections) = (plan.duration.as_secs_f64(), plan.connections);
        Ok(Self {
            machine,
            rounds,
            seconds,
            connections,
            alarms: plan.alarms,
            readings: Vec::new(),
        })
    }

    /// Adds what one peer did in one round.
    pub fn add(&mut self, round: u32, peer: Peer, scenario: Scenario, figures: &[Figure]) {
        self.readings.extend(figures.iter().cloned().map(|figure| {
            let Figure {
                measure,
                more_is_better,
                value,
            } = figure;
            Reading {
                round,
                peer,
                scenario,
                measure,
                more_is_better,
                value,
            }
        }));
    }

    /// The medians, in the order in which they were measured.
    fn rows(&self) -> Vec<Row> {
        let mut values: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        let mut order = Vec::new();
        for reading in &self.readings {
            let key = (reading.scenario, reading.measure.as_str());
            if !order.contains(&(key, reading.more_is_better)) {
                order.push((key, reading.more_is_better));
            }
            values
                .entry((key, reading.peer))
                .or_default()
                .push(reading.value);
        }
        let row = |((scenario, measure), more_is_better)| {
            let median = |peer| {
                values
                    .get(&((scenario, measure), peer))
                    .map(|all| median(all))
            };
            let (portside, workerd) = (median(Peer::Portside), median(Peer::Workerd));
            let ratio = portside.zip(workerd).and_then(|(ours, theirs)| {
                let (over, under) = if more_is_better {
                    (ours, theirs)
                } else {
                    (theirs, ours)
                };
                (under > 0.0).then_some(over / under)
            });
            Row {
                scenario,
                measure: measure.to_owned(),
                portside,
                workerd,
                ratio,
            }
        };
        order.into_iter().map(row).collect()
    }

    /// Prints the medians as a Markdown table.
    pub fn print(&self, out: &mut impl Write) -> Result<()> {
        let Machine {
            cpus,
            kernel,
            load_before,
        } = &self.machine;
        writeln!(
            out,
            "{cpus} CPUs, Linux {kernel}, load before {load_before}. Medians of {} rounds of {} s, {} \
             connections, {} alarms. A ratio over 1: Portside is better.\n",
            self.rounds, self.seconds, self.connections, self.alarms
        )?;
        writeln!(out, "| | measure | portside | workerd | ratio |")?;
        writeln!(out, "|---|---|---:|---:|---:|")?;
        let mut last = None;
        for row in self.rows() {
            let title = if last == Some(row.scenario) {
                ""
            } else {
                row.scenario.title()
            };
            last = Some(row.scenario);
            let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figures);
            let ratio = row
                .ratio
                .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
            let (ours, theirs) = (cell(row.portside), cell(row.workerd));
            writeln!(
                out,
                "| {title} | {} | {ours} | {theirs} | {ratio} |",
                row.measure
            )?;
        }
        Ok(())
    }

    /// Writes everything as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct File<'r> {
            #[serde(flatten)]
            report: &'r Report,
            medians: Vec<Row>,
        }
        let json = serde_json::to_vec_pretty(&File {
            report: self,
            medians: self.rows(),
        })?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The middle value, or the mean of the two in the middle. Not of an empty list.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[half]
    } else {
        (sorted[half - 1] + sorted[half]) / 2.0
    }
}

/// A value to about three figures, thousands apart.
fn figures(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(String::from_utf8_lossy)
        .collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(readings: &[(u32, Peer, Figure)]) -> Report {
        let machine = Machine {
            cpus: 2,
            kernel: "6.1".to_owned(),
            load_before: 0.1,
        };
        let mut report = Report {
            machine,
            rounds: 3,
            seconds: 4.0,
            connections: 64,
            alarms: 3_000,
            readings: Vec::new(),
        };
        for (round, peer, figure) in readings {
            report.add(*round, *peer, Scenario::Hello, std::slice::from_ref(figure));
        }
        report
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), 3.0);
    }

    #[test]
    fn a_ratio_over_one_is_better_whichever_way_the_measure_points() {
        let rows = report(&[
            (0, Peer::Portside, Figure::more("requests/s", 300.0)),
            (0, Peer::Workerd, Figure::more("requests/s", 100.0)),
            (0, Peer::Portside, Figure::less("p50 ms", 1.0)),
            (0, Peer::Workerd, Figure::less("p50 ms", 2.0)),
        ])
        .rows();
        assert_eq!(
            rows.iter().map(|row| row.ratio).collect::<Vec<_>>(),
            [Some(3.0), Some(2.0)]
        );
    }

    #[test]
    fn the_table_has_medians_over_rounds_and_says_what_is_missing() {
        let report = report(&[
            (0, Peer::Workerd, Figure::more("requests/s", 10_000.0)),
            (1, Peer::Workerd, Figure::more("requests/s", 30_000.0)),
            (2, Peer::Workerd, Figure::more("requests/s", 12_345.6)),
            (2, Peer::Workerd, Figure::less("p50 ms", 0.5)),
        ]);
        let mut out = Vec::new();
        report.print(&mut out).unwrap();
        let table = String::from_utf8(out).unwrap();
        let rows: Vec<&str> = table.lines().skip(4).collect();
        assert_eq!(
            rows,
            [
                "| hello-world fetch | requests/s | – | 12 346 | – |",
                "|  | p50 ms | – | 0.50 | – |"
            ]
        );
    }

    #[test]
    fn values_are_printed_to_about_three_figures() {
        let printed = [0.123, 45.67, 999.6, 1_234_567.0].map(figures);
        assert_eq!(printed, ["0.12", "45.7", "1 000", "1 234 567"]);
    }
}
