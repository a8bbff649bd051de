//! Runs seeds, and prints the trace of one that fails.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use portside_sim::{Mechanism, Summary};

const USAGE: &str = "usage: portside-sim [--seed N | --seeds A..B] [--without MECHANISM]

Runs 10000 seeds unless told otherwise. --seed prints everything that happens if it fails.
MECHANISM is a mechanism to do without, to see that it is missed.";

struct Arguments {
    seeds: std::ops::Range<u64>,
    without: Option<Mechanism>,
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut parsed = Arguments {
        seeds: 0..10_000,
        without: None,
    };
    let mut arguments = arguments;
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| USAGE.to_owned());
        match name.as_str() {
            "--seed" => {
                let seed = number(&value)?;
                parsed.seeds = seed..seed + 1;
            }
            "--seeds" => {
                let (from, to) = value.split_once("..").ok_or(USAGE)?;
                parsed.seeds = number(from)?..number(to)?;
            }
            "--without" => parsed.without = Some(value.parse()?),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let mut total = Summary::default();
    let mut out = std::io::stdout().lock();
    for seed in arguments.seeds.clone() {
        match portside_sim::run(seed, arguments.without) {
            Ok(summary) => total += summary,
            Err(violation) => {
                let traced = portside_sim::trace(seed, arguments.without);
                let trace = traced.err().map_or_else(Vec::new, |it| it.trace);
                let _ = writeln!(out, "{}", trace.join("\n"));
                let without = arguments.without;
                let without = without.map_or_else(String::new, |it| format!(" --without {it}"));
                let _ = writeln!(
                    out,
                    "seed {seed}: {:?}: {}\nagain: cargo run -p portside-sim -- --seed {seed}{without}",
                    violation.kind, violation.what
                );
                return ExitCode::FAILURE;
            }
        }
    }
    let _ = writeln!(
        out,
        "{} seeds in {:.1} s: {total}, no violation",
        arguments.seeds.end - arguments.seeds.start,
        began.elapsed().as_secs_f64(),
    );
    ExitCode::SUCCESS
}
