//! Pods that share the workers on one Postgres, behind a gateway: beside one pod, and links between them beside those
//! within one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portside_core::ids::SHARDS;
use portside_store::testing::PostgresServer;
use sqlx::{Connection as _, PgConnection};

use crate::http::{self, Connection, Getter};
use crate::load::closed_loop;
use crate::peer::{App, Peer, Programs, Server, Storage};
use crate::report::{Beside, Figure};
use crate::scenario::{MANY, Plan, ROOM, names, rates};
use crate::socket;
use crate::storm::ask_at_once;

/// How many pods there are, one after the other.
const COUNTS: [usize; 3] = [1, 2, 4];
/// Of those that one is measured beside.
const MOST: usize = 4;
/// How long pods may take until each has its share of the workers.
const SHARED: Duration = Duration::from_secs(30);
/// Workers among which there is one in each of two pods.
const CANDIDATES: usize = 64;

/// Pods, and what they say of themselves.
pub struct Pods {
    /// The server, with the gateway's address.
    pub server: Server,
    /// Where each takes requests, and where it has its metrics.
    each: Vec<(SocketAddr, SocketAddr)>,
}

/// Links that pods have opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Links {
    here: u64,
    elsewhere: u64,
}

impl Pods {
    /// Starts them on this database, and returns when they have evenly shared the workers.
    pub async fn start(programs: &Programs, app: App, store: &str, count: usize) -> Result<Self> {
        let storage = Storage::Pods(store, count);
        let server = programs.start(Peer::Portside, app, storage).await?;
        let began = Instant::now();
        let mut database = PgConnection::connect(store).await?;
        loop {
            let shares: Vec<i64> = sqlx::query_scalar(
                "SELECT count(*) FROM portside.shard WHERE owner IS NOT NULL GROUP BY owner",
            )
            .fetch_all(&mut database)
            .await?;
            let least = shares.iter().min().copied().unwrap_or_default();
            let is_even = shares.iter().all(|share| *share <= least + 1);
            let each = server.pods()?;
            let is_all = shares.iter().sum::<i64>() == i64::from(SHARDS);
            if shares.len() == count && is_even && is_all && each.len() == count {
                return Ok(Self { server, each });
            }
            ensure!(
                began.elapsed() < SHARED,
                "{count} pods have not shared the workers in {SHARED:?}, but {shares:?}:\n{}",
                server.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What all have opened so far.
    async fn links(&self) -> Result<Links> {
        let mut all = Links {
            here: 0,
            elsewhere: 0,
        };
        for (_, admin) in &self.each {
            let metrics = http::get(*admin, "/metrics").await?;
            let some = Links::parse(&String::from_utf8_lossy(&metrics));
            let some = some.with_context(|| format!("{admin} does not count links"))?;
            all.here += some.here;
            all.elsewhere += some.elsewhere;
        }
        Ok(all)
    }

    /// Puts a load on one of them, or the gateway; returns its rates, and the share of links to other pods.
    async fn load(
        &self,
        plan: &Plan,
        (what, at): (&str, SocketAddr),
        paths: Vec<String>,
    ) -> Result<(Vec<Figure>, f64)> {
        let before = self.links().await?;
        let clients = Getter::open_many(at, plan.connections, paths).await?;
        let sample = closed_loop(&self.server, plan, clients).await?;
        let share = self.links().await?.since(before).remote_share();
        Ok((rates(what, &sample), share))
    }
}

impl Links {
    /// Of the metrics of a pod.
    fn parse(metrics: &str) -> Option<Self> {
        let count = |target: &str| {
            let name = format!("portside_sidecar_links_opened_total{{target=\"{target}\"}} ");
            let count = metrics.lines().find_map(|line| line.strip_prefix(&*name));
            count?.parse().ok()
        };
        Some(Self {
            here: count("here")?,
            elsewhere: count("elsewhere")?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            here: self.here - before.here,
            elsewhere: self.elsewhere - before.elsewhere,
        }
    }

    /// How many of a hundred are to other pods.
    fn remote_share(self) -> f64 {
        self.elsewhere as f64 * 100.0 / ((self.here + self.elsewhere) as f64).max(1.0)
    }
}

fn remote_links(share: f64) -> Figure {
    Figure::less("% of links to other pods", share)
}

/// Paths that differ in the worker's name. The gateway remembers paths, and which pod has what requests of each use.
pub fn own_paths(path: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{path}/worker-{number}"))
        .collect()
}

fn pods(count: usize) -> String {
    match count {
        1 => "1 pod".to_owned(),
        _ => format!("{count} pods"),
    }
}

/// The same loads on 1, 2 and 4 pods: round trips to workers whose paths tell the gateway where they are, the same where paths
/// tell it nothing, and durable writes.
pub async fn throughput(
    programs: &Programs,
    plan: &Plan,
    postgres: &PostgresServer,
) -> Result<Vec<Figure>> {
    let loads = [
        ("round trips", own_paths("/read", MANY)),
        ("round trips by one path", names("/read", MANY)),
        ("durable writes", own_paths("/add", MANY)),
    ];
    let mut measured = [(); 3].map(|()| Beside::default());
    for count in COUNTS {
        let store = postgres.database().await;
        let pods_there = Pods::start(programs, App::Workers, &store, count).await?;
        let gateway = pods_there.server.address;
        for path in ["/add", "/read"] {
            ask_at_once(gateway, own_paths(path, MANY)).await?;
        }
        for (place, (what, paths)) in loads.iter().enumerate() {
            let load = pods_there.load(plan, (what, gateway), paths.clone());
            let (mut figures, share) = load.await?;
            figures.truncate(2); // the rates
            measured[place].add(&pods(count), figures);
            if count > 1 {
                measured[place].add_alone(&pods(count), remote_links(share).of(what));
            }
        }
        pods_there.server.stop().await?;
    }
    Ok(measured
        .into_iter()
        .flat_map(Beside::into_figures)
        .collect())
}

/// One of two pods is asked, past the gateway, for a worker that it has, and for one that the other one has.
pub async fn round_trips(
    programs: &Programs,
    plan: &Plan,
    postgres: &PostgresServer,
) -> Result<Vec<Figure>> {
    let store = postgres.database().await;
    let pods = Pods::start(programs, App::Workers, &store, 2).await?;
    let asked = pods.each[0].0;
    let mut figures = Beside::default();
    let alone = Plan {
        connections: 1,
        ..*plan
    };
    for (place, wanted_share) in [("same pod", 0.0), ("another pod", 100.0)] {
        let path = path_with(&pods, asked, wanted_share).await?;
        let load = pods.load(plan, ("requests", asked), vec![path.clone()]);
        let (mut of_many, share) = load.await?;
        let (of_one, share_of_one) = pods.load(&alone, ("requests", asked), vec![path]).await?;
        ensure!(
            share == wanted_share && share_of_one == wanted_share,
            "{share} % and {share_of_one} % of links were to another pod instead of {wanted_share} %"
        );
        of_many.extend(of_one.into_iter().map(|figure| figure.of("1 connection")));
        figures.add(place, of_many);
    }
    pods.server.stop().await?;
    Ok(figures.into_figures())
}

/// A path for a worker that is where this share of links to it says, as seen from the pod at this address.
async fn path_with(pods: &Pods, asked: SocketAddr, share: f64) -> Result<String> {
    let mut connection = Connection::open(asked).await?;
    for path in names("/ping", CANDIDATES) {
        let before = pods.links().await?;
        connection.get(&path).await?;
        if pods.links().await?.since(before).remote_share() == share {
            return Ok(path);
        }
    }
    anyhow::bail!("of {CANDIDATES} workers none is where {share} % of links are to another pod")
}

/// A room whose members' sockets are spread over 4 pods, by paths of their own, and the same with 1 pod.
pub async fn broadcasts(
    programs: &Programs,
    plan: &Plan,
    postgres: &PostgresServer,
) -> Result<Vec<Figure>> {
    let mut figures = Beside::default();
    for count in [1, MOST] {
        let store = postgres.database().await;
        let pods_there = Pods::start(programs, App::Workers, &store, count).await?;
        let paths: Vec<String> = (0..ROOM)
            .map(|member| format!("/room/lobby/{member}"))
            .collect();
        let sample = socket::broadcast(&pods_there.server, plan, &paths).await?;
        let share = pods_there.links().await?.remote_share();
        figures.add(&pods(count), rates("deliveries", &sample));
        if count > 1 {
            ensure!(
                share > 50.0,
                "only {share} % of the room's sockets are in other pods than the room"
            );
            figures.add_alone(&pods(count), remote_links(share));
        }
        pods_there.server.stop().await?;
    }
    Ok(figures.into_figures())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_counted_by_where_they_lead() {
        let metrics = "# TYPE portside_sidecar_links_opened counter\n\
                       portside_sidecar_links_opened_total{target=\"here\"} 30\n\
                       portside_sidecar_links_opened_total{target=\"elsewhere\"} 12\n";
        let links = Links::parse(metrics).unwrap();
        let (here, elsewhere) = (30, 12);
        assert_eq!(links, Links { here, elsewhere });
        let before = Links {
            here: 21,
            elsewhere: 9,
        };
        assert_eq!(links.since(before).remote_share(), 25.0);
        assert_eq!(Links::parse("# EOF\n"), None);
    }
}
