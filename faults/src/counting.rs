//! Clients that count on WebSockets which outlive pods: each number is to come back, once, in order.

use std::time::Duration;

use portside_testkit::Socket;
use serde_json::Value;
use tokio::time::{interval, timeout};

use crate::load::{PATIENCE, Shared, rest};

/// How often the next number is sent, without waiting for those before.
const STEP: Duration = Duration::from_millis(25);

/// A socket's numbers.
#[derive(Debug, Default)]
struct Count {
    sent: u64,
    heard: u64,
}

impl Count {
    /// What is wrong with the next number that was heard, if something is; `in_order`: none may be missing.
    fn hears(&mut self, number: u64, in_order: bool) -> Option<String> {
        let (expected, sent) = (self.heard, self.sent);
        self.heard = self.heard.max(number + 1);
        if number >= sent {
            Some(format!("heard {number} of {sent}"))
        } else if number < expected {
            Some(format!("heard {number} again, after {}", expected - 1))
        } else if number > expected && in_order {
            Some(format!("heard {number} and not {expected}"))
        } else {
            None
        }
    }
}

/// Counts until the load ends. `is_planned`: nothing is done to pods but what is done in order, so no socket ends, and nothing on it
/// is lost.
pub async fn count(shared: &Shared, client: u32, is_planned: bool, mut random: fastrand::Rng) {
    let path = format!("/count/{client}");
    while !shared.stopped() {
        let opened = timeout(PATIENCE, shared.site().try_socket(&path)).await;
        let Ok(Ok(mut socket)) = opened else {
            rest(&mut random, false).await;
            continue;
        };
        let ended = count_on(shared, &mut socket, is_planned).await;
        if let Err(why) = ended
            && is_planned
        {
            shared.is_wrong(format!("{path}: {why}"));
        }
    }
}

/// Counts on one socket; an error says why it is of no more use.
async fn count_on(shared: &Shared, socket: &mut Socket, is_planned: bool) -> Result<(), String> {
    let mut count = Count::default();
    let mut steps = interval(STEP);
    while !shared.stopped() {
        tokio::select! {
            _ = steps.tick() => {
                let sent = socket.try_send(&count.sent.to_string()).await;
                sent.map_err(|error| error.to_string())?;
                count.sent += 1;
            }
            heard = socket.try_receive() => {
                let heard = heard.map_err(|error| error.to_string())?;
                check(shared, &mut count, &heard, is_planned);
            }
        }
    }
    while is_planned && count.heard < count.sent {
        let heard = timeout(PATIENCE, socket.try_receive()).await;
        let heard = heard.map_err(|_| format!("{} of {} came back", count.heard, count.sent))?;
        let heard = heard.map_err(|error| error.to_string())?;
        check(shared, &mut count, &heard, is_planned);
    }
    Ok(())
}

fn check(shared: &Shared, count: &mut Count, heard: &Value, is_planned: bool) {
    shared.came_back();
    let wrong = match heard.as_u64() {
        Some(number) => count.hears(number, is_planned),
        None => Some(format!("heard {heard}")),
    };
    if let Some(wrong) = wrong {
        shared.is_wrong(wrong);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_once_in_order_and_only_where_nothing_is_lost_is_none_missing() {
        let mut count = Count { sent: 9, heard: 0 };
        assert_eq!(count.hears(0, true), None);
        assert!(count.hears(2, true).is_some(), "a gap");
        assert_eq!(count.hears(4, false), None);
        assert!(count.hears(4, false).is_some(), "twice");
        assert!(count.hears(3, false).is_some(), "out of order");
        assert!(count.hears(9, false).is_some(), "what was not sent");
    }
}
