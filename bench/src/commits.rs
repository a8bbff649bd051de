//! Durable commits on Postgres: the writes of many workers in one, beside one for each write.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use portside_core::ids::{PodId, SHARDS, WorkerKey};
use portside_store::Outcome;
use portside_store::lanes::Lanes;
use portside_store::testing::{Owner, PostgresServer, put, worker};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::http::Getter;
use crate::load::{Client, Sample, closed_loop, closed_loop_on};
use crate::peer::{App, Peer, Programs, Storage};
use crate::pods::own_paths;
use crate::process;
use crate::report::{Beside, Figure};
use crate::scenario::{MANY, Plan, rates};
use crate::storm::ask_at_once;

/// As long as what the counter stores.
const VALUE: [u8; 4] = [0; 4];
const KEY: &str = "count";

/// The store's way: writes queue up while the statement before them is on its way, and go with the next one.
struct Grouped {
    lanes: Arc<Lanes>,
    owner: Arc<Owner>,
    worker: WorkerKey,
}

impl Client for Grouped {
    async fn once(&mut self) -> Result<()> {
        let commit = self.owner.commit(&self.worker, put(KEY, VALUE));
        let outcome = self.lanes.submit(commit).await?;
        ensure!(outcome == Outcome::Committed, "a write is {outcome:?}");
        Ok(())
    }
}

/// The plain way: each write of the same row is a transaction, without the check of who may write.
struct OneByOne {
    connection: PgConnection,
    pool: i32,
    workers: Arc<[WorkerKey]>,
    next: usize,
    stride: usize,
}

impl Client for OneByOne {
    async fn once(&mut self) -> Result<()> {
        let id = self.workers[self.next % self.workers.len()].id();
        self.next += self.stride;
        let upsert = sqlx::query(
            "INSERT INTO portside.kv (pool, shard, worker, key, value) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (pool, shard, worker, key) DO UPDATE SET value = excluded.value",
        );
        let upsert = upsert
            .bind(self.pool)
            .bind(i32::try_from(id.shard(SHARDS).0)?);
        let upsert = upsert.bind(Uuid::from_bytes(id.0)).bind(KEY.as_bytes());
        upsert
            .bind(&VALUE[..])
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}

/// Measures writes of many workers on this server: one by one, on as many connections as the store has for commits; in groups, by
/// the store alone; and by workers that clients ask.
pub async fn commits(
    programs: &Programs,
    plan: &Plan,
    postgres: &PostgresServer,
) -> Result<Vec<Figure>> {
    let database = postgres.database().await;
    let store = portside_store::open(&database, "bench").await?;
    let pod = PodId(Uuid::new_v4().as_u128());
    store.register(pod, "bench").await?;
    let owner = Arc::new(Owner::claim(&store, pod).await);
    let workers: Arc<[_]> = (0..MANY)
        .map(|number| worker(&format!("worker-{number}")))
        .collect();
    // Rows of their own are there before anything is measured.
    for worker in &*workers {
        owner.write(worker, put(KEY, VALUE)).await;
    }
    let process = postgres.process_id()?;
    let cpu_time = || process.map_or(Ok(Duration::ZERO), process::cpu_time);

    let mut one_by_one = Vec::with_capacity(store.lanes());
    for next in 0..store.lanes() {
        let mut connection = PgConnection::connect(&database).await?;
        let pool = sqlx::query_scalar("SELECT pool FROM portside.pool");
        one_by_one.push(OneByOne {
            pool: pool.fetch_one(&mut connection).await?,
            connection,
            workers: workers.clone(),
            next,
            stride: store.lanes(),
        });
    }
    let one_by_one = closed_loop_on(cpu_time, plan, one_by_one).await?;

    let lanes = Arc::new(Lanes::new(&store));
    let grouped = workers.iter().map(|worker| Grouped {
        lanes: lanes.clone(),
        owner: owner.clone(),
        worker: worker.clone(),
    });
    let grouped = closed_loop_on(cpu_time, plan, grouped.collect()).await?;

    let database = postgres.database().await;
    let storage = Storage::Postgres(&database);
    let server = programs
        .start(Peer::Portside, App::Workers, storage)
        .await?;
    let paths = own_paths("/add", MANY);
    ask_at_once(server.address, paths.clone()).await?;
    let clients = Getter::open_many(server.address, MANY, paths).await?;
    let asked = closed_loop(&server, plan, clients).await?;
    server.stop().await?;

    let mut figures = Beside::default();
    figures.add("one commit each", per_second(&one_by_one));
    figures.add("group commit", per_second(&grouped));
    // Its CPU time is another one's.
    figures.add(
        "workers that are asked",
        per_second(&Sample {
            cpu: Duration::ZERO,
            ..asked
        }),
    );
    Ok(figures.into_figures())
}

/// The rates, if only by the clock: how long one write takes of a thousand that are made at once says nothing beside one of four.
fn per_second(sample: &Sample) -> Vec<Figure> {
    let mut figures = rates("writes", sample);
    figures.truncate(if sample.cpu.is_zero() { 1 } else { 2 });
    figures
}
