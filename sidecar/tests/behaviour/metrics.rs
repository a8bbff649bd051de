//! What a pod tells of itself to whoever scrapes it.

use std::sync::Arc;

use portside_admin::testing::check_page;
use portside_core::admission::Memory;
use portside_exchange::{Application, Body, Request};
use portside_sidecar::metrics::{self, PodGauges};
use portside_sidecar::{App, Called, Config, Pod, Spill};
use portside_store::Store;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::app::{Setup, eventually, isolates, sharing, text};
use crate::held::{HeldStore, Mode};
use crate::pods::COUNTER;
use crate::sharing::ALL;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    metrics_are_those_of_the_page,
    a_wake_and_what_it_writes_are_measured,
    a_wake_that_fails_is_not_among_those_that_took_long,
    what_waits_for_the_store_is_seen,
];

const SERVER: &str = r#"
export default {
  fetch(request) {
    const { port } = new ServerlessWorker("./counter.js", new URL(request.url).pathname);
    return new Promise((resolve, reject) => {
      port.onmessage = ({ data }) => resolve(new Response(String(data)));
      port.onerror = ({ error }) => reject(error);
      port.onclose = ({ code }) => reject(new Error(code));
      port.postMessage("add");
    });
  },
};"#;

/// A pod that shares the shards with others, of which there are none, and what is scraped of it.
struct Scraped {
    store: Arc<HeldStore>,
    pod: Arc<Pod>,
    registry: Registry,
}

impl Scraped {
    async fn start() -> Self {
        let store = HeldStore::new().await;
        let shared: Arc<dyn Store> = store.clone();
        let (ownership, sharing) = sharing(&shared, "test", 0).await;
        let config = Config {
            class: Setup::new(&[("server.js", SERVER), ("counter.js", COUNTER)]).class(),
            store: shared,
            ownership: ownership.clone(),
            servers: 1,
            log: Box::new(|_| {}),
            reached: None,
            memory: Box::new(|| {
                Some(Memory {
                    used: 1 << 30,
                    limit: 100 << 30,
                })
            }),
            spill: Spill::default(),
            sharing: Some(sharing),
            called: Called::default(),
        };
        let app = App::start(isolates(), config);
        let (mut registry, metrics) = metrics::registry();
        let pod = Pod::new("test".into(), app, ownership.clone(), metrics);
        registry.register_collector(Box::new(PodGauges(pod.clone())));
        ownership.claim().await.unwrap();
        let has_all = eventually(async || ownership.shards().len() == ALL);
        assert!(has_all.await);
        Self {
            store,
            pod,
            registry,
        }
    }

    async fn fetch(&self, path: &str) -> (u16, String) {
        let request = Request {
            method: http::Method::GET,
            url: format!("http://app.test{path}"),
            headers: http::HeaderMap::new(),
            body: Body::Empty,
            websocket: false,
        };
        match self.pod.fetch(request).await {
            Ok(response) => (response.status.as_u16(), text(response.body).await),
            Err(error) => (500, error.to_string()),
        }
    }

    /// The value of a series.
    fn value(&self, series: &str) -> f64 {
        let mut scraped = String::new();
        encode(&mut scraped, &self.registry).unwrap();
        let line = scraped.lines().find_map(|line| {
            let rest = line.strip_prefix("portside_sidecar_")?;
            rest.strip_prefix(series)?.strip_prefix(' ')
        });
        let value = line.unwrap_or_else(|| panic!("no {series} in:\n{scraped}"));
        value.parse().unwrap()
    }

    /// How often each phase of a wake was gone through, in their order.
    fn phases(&self) -> [f64; 4] {
        ["wait", "load", "isolate", "evaluate"]
            .map(|phase| self.value(&format!("wake_phase_seconds_count{{phase=\"{phase}\"}}")))
    }
}

async fn metrics_are_those_of_the_page() {
    let scraped = Scraped::start().await;
    check_page("sidecar", &scraped.registry);
}

async fn a_wake_and_what_it_writes_are_measured() {
    let scraped = Scraped::start().await;
    assert_eq!(scraped.value("wake_duration_seconds_count"), 0.0);
    for path in ["/a", "/b", "/b"] {
        assert_eq!(scraped.fetch(path).await.0, 200);
    }
    assert_eq!(scraped.value("wake_duration_seconds_count"), 2.0);
    assert_eq!(scraped.phases(), [2.0; 4]);
    assert_eq!(scraped.value("workers_awake"), 2.0);
    assert_eq!(scraped.value("requests_total{outcome=\"2xx\"}"), 3.0);
    assert_eq!(scraped.value("commit_batch_sum"), 3.0);
    assert_eq!(scraped.value("commits_waiting"), 0.0);
    let isolates = scraped.value("isolates");
    assert!(isolates >= 3.0, "a server and two workers: {isolates}");
    let heap = scraped.value("isolates_heap_bytes");
    assert!(heap > 1_000_000.0, "{heap} bytes");
    assert!(scraped.value("javascript_cpu_seconds_total") > 0.0);
    assert!(scraped.value("links_opened_total{target=\"here\"}") > 0.0);
}

async fn a_wake_that_fails_is_not_among_those_that_took_long() {
    let scraped = Scraped::start().await;
    scraped.store.fail_loads(usize::MAX);
    let (status, _) = scraped.fetch("/a").await;
    assert_ne!(status, 200);
    assert_eq!(scraped.value("wake_duration_seconds_count"), 0.0);
    assert_eq!(
        scraped.value("wake_phase_seconds_count{phase=\"load\"}"),
        0.0
    );
    scraped.store.fail_loads(0);
    let recovers = eventually(async || scraped.fetch("/a").await.0 == 200);
    assert!(recovers.await);
    assert_eq!(scraped.value("wake_duration_seconds_count"), 1.0);
}

async fn what_waits_for_the_store_is_seen() {
    let scraped = Scraped::start().await;
    scraped.store.set(Mode::Held);
    let (answer, ()) = tokio::join!(scraped.fetch("/a"), async {
        scraped.store.is_asked().await;
        assert_eq!(scraped.value("commits_waiting"), 1.0);
        assert_eq!(scraped.value("requests_unanswered"), 1.0);
        scraped.store.set(Mode::Open);
    });
    assert_eq!(answer.0, 200);
}
