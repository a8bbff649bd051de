//! Runs the same load against Portside and against workerd, in turn, on this machine.
//!
//! Each measurement starts a fresh server on a free port with its state in a fresh temporary folder, puts a
//! closed loop of clients on it, and stops it. The peers take turns over several rounds; the table has the
//! medians and their ratios. The clients share one core, so the requests a second are bounded by them as
//! well; the requests per second of the server's CPU time are not, and are the figure to compare.
#![cfg(target_os = "linux")] // the server's CPU time and memory come from /proc

mod alarms;
mod commits;
mod http;
mod load;
mod objects;
mod peer;
mod pods;
mod process;
mod report;
mod scenario;
mod sleepers;
mod socket;
mod storm;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::peer::{Peer, Programs};
use crate::report::Report;
use crate::scenario::{Plan, Scenario};

/// Alarms due at one instant: some times what two cores can deliver in a second.
const ALARMS: u32 = 3_000;

/// Measures Portside beside workerd.
#[derive(Parser)]
struct Args {
    /// How often each peer is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each load is measured, after a warm-up of a quarter of it.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Connections of the loads that are not about their number.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Workers whose alarms are due at one instant.
    #[arg(long, default_value_t = ALARMS, value_parser = clap::value_parser!(u32).range(1..))]
    alarms: u32,
    /// Measures only this; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Scenario>,
    /// Measures only this peer.
    #[arg(long, value_enum)]
    peer: Option<Peer>,
    /// Has Portside run workerd's own program, Durable Objects, instead of one with workers that does the same.
    #[arg(long)]
    objects: bool,
    /// The portside program [default: the one beside this program].
    #[arg(long)]
    portside: Option<PathBuf>,
    /// The workerd program [default: from its npm package, installed into the cache folder].
    #[arg(long)]
    workerd: Option<PathBuf>,
    /// Writes every single figure and the medians here, as JSON.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
}

// One thread: the clients must leave the rest of the machine to the server.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    // Leaving this block stops the server that is being measured.
    tokio::select! {
        done = run(Args::parse()) => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    }
}

async fn run(args: Args) -> Result<()> {
    let Args {
        rounds,
        seconds,
        connections,
        alarms,
        only,
        peer,
        objects,
        portside,
        workerd,
        json,
    } = args;
    let peers: Vec<Peer> =
        peer.map_or_else(|| vec![Peer::Portside, Peer::Workerd], |one| vec![one]);
    let is_possible = |scenario: &Scenario| match objects {
        true => !scenario.is_of_pods(),
        false => !scenario.is_of_objects(),
    };
    let scenarios: Vec<Scenario> = if only.is_empty() {
        let all = Scenario::all().iter().copied();
        all.filter(is_possible).collect()
    } else {
        only
    };
    ensure!(
        scenarios.iter().all(is_possible),
        "what is of objects is measured with --objects, and what is of pods without"
    );
    portside_admin::raise_open_files();
    let programs = Programs::find(&peers, objects, portside, workerd).await?;
    let duration = Duration::from_secs(seconds);
    let plan = Plan {
        connections: connections.into(),
        warm_up: duration / 4,
        duration,
        alarms: alarms.try_into()?,
    };

    let mut report = Report::new(rounds, &plan)?;
    let measured = measure(&scenarios, &peers, (&programs, &plan), &mut report, rounds).await;
    // If something fails, what was measured before it is there.
    report.print(&mut std::io::stdout().lock())?;
    report.write(&json)?;
    eprintln!("every figure is in {}", json.display());
    measured
}

/// Measures everything, so many times; the peers take turns.
async fn measure(
    scenarios: &[Scenario],
    peers: &[Peer],
    (programs, plan): (&Programs, &Plan),
    report: &mut Report,
    rounds: u32,
) -> Result<()> {
    for round in 0..rounds {
        let mut order = peers.to_vec();
        if round % 2 == 1 {
            order.reverse(); // neither is always the one that runs on the warmer machine
        }
        for scenario in scenarios {
            for peer in order.iter().filter(|peer| scenario.is_for(**peer)) {
                eprintln!(
                    "round {} of {rounds}: {} of {}",
                    round + 1,
                    scenario.title(),
                    peer.name()
                );
                let figures = scenario.measure(*peer, programs, plan).await;
                let figures =
                    figures.with_context(|| format!("{} of {}", scenario.title(), peer.name()))?;
                ensure!(!figures.is_empty(), "{} measured nothing", scenario.title());
                report.add(round, *peer, *scenario, &figures);
            }
        }
    }
    Ok(())
}
