//! What the gateway of `portside dev` is told, and what it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use http::{Method, StatusCode};
use portside_crds::class::Route;
use portside_crds::routes::{Claim, ClassKey, Routes};
use portside_exchange::{Application, FetchError, Request, Response};
use portside_frontdoor::Config as DoorConfig;
use portside_gateway::{ClassFacts, Endpoint, Gateway, Metrics, REASON, Settings, Topology};
use portside_manage::{PATH, Problem, State, Workers, merge};
use portside_sidecar::manage;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use url::Url;

use super::follow;
use crate::dev::answers::response;
use crate::dev::local::is_of_this_machine;
use crate::dev::println_flushed;
use portside_verbs::Client;

/// How long a request waits for a pod.
const HOLD: Duration = Duration::from_secs(30);
/// How much longer than its class's own limit a pod is waited for.
const GRACE: Duration = Duration::from_secs(10);
/// Memory for the bodies of requests that may have to be sent again.
const REPLAYS: usize = 64 << 20;

const JSON: &str = "application/json";

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
        ..Route::default()
    }];
    let facts = ClassFacts {
        uid: String::new(),
        stopped: None,
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
    pods: watch::Receiver<Vec<SocketAddr>>,
    is_told: bool,
}

impl Answering {
    /// `pods`: where they take requests. `is_told`: whether lines are wanted.
    pub fn new(
        gateway: Arc<Gateway>,
        pods: watch::Receiver<Vec<SocketAddr>>,
        is_told: bool,
    ) -> Self {
        Self {
            gateway,
            pods,
            is_told,
        }
    }

    /// The workers of all pods, each of which knows who is awake in it.
    async fn workers(&self, url: &Url) -> Response {
        let query: Vec<_> = url.query_pairs().collect();
        let is_asleep = |(name, value): &(&str, &str)| (*name, *value) == ("state", "asleep");
        let mut query: Vec<_> = query
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        // That somebody sleeps nobody knows alone.
        let only_asleep = query.iter().any(is_asleep);
        query.retain(|pair| !is_asleep(pair));
        let limit = query.iter().find(|(name, _)| *name == "limit");
        let limit = limit.and_then(|(_, limit)| limit.parse().ok());
        let pods = self.pods.borrow().clone();
        if pods.is_empty() {
            let error = "no pod takes part yet".to_owned();
            return problem(StatusCode::SERVICE_UNAVAILABLE, error);
        }
        let pages = pods.into_iter().map(async |pod| {
            let client = Client::new(Url::parse(&format!("http://{pod}/"))?);
            client.fetch(&Method::GET, &["workers"], &query, None).await
        });
        let mut all = Vec::new();
        for page in join_all(pages).await {
            match page {
                Ok((StatusCode::OK, page)) => {
                    // It is a process of this program.
                    all.extend(serde_json::from_slice::<Workers>(&page).ok());
                }
                Ok((status, why)) => {
                    let why = String::from_utf8_lossy(&why).into_owned();
                    return response(status, JSON, why);
                }
                Err(error) => {
                    let error = format!("a pod does not answer: {error}");
                    return problem(StatusCode::SERVICE_UNAVAILABLE, error);
                }
            }
        }
        let mut merged = merge(all, limit.unwrap_or(manage::PAGE));
        if only_asleep {
            merged.items.retain(|it| it.state == State::Asleep);
        }
        response(
            StatusCode::OK,
            JSON,
            serde_json::to_string(&merged).unwrap_or_default(),
        )
    }

    /// What all pods log: each line once, but not in the order of time what there was before.
    fn log(&self, url: &Url) -> Response {
        let query: Vec<_> = url.query_pairs().into_owned().collect();
        let goes_on = query.iter().any(|it| it.0 == "follow" && it.1 == "true");
        let mut answer = response(StatusCode::OK, "text/plain; charset=utf-8", String::new());
        answer.body = follow::all(self.pods.clone(), "log", query, goes_on);
        answer
    }

    /// What happens to the workers of all pods from now on, with a beginning for each pod.
    fn events(&self, url: &Url) -> Response {
        if url.query_pairs().next().is_some() {
            let error = "of all pods together events can only be followed from now on".to_owned();
            return problem(StatusCode::BAD_REQUEST, error);
        }
        let mut answer = response(StatusCode::OK, "application/x-ndjson", String::new());
        answer.body = follow::all(self.pods.clone(), "events", vec![], true);
        answer
    }
}

fn problem(status: StatusCode, error: String) -> Response {
    let problem = serde_json::to_string(&Problem { error });
    response(status, JSON, problem.unwrap_or_default())
}

impl Application for Answering {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        async move {
            let (begun, method) = (Instant::now(), request.method.clone());
            let url = Url::parse(&request.url).ok();
            if let Some(url) = &url
                && method == Method::GET
                && let Some(path) = url.path().strip_prefix(PATH)
                && is_of_this_machine(url, &request.headers)
            {
                match path {
                    "/workers" => return Ok(self.workers(url).await),
                    "/log" => return Ok(self.log(url)),
                    "/events" => return Ok(self.events(url)),
                    _ => {}
                }
            }
            let answer = self.gateway.fetch(request).await;
            if let (Some(url), Ok(response)) = (url, &answer)
                && let Some(reason) = response.headers.get(REASON)
                && self.is_told
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
