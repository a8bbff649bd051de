//! A pod's own lease, judged by its own clock.

use super::{Call, Millis, Reply, Settings};

/// When the lease was last confirmed, and the renewal under way.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    interval_ms: Millis,
    lease_ms: Millis,
    ends: bool,
    /// When the last renewal that the store confirmed was sent. From then it counts, for nobody can have seen it earlier.
    confirmed: Millis,
    /// How often the store has confirmed one.
    renewals: u64,
    in_flight: Option<(Call, Millis)>,
    next: Millis,
}

impl Lease {
    /// The registration, sent at `registered`, is the first renewal.
    pub(super) fn new(settings: &Settings, registered: Millis) -> Self {
        Self {
            interval_ms: settings.renewal_interval_ms,
            lease_ms: settings.lease_ms,
            ends: settings.mechanisms.ends_leases(),
            confirmed: registered,
            renewals: 0,
            in_flight: None,
            next: registered + settings.renewal_interval_ms,
        }
    }

    /// At this time the lease has expired.
    pub(super) fn valid_until(&self) -> Millis {
        match self.ends {
            true => self.confirmed + self.lease_ms,
            false => self.confirmed + 1_000 * self.lease_ms,
        }
    }

    /// How often it was renewed.
    pub(super) fn renewals(&self) -> u64 {
        self.renewals
    }

    /// When the next renewal is to be sent; none while one is under way.
    pub(super) fn next(&self) -> Option<Millis> {
        self.in_flight.is_none().then_some(self.next)
    }

    /// There is reason to ask now.
    pub(super) fn hurry(&mut self, now: Millis) {
        self.next = self.next.min(now);
    }

    pub(super) fn sent(&mut self, call: Call, now: Millis) {
        self.in_flight = Some((call, now));
    }

    /// Takes a result. Returns `false` if the pod was declared dead.
    pub(super) fn renewed(&mut self, call: Call, reply: Reply<bool>, now: Millis) -> bool {
        let sent = self.in_flight.filter(|(in_flight, _)| *in_flight == call);
        if let Some((_, sent)) = sent {
            self.in_flight = None;
            if let Ok(is_alive) = reply {
                self.renewals += u64::from(is_alive);
                self.confirmed = self.confirmed.max(sent);
            }
            // After one that was long in vain at once: the lease leaves time for one more.
            self.next = now.max(sent + self.interval_ms);
        }
        reply != Ok(false)
    }
}
