//! Real processes under load while everything around them fails, and a check of what their clients were told.
//!
//! A run is a number of rounds, each with processes, a database and a seed of its own. `docs/ARCHITECTURE.md` says how it
//! works and how to replay a round.
#![cfg(target_os = "linux")] // every address of 127.0.0.0/8 can be listened on

mod api;
mod check;
mod counting;
mod databases;
mod dev;
mod history;
mod load;
mod network;
mod pods;
mod postgres;
mod process;
mod proxy;
mod report;
mod round;
mod schedule;
mod sockets;
mod system;
mod terms;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use futures::future::join_all;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::check::Kind;
use crate::dev::Dev;
use crate::load::Part;
use crate::pods::Pods;
use crate::process::Guard;
use crate::report::Counts;
use crate::round::{Outcome, Plan};
use crate::schedule::Fault;
use crate::system::{App, Programs, Setting};

/// Runs Portside's processes under load while they are killed, paused and cut off, and checks what clients were told.
#[derive(Debug, Parser)]
struct Args {
    /// For how long to begin new rounds
    #[arg(long, default_value_t = 0, value_name = "MINUTES")]
    minutes: u64,
    /// How many rounds there are at least of each lab with each application
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    rounds: u64,
    /// How long faults go on in a round
    #[arg(long, default_value_t = 45)]
    seconds: u64,
    /// The first round's seed; the next ones' follow. By default another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Run only this lab
    #[arg(long, value_enum)]
    lab: Option<Lab>,
    /// Run only this application
    #[arg(long, value_enum)]
    app: Option<App>,
    /// Only these faults
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Fault>,
    /// The load without these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Part>,
    /// See whether the lab finds what is wrong with an application that loses, tears, repeats, and answers what was true before
    #[arg(long)]
    self_test: bool,
    /// The folder with the programs [default: the lab's own]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Where logs and histories of failed rounds go
    #[arg(long, value_name = "DIR", default_value = "target/faults")]
    logs: PathBuf,
}

impl Args {
    fn apps(&self) -> Vec<App> {
        match self.app {
            Some(app) => vec![app],
            None => vec![App::Workers, App::Objects],
        }
    }
}

/// How long all workers may take to answer, and alarms to come, once nothing goes wrong any more.
const SETTLE: Duration = Duration::from_secs(20);

/// The last byte of the first address of processes.
const FIRST_HOST: u8 = 2;
/// Operations that are printed before and after a violation.
const NEAR: usize = 20;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lab {
    /// Three pods of one class on Postgres, behind a gateway.
    Pods,
    /// The same, but all of them serve, and share the workers.
    Shared,
    /// `portside dev` on SQLite.
    Dev,
}

impl Lab {
    fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Shared => "shared",
            Self::Dev => "dev",
        }
    }

    fn faults(self) -> Vec<Fault> {
        match self {
            Self::Pods => Fault::PODS.to_vec(),
            Self::Shared => [Fault::PODS, Fault::PEERS].concat(),
            Self::Dev => Fault::DEV.to_vec(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    // Leaving this block drops, and so ends, every process.
    tokio::select! {
        done = run(Args::parse()) => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    }
}

async fn run(args: Args) -> Result<ExitCode> {
    let folder = match &args.programs {
        Some(folder) => folder.clone(),
        None => std::env::current_exe()?
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default(),
    };
    let programs = Programs::in_folder(&folder)?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    // In a namespace of its own even the loopback device does not work before.
    let network = network::make_ready();
    if args.self_test {
        let mut missed = 0;
        for app in args.apps() {
            missed += self_test(&args, app, &programs, seed).await?;
        }
        return Ok(ExitCode::from(u8::from(missed > 0)));
    }
    let end = Instant::now() + Duration::from_secs(args.minutes * 60);
    let labs = args
        .lab
        .map_or_else(|| vec![Lab::Pods, Lab::Shared, Lab::Dev], |lab| vec![lab]);
    if labs.iter().any(|lab| *lab != Lab::Dev) {
        network?;
    }
    // Each lab with each application, again and again.
    let apps = args.apps().into_iter();
    let kinds: Vec<(Lab, App)> = apps
        .flat_map(|app| labs.iter().map(move |lab| (*lab, app)))
        .collect();
    let (mut failed, mut counts) = (Vec::new(), Counts::default());
    let mut ran = 0;
    while ran < args.rounds * kinds.len() as u64 || Instant::now() < end {
        let seed = seed + ran;
        let kind = kinds[usize::try_from(ran)? % kinds.len()];
        ran += 1;
        let (lab, app) = kind;
        let plan = plan(&args, lab, seed);
        let logs = args
            .logs
            .join(format!("{}-{}-{seed}", lab.name(), app.name()));
        let well = match round(kind, &plan, &programs, &logs, ("", FIRST_HOST)).await? {
            Ok(outcome) => {
                counts += Counts::of(&outcome);
                show(&args, kind, seed, &outcome, &logs)?
            }
            Err(error) => {
                let mut out = std::io::stdout().lock();
                write_title(&mut out, kind, seed)?;
                writeln!(out, "  VIOLATED: it did not come back: {error:#}")?;
                again(&mut out, &args, kind, seed, &logs)?;
                false
            }
        };
        if well {
            fs::remove_dir_all(&logs)?;
        } else {
            failed.push(seed);
        }
    }
    let mut out = std::io::stdout().lock();
    if ran > 1 {
        writeln!(out, "faults: {ran} rounds: {counts}")?;
    }
    if failed.is_empty() {
        writeln!(out, "faults: nothing is wrong")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        out,
        "faults: {} rounds failed; logs and histories are in {}",
        failed.len(),
        args.logs.display()
    )?;
    Ok(ExitCode::FAILURE)
}

fn plan(args: &Args, lab: Lab, seed: u64) -> Plan {
    let mut faults = lab.faults();
    if !args.only.is_empty() {
        faults.retain(|fault| args.only.contains(fault));
    }
    Plan {
        seed,
        duration: Duration::from_secs(args.seconds),
        faults,
        without: args.without.clone(),
        settle: SETTLE,
    }
}

/// Runs a round on a system of its own, of which something is wrong if `lie` says so. The outer error is that it does not
/// start.
async fn round(
    (lab, app): (Lab, App),
    plan: &Plan,
    programs: &Programs,
    logs: &Path,
    (lie, host): (&'static str, u8),
) -> Result<Result<Outcome>> {
    fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let setting = Setting {
        programs: programs.clone(),
        guard: Guard::start()?,
        logs: logs.canonicalize()?,
        app,
        lie,
        host,
    };
    Ok(match lab {
        Lab::Pods => round::run(&mut Pods::start(setting, false).await?, plan).await,
        Lab::Shared => round::run(&mut Pods::start(setting, true).await?, plan).await,
        Lab::Dev => round::run(&mut Dev::start(setting)?, plan).await,
    })
}

/// Prints a round, and writes the histories of workers of which something is wrong. Whether nothing is.
fn show(args: &Args, kind: (Lab, App), seed: u64, outcome: &Outcome, logs: &Path) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    write_title(&mut out, kind, seed)?;
    write!(out, "{}", report::figures(outcome))?;
    let mut shown: Vec<Kind> = Vec::new();
    let mut counts = std::collections::BTreeMap::<Kind, usize>::new();
    for (index, violation) in &outcome.violations {
        *counts.entry(violation.kind).or_default() += 1;
        let history = &outcome.histories[*index];
        let name = format!("{}-{}.txt", history.worker, violation.kind).replace(' ', "-");
        let whole = report::violation(violation, history, outcome, None);
        fs::write(logs.join(name), whole)?;
        if !shown.contains(&violation.kind) {
            shown.push(violation.kind);
            let near = report::violation(violation, history, outcome, Some(NEAR));
            write!(out, "{near}")?;
        }
    }
    for (kind, count) in &counts {
        writeln!(out, "  VIOLATED: {kind}, on {count} workers")?;
    }
    for wrong in &outcome.counts {
        writeln!(
            out,
            "  VIOLATED: on a WebSocket that outlives pods: {wrong}"
        )?;
    }
    for contradiction in &outcome.contradictions {
        writeln!(out, "  VIOLATED: {}: {contradiction}", Kind::TwoOwners)?;
    }
    for failed in &outcome.failed {
        writeln!(
            out,
            "  VIOLATED: a request failed, and nothing was wrong: {failed}"
        )?;
    }
    let well = counts.is_empty()
        && outcome.failed.is_empty()
        && outcome.contradictions.is_empty()
        && outcome.counts.is_empty();
    if !well {
        again(&mut out, args, kind, seed, logs)?;
    }
    Ok(well)
}

fn write_title(out: &mut impl Write, (lab, app): (Lab, App), seed: u64) -> std::io::Result<()> {
    let (lab, app) = (lab.name(), app.name());
    writeln!(out, "faults: round of {lab} with {app}, seed {seed}")
}

/// Says how to run a round once more.
fn again(
    out: &mut impl Write,
    args: &Args,
    (lab, app): (Lab, App),
    seed: u64,
    logs: &Path,
) -> Result<()> {
    let mut flags = format!(
        "--lab {} --app {} --seed {seed} --seconds {}",
        lab.name(),
        app.name(),
        args.seconds
    );
    let list = |names: Vec<String>| names.join(",");
    if !args.only.is_empty() {
        flags += &format!(
            " --only {}",
            list(args.only.iter().map(|fault| fault.name()).collect())
        );
    }
    if !args.without.is_empty() {
        flags += &format!(
            " --without {}",
            list(args.without.iter().map(|part| part.name()).collect())
        );
    }
    writeln!(out, "  logs and histories are in {}", logs.display())?;
    writeln!(out, "  again: make faults ARGS=\"{flags}\"")?;
    Ok(())
}

/// What is made wrong with the application, and how that is to be found.
const LIES: [(&str, Kind); 9] = [
    ("lost", Kind::Lost),
    ("torn", Kind::Torn),
    ("twice", Kind::Twice),
    ("stale", Kind::Stale),
    ("two-owners", Kind::TwoOwners),
    ("leaked", Kind::Leaked),
    ("no-alarm", Kind::NoAlarm),
    ("alarm-twice", Kind::WrongAlarm),
    ("undeleted", Kind::Torn),
];

/// Each lie must be found, as what it is, in an application that is otherwise the same. How many are not.
async fn self_test(args: &Args, app: App, programs: &Programs, seed: u64) -> Result<usize> {
    let plan = Plan {
        seed,
        duration: Duration::from_secs(6),
        faults: vec![Fault::Kill],
        without: vec![Part::Half, Part::Spin],
        settle: Duration::from_secs(5),
    };
    let rounds = LIES
        .into_iter()
        .zip(FIRST_HOST..)
        .map(async |((lie, kind), host)| {
            let logs = args.logs.join(format!("self-test-{lie}"));
            let round = round((Lab::Dev, app), &plan, programs, &logs, (lie, host));
            let outcome = round.await??;
            fs::remove_dir_all(&logs)?;
            let mut violations = outcome.violations.iter();
            anyhow::Ok((
                kind,
                violations.any(|(_, violation)| violation.kind == kind),
            ))
        });
    let mut missed = 0;
    for outcome in join_all(rounds).await {
        let (kind, found) = outcome?;
        let verdict = if found { "found" } else { "NOT FOUND" };
        let app = app.name();
        writeln!(
            std::io::stdout(),
            "faults: self-test with {app}: {kind}: {verdict}"
        )?;
        missed += usize::from(!found);
    }
    Ok(missed)
}
