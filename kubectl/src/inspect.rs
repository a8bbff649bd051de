//! `kubectl portside inspect`

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::Portforwarder;
use portside_manage::Inspected;
use portside_verbs::{Client, Target, block_on, printable};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::InCluster;

/// Where `DevTools` of Chrome is, and what it needs to know.
const DEVTOOLS: &str = "devtools://devtools/bundled/js_app.html?experiments=true&v8only=true&ws=";

/// Arguments of `kubectl portside inspect`.
#[derive(clap::Args)]
#[command(after_help = "\
A worker is SCRIPT#NAME, or its ID of 32 hexadecimal digits. Its instance begins anew, in an isolate of which the debugger sees nothing but this worker, and on a
thread of its own: what it has not stored is gone, its ports and WebSockets are closed, and no other worker, pod or class notices. While a
debugger is attached it does not sleep, and no CPU time counts; what waits for it may run into the limits of others, as requests at the gateway do.
If no debugger attaches within five minutes it may sleep; its next isolate is like all others. Durable Objects share an isolate, and cannot be inspected here.

Whoever inspects a worker can run any code in it. It takes `create` of serverlessworkers/inspect, as the role portside-workers-edit has it, and `create` of
pods/portforward. On this machine whoever reaches the port must know the URL's secret.

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
            let path = ["workers", &*self.worker, "inspect"];
            let inspected: Inspected = client.ask(&path, &()).await?;
            let Some(pod) = inspected.pod.clone() else {
                bail!("the pod that has the worker does not say its name");
            };
            let pods = self.cluster.pods().await?;
            // Whether that may be done, before anybody attaches.
            drop(forwarded(&pods, &pod, inspected.port).await?);
            let address = listener.local_addr()?;
            announce(&self.worker, &pod, &format!("{address}{}", inspected.path))?;
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

fn announce(worker: &str, pod: &str, socket: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (worker, pod) = (printable(worker), printable(pod));
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
