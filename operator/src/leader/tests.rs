//! Who leads, with an API server that fails and clocks that are wrong.

use std::sync::{Arc, Mutex};

use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::*;
use crate::class::mock::{Asked, Log, client, failure, nothing};

/// An API server with one Lease, or without, that may be away.
#[derive(Clone, Default)]
struct Leases(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    is_away: bool,
}

impl Leases {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// As another writer does.
    fn put(&self, spec: Value) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version.to_string();
        let meta = json!({"name": "portside", "resourceVersion": version});
        state.lease = Some(json!({"metadata": meta, "spec": spec}));
    }

    fn holder(&self) -> Option<String> {
        let state = self.lock();
        let holder = &state.lease.as_ref()?["spec"]["holderIdentity"];
        holder.as_str().map(str::to_owned)
    }

    fn answer(&self, asked: &Asked) -> (u16, Value) {
        let (there, is_away) = {
            let state = self.lock();
            (state.lease.clone(), state.is_away)
        };
        if is_away {
            return failure(503, "away");
        }
        match (&*asked.method, there) {
            ("GET", None) => failure(404, "not found"),
            ("GET", Some(lease)) => (200, lease),
            ("PUT", Some(lease))
                if lease["metadata"]["resourceVersion"]
                    != asked.body["metadata"]["resourceVersion"] =>
            {
                failure(409, "the object has been modified")
            }
            _ => {
                self.put(asked.body["spec"].clone());
                (200, self.lock().lease.clone().unwrap())
            }
        }
    }

    fn seek(&self, identity: &str) -> (Leadership, Log) {
        let leases = self.clone();
        let (client, log) = client(move |asked| leases.answer(asked));
        let metrics = Metrics::register(&mut Registry::default(), nothing());
        let leadership = Leadership::seek(client, "system", "portside", identity, metrics);
        (leadership, log)
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_gives_up_before_another_may_lead() {
    let leases = Leases::default();
    let (mut first, _) = leases.seek("a");
    first.acquired().await;
    assert_eq!(leases.holder().as_deref(), Some("a"));
    let held = timeout(Duration::from_secs(120), first.lost()).await;
    assert!(held.is_err(), "it is renewed");
    let (mut second, _) = leases.seek("b");
    leases.lock().is_away = true;
    let began = Instant::now();
    first.lost().await;
    let took = began.elapsed();
    assert!(took <= GIVE_UP, "{took:?}");
    leases.lock().is_away = false;
    second.acquired().await;
    // The last renewal was up to `EVERY` earlier.
    assert!(began.elapsed() + EVERY >= DURATION, "{:?}", began.elapsed());
    assert_eq!(leases.holder().as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_renewed_is_left_alone_whatever_its_times_say() {
    let leases = Leases::default();
    let renew = |transitions: u32| {
        leases.put(json!({
            "holderIdentity": "a", "leaseDurationSeconds": 30,
            "renewTime": "2001-01-01T00:00:00.000000Z", "leaseTransitions": transitions,
        }));
    };
    renew(0);
    let (mut other, _) = leases.seek("b");
    for transitions in 1..20 {
        let taken = timeout(Duration::from_secs(10), other.acquired()).await;
        assert!(taken.is_err());
        renew(transitions);
    }
    other.acquired().await;
    assert_eq!(leases.holder().as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn only_ones_own_lease_is_given_back() {
    let leases = Leases::default();
    let (mut first, _) = leases.seek("a");
    first.acquired().await;
    let (second, log) = leases.seek("b");
    sleep(EVERY).await;
    second.release().await;
    assert!(log.find(|asked| asked.method != "GET").is_empty());
    first.release().await;
    assert_eq!(leases.holder(), None);
    let (mut third, _) = leases.seek("c");
    let taken = timeout(Duration::from_secs(1), third.acquired()).await;
    assert!(taken.is_ok(), "there is nobody to wait for");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_takes_is_lost() {
    let leases = Leases::default();
    let (mut first, _) = leases.seek("a");
    first.acquired().await;
    leases.put(json!({"holderIdentity": "b", "leaseDurationSeconds": 30}));
    let lost = timeout(EVERY * 2, first.lost()).await;
    assert!(lost.is_ok());
    assert_eq!(leases.holder().as_deref(), Some("b"));
}
