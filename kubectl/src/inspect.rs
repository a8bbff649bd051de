//! `kubectl portside inspect`

use std::io::{Write, stdout};
use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Portforwarder, PostParams};
use portside_manage::Inspected;
use portside_verbs::{Client, Target, block_on, printable};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::InCluster;

/// Where `DevTools` of Chrome is, and what it needs to know.
const DEVTOOLS: &str = "devtools://devtools/bundled/js_app.html?experiments=true&v8only=true&ws=";

/// What a port of a pod is forwarded with: the request is a GET that becomes a WebSocket, and newer clusters ask for `create` as well.
const VERBS: [&str; 2] = ["create", "get"];

/// Arguments of `kubectl portside inspect`.
#[derive(clap::Args)]
#[command(after_help = "\
A worker is SCRIPT#NAME, or its ID of 32 hexadecimal digits. Its instance begins anew, in an isolate of which the debugger sees nothing but this worker, and on a
thread of its own: what it has not stored is gone, its ports and WebSockets are closed, and no other worker, pod or class notices. While a
debugger is attached it does not sleep, and no CPU time counts; what waits for it may run into the limits of others, as requests at the gateway do.
If no debugger attaches within five minutes it may sleep; its next isolate is like all others. Durable Objects share an isolate, and cannot be inspected here.

Whoever inspects a worker can run any code in it. It takes `create` of serverlessworkers/inspect, as the role portside-workers-edit has it, and `get` and `create`
of pods/portforward. On this machine whoever reaches the port must know the URL's secret.

Examples:
  kubectl portside inspect room.js#lobby
  kubectl portside inspect room.js#lobby --port 9230")]
pub struct Args {
    #[command(flatten)]
    cluster: InCluster,
    /// Which
    worker: String,
    /// The port of this machine for the debugger; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
}

impl Args {
    /// Forwards debuggers until it is ended.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async {
            // First of all: nothing is to begin anew in vain.
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await;
            let listener = listener.with_context(|| {
                format!(
                    "port {} cannot be listened at: choose another with --port",
                    self.port
                )
            })?;
            let client = Client::by(self.cluster.way().await?);
            let pods = self.cluster.pods().await?;
            let (pod, inspected) = begin(&client, &pods, &self.worker).await?;
            // Whether that can be done, before anybody attaches.
            drop(forwarded(&pods, &pod, inspected.port).await?);
            let socket = format!("{}{}", listener.local_addr()?, inspected.path);
            announce(&mut stdout().lock(), &self.worker, &pod, &socket)?;
            loop {
                let (debugger, _) = listener.accept().await?;
                let (pods, pod) = (pods.clone(), pod.clone());
                tokio::spawn(async move {
                    if let Err(error) = forward(debugger, &pods, &pod, inspected.port).await {
                        eprintln!(
                            "the debugger's connection ends: {}",
                            printable(&format!("{error:#}"))
                        );
                    }
                });
            }
        })
    }
}

/// Has the worker begin anew, once it is known that its port may be reached: otherwise its instance would end for nothing, at each try.
async fn begin(
    client: &Client,
    pods: &Api<Pod>,
    worker: &str,
) -> anyhow::Result<(String, Inspected)> {
    for verb in VERBS {
        must_forward(pods, verb).await?;
    }
    let path = ["workers", worker, "inspect"];
    let inspected: Inspected = client.ask(&path, &()).await?;
    let pod = inspected.pod.clone();
    let pod = pod.context("the pod that has the worker does not say its name")?;
    Ok((pod, inspected))
}

/// Asks the cluster whether whoever asks has this right of pods/portforward.
async fn must_forward(pods: &Api<Pod>, verb: &str) -> anyhow::Result<()> {
    let namespace = pods.namespace().unwrap_or_default();
    let asked = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some(verb.to_owned()),
        resource: Some("pods".to_owned()),
        subresource: Some("portforward".to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(asked),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(pods.clone().into_client());
    let review = reviews.create(&PostParams::default(), &review).await;
    let review = review.map_err(|error| {
        let why = printable(&error.to_string());
        anyhow!("the cluster does not say whether ports of pods may be forwarded, and the worker goes on as it was: {why}")
    })?;
    let status = review.status.unwrap_or_default();
    if status.allowed {
        return Ok(());
    }
    let why = status.reason.filter(|reason| !reason.is_empty());
    let why = why.map_or_else(String::new, |why| format!(": {}", printable(&why)));
    bail!(
        "ports of pods in the namespace {namespace} may not be forwarded by you, and the worker goes on as it was: \
         that takes get and create of pods/portforward, and {verb} is missing{why}"
    )
}

fn announce(out: &mut impl Write, worker: &str, pod: &str, socket: &str) -> std::io::Result<()> {
    let [worker, pod, socket] = [worker, pod, socket].map(printable);
    writeln!(
        out,
        "{worker} waits for a debugger in {pod}, until this is ended (Ctrl-C)"
    )?;
    writeln!(out, "in the address bar of Chrome: {DEVTOOLS}{socket}")?;
    writeln!(out, "for others: ws://{socket}")?;
    out.flush()
}

/// A connection to a port of the pod's loopback address.
async fn forwarded(
    pods: &Api<Pod>,
    pod: &str,
    port: u16,
) -> anyhow::Result<(Portforwarder, impl AsyncRead + AsyncWrite + Unpin + use<>)> {
    let forwarder = pods.portforward(pod, &[port]).await;
    let mut forwarder = forwarder.map_err(|error| {
        anyhow!("ports of the pod {pod} cannot be forwarded, which takes create of pods/portforward: {error}")
    })?;
    let stream = forwarder.take_stream(port);
    let stream = stream.context("the cluster forwards another port")?;
    Ok((forwarder, stream))
}

async fn forward(
    mut debugger: TcpStream,
    pods: &Api<Pod>,
    pod: &str,
    port: u16,
) -> anyhow::Result<()> {
    let (_forwarder, mut stream) = forwarded(pods, pod, port).await?;
    // Either side may leave without a word.
    let _ = tokio::io::copy_bidirectional(&mut debugger, &mut stream).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use serde_json::json;

    use super::*;
    use crate::cluster::ToWorkers;

    const WORKER: &str = "chat.0123456789abcdef0123456789abcdef";

    /// What becomes of it where these rights are missing, and which paths were asked.
    async fn begun(missing: &'static [&str]) -> (anyhow::Result<(String, Inspected)>, Vec<String>) {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = asked.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let seen = seen.clone();
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect_bytes().await.unwrap();
                let answer = if path.ends_with("/selfsubjectaccessreviews") {
                    let mut review: serde_json::Value = serde_json::from_slice(&body).unwrap();
                    let of = &review["spec"]["resourceAttributes"];
                    assert_eq!(
                        (&of["namespace"], &of["resource"]),
                        (&json!("team-a"), &json!("pods"))
                    );
                    assert_eq!(of["subresource"], "portforward");
                    let allowed = !missing.contains(&of["verb"].as_str().unwrap());
                    review["status"] = json!({"allowed": allowed, "reason": "no\u{1b}"});
                    review
                } else {
                    json!({"pod": "chat-1", "port": 7, "path": "/ws/secret"})
                };
                seen.lock().unwrap().push(path);
                let body = kube::client::Body::from(answer.to_string().into_bytes());
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        let client = kube::Client::new(service, "default");
        let way = ToWorkers::new(client.clone(), "team-a", None);
        let pods = Api::namespaced(client, "team-a");
        let begun = begin(&Client::by(Box::new(way)), &pods, WORKER).await;
        let asked = asked.lock().unwrap().clone();
        (begun, asked)
    }

    #[tokio::test]
    async fn nothing_begins_anew_for_who_may_not_reach_it() {
        let is_inspected = |path: &String| path.ends_with("/inspect");
        for verb in [&["create"], &["get"]] {
            let (begun, asked) = begun(verb).await;
            let why = begun.map(|it| it.0).unwrap_err().to_string();
            assert!(why.contains("get and create of pods/portforward"), "{why}");
            assert!(
                why.ends_with(&format!("{} is missing: no\\u{{1b}}", verb[0])),
                "{why}"
            );
            assert!(!asked.iter().any(is_inspected), "{asked:?}");
        }
        let (begun, asked) = begun(&[]).await;
        assert_eq!(begun.unwrap().0, "chat-1");
        assert_eq!(asked.iter().position(is_inspected), Some(2), "{asked:?}");
    }

    #[test]
    fn what_a_pod_says_changes_no_terminal() {
        let mut out = vec![];
        announce(&mut out, "room.js#a", "chat-1", "127.0.0.1:9/ws/\u{1b}[2J").unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(!out.contains('\u{1b}'), "{out}");
        assert!(
            out.contains("for others: ws://127.0.0.1:9/ws/\\u{1b}[2J\n"),
            "{out}"
        );
    }
}
