//! JavaScript's behaviour through the real runtime, on a real store.
//!
//! One program for all of it, for it links V8: `conformance` has the requirements of the standard, each test named by the
//! numbers it proves; `hostile` has workers that misbehave; `objects` has Durable Objects; `platform` has what other
//! standards ask; `surface` uses every name that JavaScript sees. Not libtest's own `main`, because V8 wants to be started on
//! the main thread.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod app;
mod assets;
mod caches;
mod compiled;
mod conformance;
mod crons;
mod durability;
mod followed;
mod held;
mod hostile;
mod inspected;
mod lab;
mod leaving;
mod manage;
mod metrics;
mod moves;
mod moving_sockets;
mod objects;
mod platform;
mod pods;
mod reads;
mod ready;
mod reloads;
mod room;
mod sharing;
mod surface;
mod turns;
mod types;

use std::pin::Pin;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test: its name, and what it does.
pub type Case = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// Lists async test functions as cases named after them.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), || Box::pin($name()))),*]
    };
}

/// What makes sense only where the server that is asked and the workers are in the same process: what both share, which process
/// runs crons and when it ends, which has room for what, and who is told that it owns nothing.
const OF_ONE_PROCESS: &[&str] = &[
    "s07_storage::r058_acknowledged_writes_survive_the_process",
    "s08_alarms::r063_an_alarm_whose_worker_was_turned_away_fires_when_it_is_owned",
    "caches::all_of_the_application_has_the_same_caches",
    "caches::what_is_put_waits_for_the_writes_before_it",
    "crons::a_run_that_is_under_way_is_waited_for_when_the_process_ends",
    "crons::a_run_that_takes_too_long_is_cut_off_and_logged",
    "crons::a_pod_that_lost_its_shards_meanwhile_runs_nothing",
    "durability::a_worker_answers_when_two_settlings_of_its_shard_meet",
    "room::over_the_cap_whoever_opens_a_worker_hears_that_it_is_overloaded",
    "room::at_the_cap_the_worker_that_was_idle_for_longest_makes_room",
    "room::short_of_memory_idle_workers_are_put_to_sleep_and_busy_ones_stay",
    "room::without_a_server_or_room_for_one_requests_are_turned_away",
    // In a cluster new code comes with new pods: none takes it while another one calls its workers.
    "reloads::no_request_fails_and_no_write_is_lost_under_load",
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    app::start_isolates();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    let trials = conformance::SECTIONS
        .iter()
        .chain(hostile::SECTIONS)
        .chain(platform::SECTIONS)
        .chain(&[
            ("assets", assets::CASES),
            ("caches", caches::CASES),
            ("compiled", compiled::CASES),
            ("crons", crons::CASES),
            ("durability", durability::CASES),
            ("inspected", inspected::CASES),
            ("leaving", leaving::CASES),
            ("followed", followed::CASES),
            ("manage", manage::CASES),
            ("metrics", metrics::CASES),
            ("moves", moves::CASES),
            ("moving_sockets", moving_sockets::CASES),
            ("objects::alarms", objects::alarms::CASES),
            ("objects::calls", objects::calls::CASES),
            ("objects::hibernation", objects::hibernation::CASES),
            ("objects::isolation", objects::isolation::CASES),
            ("objects::large", objects::large::CASES),
            ("pods", pods::CASES),
            ("reads", reads::CASES),
            ("ready", ready::CASES),
            ("reloads", reloads::CASES),
            ("room", room::CASES),
            ("sharing", sharing::CASES),
            ("surface", surface::CASES),
            ("turns", turns::CASES),
            ("types", types::CASES),
            ("surface::durable", surface::durable::CASES),
            ("surface::outgoing", surface::outgoing::CASES),
        ])
        .flat_map(|(section, cases)| cases.iter().map(move |case| (section, case)))
        .filter(|(section, (name, _))| {
            !app::are_apart() || !OF_ONE_PROCESS.contains(&&*format!("{section}::{name}"))
        })
        .map(|(section, (name, test))| {
            let handle = handle.clone();
            Trial::test(format!("{section}::{name}"), move || {
                handle.block_on(test());
                Ok(())
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
