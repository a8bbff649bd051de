//! Alarms of sleeping workers, all due at one instant.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use crate::http::Connection;
use crate::load::histogram;
use crate::peer::Server;
use crate::report::Figure;
use crate::scenario::names;
use crate::storm::{Neighbour, ask_at_once, suffered};

/// Workers that are armed first, to see how long it will take to arm all.
const SCOUTS: usize = 64;
/// When their alarms are due at first: not while the benchmark runs.
const LATER: Duration = Duration::from_secs(86_400);
/// CPU time counts from so long before the alarms are due: Portside prepares for them.
const PREPARED: Duration = Duration::from_millis(5_500);
/// The tally and the neighbour are awake so long before the alarms are due: less than what puts them to sleep.
const AHEAD: Duration = Duration::from_millis(500);
/// How often the tally is read: alarms are seen to be late to this.
const LOOK: Duration = Duration::from_millis(20);
/// The neighbour is asked about 100 times a second, and not all the time: the alarms' CPU time is measured as well.
const PAUSE: Duration = Duration::from_millis(10);
/// How long after their time all alarms must have been handled: many times what they take.
const LIMIT: Duration = Duration::from_secs(180);

/// What the tally has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    /// Alarms that were handled, and what the handler stored is durable.
    alarms: usize,
    /// Of their workers, those that had been asleep.
    woken: usize,
}

/// Arms so many workers for one instant, leaves them alone until they sleep, and waits until every alarm is handled and
/// what its handler stored is durable.
pub async fn alarms(night: Duration, server: &Server, count: usize) -> Result<Vec<Figure>> {
    let address = server.address;
    let due = arm(night, address, count).await?;

    sleep_until(due - PREPARED).await;
    let cpu = server.cpu_time()?;
    sleep_until(due - AHEAD).await;
    let mut tally = Connection::open(address).await?;
    let early = read(&mut tally).await?.alarms;
    ensure!(early == 0, "{early} alarms came before their time");
    let neighbour = Neighbour::wake(address, PAUSE).await?;
    sleep_until(due).await;
    let (late, latency) = neighbour.beside(all(&mut tally, count)).await?;
    let cpu = server.cpu_time()?.saturating_sub(cpu);

    let millis = |quantile| late.value_at_quantile(quantile) as f64;
    let last = millis(1.0);
    Ok(vec![
        Figure::more("alarms/s", count as f64 / last.max(1.0) * 1e3),
        Figure::less("CPU ms an alarm", cpu.as_secs_f64() * 1e3 / count as f64),
        Figure::less("p50 ms late", millis(0.5)),
        Figure::less("p99 ms late", millis(0.99)),
        Figure::less("last, ms late", last),
        suffered(&latency),
    ])
}

/// Arms them all; returns the instant, by which all of them sleep.
async fn arm(night: Duration, address: SocketAddr, count: usize) -> Result<SystemTime> {
    let began = Instant::now();
    ask_at_once(address, arming(SCOUTS, SystemTime::now() + LATER)).await?;
    let expected = began.elapsed().mul_f64(count as f64 / SCOUTS as f64);
    // Twice the time, for a machine that is disturbed.
    let due = SystemTime::now() + 2 * expected + night;
    ask_at_once(address, arming(count, due)).await?;
    let left = due.duration_since(SystemTime::now()).unwrap_or_default();
    ensure!(
        left >= night,
        "arming {count} workers took too long for all to sleep when their alarms are due"
    );
    Ok(due)
}

/// Paths that arm so many workers.
fn arming(count: usize, due: SystemTime) -> Vec<String> {
    // In whole milliseconds, as JavaScript has it.
    let time = due.duration_since(UNIX_EPOCH).unwrap_or_default();
    let paths = names("/arm", count).into_iter();
    let with_time = |path| format!("{path}&{}", time.as_millis());
    paths.map(with_time).collect()
}

/// Waits until the tally has heard of so many alarms that are due now; returns how late each was, in milliseconds. By this
/// program's clock: workerd's stands still while it goes from one event to the next.
async fn all(tally: &mut Connection, count: usize) -> Result<Histogram<u64>> {
    let (began, mut late) = (Instant::now(), histogram());
    loop {
        let heard = read(tally).await?;
        let elapsed = began.elapsed();
        let millis = u64::try_from(elapsed.as_millis())?;
        late.saturating_record_n(millis, (heard.alarms as u64).saturating_sub(late.len()));
        if heard.alarms >= count {
            heard.check()?;
            return Ok(late);
        }
        ensure!(
            elapsed < LIMIT,
            "only {} of {count} alarms were handled in {LIMIT:?}",
            heard.alarms
        );
        tokio::time::sleep(LOOK).await;
    }
}

impl Heard {
    fn parse(answer: &str) -> Option<Self> {
        let (alarms, woken) = answer.split_once(' ')?;
        Some(Self {
            alarms: alarms.parse().ok()?,
            woken: woken.parse().ok()?,
        })
    }

    /// Nearly all workers must have been asleep.
    fn check(self) -> Result<()> {
        let Self { alarms, woken } = self;
        ensure!(
            woken * 10 >= alarms * 9,
            "only {woken} of {alarms} workers were asleep when their alarms were due"
        );
        Ok(())
    }
}

async fn read(tally: &mut Connection) -> Result<Heard> {
    let answer = tally.get("/tally").await?;
    let answer = String::from_utf8_lossy(&answer);
    Heard::parse(&answer).with_context(|| format!("the tally says {answer}"))
}

async fn sleep_until(time: SystemTime) {
    let left = time.duration_since(SystemTime::now());
    tokio::time::sleep(left.unwrap_or_default()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_says_how_many_alarms_and_how_many_of_them_woke_a_worker() {
        let (alarms, woken) = (30, 2);
        assert_eq!(Heard::parse("30 2"), Some(Heard { alarms, woken }));
        assert_eq!(Heard::parse("ready"), None);
    }

    #[test]
    fn alarms_of_workers_that_are_awake_are_no_measurement() {
        let heard = |woken| Heard { alarms: 10, woken };
        assert!(heard(9).check().is_ok());
        assert!(heard(8).check().is_err());
    }
}
