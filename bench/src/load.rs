//! Closed loops: each client asks, waits for the answer, and asks again.
//!
//! A slow server is asked less often, so these latencies are those of a server under full load, not those of
//! one that requests reach at a steady pace.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::peer::Server;
use crate::scenario::Plan;

/// One of the clients of a load.
pub trait Client: Send + 'static {
    /// Asks once and waits for the whole answer. An error ends the measurement.
    fn once(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// What a load made the server do.
pub struct Sample {
    /// The measured time.
    pub elapsed: Duration,
    /// The server's CPU time meanwhile.
    pub cpu: Duration,
    /// How long each answer within the measured time took, in microseconds.
    pub latency: Histogram<u64>,
}

/// Collects the answers that come within the measured time, which follows the warm-up.
pub struct Recorder {
    begin: Instant,
    end: Instant,
    latency: Mutex<Histogram<u64>>,
}

impl Recorder {
    /// Begins with the warm-up now.
    pub fn start(plan: &Plan) -> Arc<Self> {
        let begin = Instant::now() + plan.warm_up;
        Arc::new(Self {
            begin,
            end: begin + plan.duration,
            latency: Mutex::new(histogram()),
        })
    }

    /// Counts what was asked at `asked` and has just been answered.
    pub fn record(&self, asked: Instant) {
        let now = Instant::now();
        if now >= self.begin && now < self.end {
            let mut latency = self.latency.lock().expect("recording does not panic");
            latency.saturating_record(micros(now - asked));
        }
    }

    /// Waits until the measured time is over while the tasks put load on a server that has used so much CPU time; then ends
    /// the tasks. They may not end by themselves.
    pub async fn watch(
        &self,
        cpu_time: impl Fn() -> Result<Duration>,
        mut tasks: JoinSet<Result<()>>,
    ) -> Result<Sample> {
        let measured = async {
            tokio::time::sleep_until(self.begin.into()).await;
            let (begin, cpu) = (Instant::now(), cpu_time()?);
            tokio::time::sleep_until(self.end.into()).await;
            anyhow::Ok((begin.elapsed(), cpu_time()?.saturating_sub(cpu)))
        };
        let (elapsed, cpu) = tokio::select! {
            measured = measured => measured?,
            Some(ended) = tasks.join_next() => {
                ended??;
                bail!("a client ended before the measured time did");
            }
        };
        let latency = self
            .latency
            .lock()
            .expect("recording does not panic")
            .clone();
        Ok(Sample {
            elapsed,
            cpu,
            latency,
        })
    }
}

/// In microseconds, as latencies are recorded.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Latencies from a microsecond to a minute, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

/// Runs a load of these clients on a server, and measures it.
pub async fn closed_loop<C: Client>(
    server: &Server,
    plan: &Plan,
    clients: Vec<C>,
) -> Result<Sample> {
    let sample = closed_loop_on(|| server.cpu_time(), plan, clients).await;
    sample.with_context(|| format!("the server printed:\n{}", server.log()))
}

/// The same on whoever has used so much CPU time.
pub async fn closed_loop_on<C: Client>(
    cpu_time: impl Fn() -> Result<Duration>,
    plan: &Plan,
    clients: Vec<C>,
) -> Result<Sample> {
    let recorder = Recorder::start(plan);
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let recorder = recorder.clone();
        tasks.spawn(async move {
            loop {
                let asked = Instant::now();
                client.once().await?;
                recorder.record(asked);
            }
        });
    }
    recorder.watch(cpu_time, tasks).await
}
