//! What the gateway of `portside dev` is told, and what it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use portside_crds::class::Route;
use portside_crds::routes::{Claim, ClassKey, Routes};
use portside_exchange::{Application, FetchError, Request, Response};
use portside_frontdoor::Config as DoorConfig;
use portside_gateway::{ClassFacts, Endpoint, Gateway, Metrics, REASON, Settings, Topology};
use prometheus_client::registry::Registry;
use url::Url;

use crate::dev::println_flushed;

/// How long a request waits for a pod.
const HOLD: Duration = Duration::from_secs(30);
/// How much longer than its class's own limit a pod is waited for.
const GRACE: Duration = Duration::from_secs(10);
/// Memory for the bodies of requests that may have to be sent again.
const REPLAYS: usize = 64 << 20;

/// A gateway that knows no pods yet.
pub fn gateway(config: &DoorConfig) -> Gateway {
    let settings = Settings {
        hold: HOLD,
        access_log: false,
        max_message_bytes: config.max_message_bytes,
        replay_bytes: REPLAYS,
    };
    Gateway::new(settings, Metrics::register(&mut Registry::default()))
}

/// One class, which all requests are for, and its pods.
pub fn topology(endpoints: BTreeSet<Endpoint>, request: Duration) -> Topology {
    let class = ClassKey {
        namespace: String::new(),
        name: "dev".to_owned(),
    };
    let everything = [Route {
        host: String::new(),
        path: "/".to_owned(),
    }];
    let facts = ClassFacts {
        uid: String::new(),
        suspended: false,
        request_timeout: request + GRACE,
        endpoints,
    };
    Topology {
        routes: Routes::new([Claim {
            class: class.clone(),
            created: None,
            routes: &everything,
        }]),
        classes: BTreeMap::from([(class, facts)]),
    }
}

/// The gateway, with a line for each request that it answers itself: of all others pods say one.
pub struct Answering {
    gateway: Arc<Gateway>,
    is_told: bool,
}

impl Answering {
    /// `is_told`: whether lines are wanted.
    pub fn new(gateway: Arc<Gateway>, is_told: bool) -> Self {
        Self { gateway, is_told }
    }
}

impl Application for Answering {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        async move {
            let (begun, method) = (Instant::now(), request.method.clone());
            let url = self
                .is_told
                .then(|| Url::parse(&request.url).ok())
                .flatten();
            let answer = self.gateway.fetch(request).await;
            if let (Some(url), Ok(response)) = (url, &answer)
                && let Some(reason) = response.headers.get(REASON)
            {
                let (path, status) = (url.path(), response.status.as_u16());
                let (took, reason) = (begun.elapsed().as_millis(), reason.to_str());
                let reason = reason.unwrap_or_default();
                println_flushed(&format!(
                    "gateway {method} {path} {status} {took} ms {reason}"
                ));
            }
            answer
        }
        .boxed()
    }
}
