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
    beside: Option<f64>,
}

impl Figure {
    /// A value of which more is better.
    pub fn more(measure: impl Into<String>, value: f64) -> Self {
        Self {
            measure: measure.into(),
            more_is_better: true,
            value,
            beside: None,
        }
    }

    /// A value of which less is better.
    pub fn less(measure: impl Into<String>, value: f64) -> Self {
        Self {
            measure: measure.into(),
            more_is_better: false,
            value,
            beside: None,
        }
    }

    /// Beside which value of the same measure its ratio is, where Portside is measured beside itself.
    pub fn beside(self, other: &Self) -> Self {
        Self {
            beside: Some(other.value),
            ..self
        }
    }

    /// The same measure of something: its name is the measure's, then this.
    pub fn of(self, what: &str) -> Self {
        Self {
            measure: format!("{}, {what}", self.measure),
            ..self
        }
    }
}

/// Figures of the same measures of several things, those of all but the first beside the first's.
#[derive(Default)]
pub struct Beside {
    all: Vec<Figure>,
    first: Vec<Figure>,
}

impl Beside {
    /// Adds those of one thing.
    pub fn add(&mut self, what: &str, figures: Vec<Figure>) {
        if self.first.is_empty() {
            self.first.clone_from(&figures);
            self.all
                .extend(figures.into_iter().map(|figure| figure.of(what)));
            return;
        }
        let pairs = figures.into_iter().zip(&self.first);
        self.all
            .extend(pairs.map(|(figure, first)| figure.beside(first).of(what)));
    }

    /// Adds one that is beside nothing.
    pub fn add_alone(&mut self, what: &str, figure: Figure) {
        self.all.push(figure.of(what));
    }

    /// All of them, in the order in which they were added.
    pub fn into_figures(self) -> Vec<Figure> {
        self.all
    }
}

/// How many times better a value is than another one.
fn ratio(value: f64, other: f64, more_is_better: bool) -> Option<f64> {
    let (over, under) = if more_is_better {
        (value, other)
    } else {
        (other, value)
    };
    (under > 0.0).then_some(over / under)
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
    /// How many times better it is than what it was measured beside in this round.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

/// One row of the table.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    scenario: Scenario,
    measure: String,
    portside: Option<f64>,
    workerd: Option<f64>,
    /// How many times better Portside is, where both were measured, or than itself, where it was measured beside itself.
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
                beside,
            } = figure;
            Reading {
                round,
                peer,
                scenario,
                measure,
                more_is_better,
                value,
                ratio: beside.and_then(|other| ratio(value, other, more_is_better)),
            }
        }));
    }

    /// The medians, in the order in which they were measured.
    fn rows(&self) -> Vec<Row> {
        let mut values: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        let mut beside_itself: BTreeMap<_, Vec<f64>> = BTreeMap::new();
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
            if let Some(ratio) = reading.ratio {
                beside_itself.entry(key).or_default().push(ratio);
            }
        }
        let row = |((scenario, measure), more_is_better)| {
            let beside = beside_itself.get(&(scenario, measure));
            let beside = beside.map(|all| median(all));
            let median = |peer| {
                values
                    .get(&((scenario, measure), peer))
                    .map(|all| median(all))
            };
            let (portside, workerd) = (median(Peer::Portside), median(Peer::Workerd));
            let ratio = match portside.zip(workerd) {
                Some((ours, theirs)) => ratio(ours, theirs, more_is_better),
                None => beside,
            };
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
             connections, {} alarms. A ratio over 1: Portside is better; without workerd: than what the line is beside.\n",
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
    fn what_is_measured_beside_itself_has_the_median_of_each_rounds_ratio() {
        let mut readings = Vec::new();
        for (round, (far, near)) in (0..).zip([(10.0, 5.0), (1.0, 1.0), (30.0, 10.0)]) {
            let mut beside = Beside::default();
            beside.add("near", vec![Figure::less("ms", near)]);
            beside.add("far", vec![Figure::less("ms", far)]);
            let figures = beside.into_figures().into_iter();
            readings.extend(figures.map(|figure| (round, Peer::Portside, figure)));
        }
        let rows = report(&readings).rows();
        let rows: Vec<_> = (rows.iter())
            .map(|row| (row.measure.as_str(), row.portside, row.ratio))
            .collect();
        let near = ("ms, near", Some(5.0), None);
        assert_eq!(rows, [near, ("ms, far", Some(10.0), Some(0.5))]);
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
