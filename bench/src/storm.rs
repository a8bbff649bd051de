//! Many workers at once, and another one that is awake and goes on meanwhile.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::http::Connection;
use crate::load::{histogram, micros};
use crate::peer::Server;
use crate::report::Figure;
use crate::scenario::names;

/// Workers that are woken at once.
const STORM: usize = 1_200;
/// Who asks for many workers at once.
const CONNECTIONS: usize = 16;

const NEIGHBOUR: &str = "/ping?neighbour";

/// A worker that is awake, and is asked while others are busy.
pub struct Neighbour {
    connection: Connection,
    pause: Duration,
}

impl Neighbour {
    /// Wakes it. It will be asked again and again, with such a pause after each answer.
    pub async fn wake(address: SocketAddr, pause: Duration) -> Result<Self> {
        let mut connection = Connection::open(address).await?;
        connection.get(NEIGHBOUR).await?;
        Ok(Self { connection, pause })
    }

    /// Asks it until the others are done; returns their result, and how long each answer took, in microseconds.
    pub async fn beside<T>(
        mut self,
        others: impl Future<Output = Result<T>>,
    ) -> Result<(T, Histogram<u64>)> {
        let are_done = Cell::new(false);
        let others = async {
            let done = others.await;
            are_done.set(true);
            done
        };
        let asking = async {
            let mut latency = histogram();
            while !are_done.get() {
                let asked = Instant::now();
                self.connection.get(NEIGHBOUR).await?;
                latency.saturating_record(micros(asked.elapsed()));
                if !self.pause.is_zero() {
                    tokio::time::sleep(self.pause).await;
                }
            }
            Ok(latency)
        };
        tokio::try_join!(others, asking)
    }
}

/// What the neighbour suffered.
pub fn suffered(latency: &Histogram<u64>) -> Figure {
    let p99 = latency.value_at_quantile(0.99) as f64 / 1e3;
    Figure::less("neighbour's p99 ms", p99)
}

/// Asks for each of these once, by a few clients.
pub async fn ask_at_once(address: SocketAddr, paths: Vec<String>) -> Result<()> {
    let paths = Arc::new(Mutex::new(paths.into_iter()));
    let mut clients = JoinSet::<Result<()>>::new();
    for _ in 0..CONNECTIONS {
        let (paths, mut connection) = (paths.clone(), Connection::open(address).await?);
        clients.spawn(async move {
            loop {
                let path = paths.lock().expect("taking a path does not panic").next();
                let Some(path) = path else { return Ok(()) };
                connection.get(&path).await?;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

/// Asks for new workers, each once, while one that is awake is asked all the time.
pub async fn wake_storm(server: &Server) -> Result<Vec<Figure>> {
    let neighbour = Neighbour::wake(server.address, Duration::ZERO).await?;
    let (began, cpu) = (Instant::now(), server.cpu_time()?);
    let storm = async {
        ask_at_once(server.address, names("/add", STORM)).await?;
        Ok(began.elapsed())
    };
    let (took, latency) = neighbour.beside(storm).await?;
    let cpu = server.cpu_time()?.saturating_sub(cpu);
    let each = 1e3 / STORM as f64;
    Ok(vec![
        Figure::more("wakes/s", STORM as f64 / took.as_secs_f64()),
        Figure::less("CPU ms a wake", cpu.as_secs_f64() * each),
        suffered(&latency),
    ])
}
