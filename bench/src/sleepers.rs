//! What it costs to wake one of many workers that sleep, however many there are.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use portside_store::testing::PostgresServer;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::http::Connection;
use crate::load::{histogram, micros};
use crate::peer::{App, Programs};
use crate::pods::Pods;
use crate::process;
use crate::report::{Beside, Figure};
use crate::scenario::{BETWEEN_WAKES, latencies};

/// How many sleep.
const COUNTS: [(usize, &str); 2] = [(1_000, "of 1 000"), (1_000_000, "of 1 000 000")];
/// How many of them are woken before anything is measured: servers and plans of statements may have begun to sleep, too.
const FIRST: usize = 20;
/// How many are woken then.
const WOKEN: usize = 400;
/// Pods that share them.
const PODS: usize = 2;

/// Stores what the worker `template` has stored once more for each of so many others, as the store itself would.
const FILL: &str = include_str!("sleepers.sql");

/// Asks workers that sleep, one at a time, each by a path of its own; with a thousand stored, and with a million.
pub async fn route_and_wake(programs: &Programs, postgres: &PostgresServer) -> Result<Vec<Figure>> {
    let mut all = Beside::default();
    for (count, of) in COUNTS {
        let store = postgres.database().await;
        let pods = Pods::start(programs, App::Sleepers, &store, PODS).await?;
        let mut connection = Connection::open(pods.server.address).await?;
        connection.get("/add/template").await?;
        fill(&store, count).await?;

        // Some of all of them, evenly.
        let mut paths = (0..FIRST + WOKEN).map(|place| {
            let number = 1 + place * count / (FIRST + WOKEN);
            format!("/read/sleeper-{number}")
        });
        for path in paths.by_ref().take(FIRST) {
            wake(&mut connection, &path).await?;
        }
        let process = postgres.process_id()?;
        let cpu = (
            pods.server.cpu_time()?,
            process.map(process::cpu_time).transpose()?,
        );
        let mut latency = histogram();
        for path in paths {
            tokio::time::sleep(BETWEEN_WAKES).await;
            let asked = Instant::now();
            wake(&mut connection, &path).await?;
            latency.saturating_record(micros(asked.elapsed()));
        }
        let each = 1e3 / WOKEN as f64;
        let ours = pods.server.cpu_time()?.saturating_sub(cpu.0);
        let mut figures: Vec<_> = latencies(&latency).into();
        figures.push(Figure::less("CPU ms a wake", ours.as_secs_f64() * each));
        if let (Some(process), Some(before)) = (process, cpu.1) {
            let theirs = process::cpu_time(process)?.saturating_sub(before);
            let theirs = theirs.as_secs_f64() * each;
            figures.push(Figure::less("Postgres's CPU ms a wake", theirs));
        }
        pods.server.stop().await?;
        all.add(of, figures);
    }
    Ok(all.into_figures())
}

/// Stores so many workers, and has the database come to rest.
async fn fill(store: &str, count: usize) -> Result<()> {
    let mut database = PgConnection::connect(store).await?;
    let fill = AssertSqlSafe(FILL.replace("COUNT", &count.to_string()));
    let filled = sqlx::query(fill).execute(&mut database).await?;
    ensure!(
        filled.rows_affected() == count as u64,
        "{} workers were stored instead of {count}",
        filled.rows_affected()
    );
    for rest in [
        "VACUUM ANALYZE portside.worker",
        "VACUUM ANALYZE portside.kv",
        "CHECKPOINT",
    ] {
        sqlx::query(rest).execute(&mut database).await?;
    }
    Ok(())
}

/// Asks a worker that sleeps and has what the others have.
async fn wake(connection: &mut Connection, path: &str) -> Result<()> {
    match connection.get(path).await?.as_ref() {
        b"1 woken" => Ok(()),
        other => bail!("{path} answers {}", String::from_utf8_lossy(other)),
    }
}
