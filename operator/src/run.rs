//! `run`: the parts, put together.

use std::sync::Arc;

use anyhow::Context as _;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::controller::{Config, applier};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef, store::Writer};
use kube::runtime::{WatchStreamExt, reflector::reflector as reflect, watcher};
use kube::{Client, Resource};
use portside_admin::{Admin, Readiness};
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::args::RunArgs;
use crate::caches::{self, Watches};
use crate::certificates::{self, Trusted};
use crate::class::http_routes::HttpRoutes;
use crate::class::queue::{self, Queue};
use crate::class::uptake::HttpRouteSeen;
use crate::class::{self, Context, Memory, Settings, samples};
use crate::leader::Leadership;
use crate::metrics::Metrics;
use crate::schema::{self, Served};

/// Classes that are looked at at once.
const CONCURRENCY: u16 = 16;

/// What readiness waits for. Leadership is not among it: an operator in reserve is ready.
const DEFINITION: &str = "the CustomResourceDefinition serverlessworkerclasses.portside.dev";
const CURRENT_DEFINITION: &str =
    "a CustomResourceDefinition serverlessworkerclasses.portside.dev as new as this operator";
const CACHES: &str = "the first lists of classes and what they own";

/// Serves classes until a signal, or until another operator leads.
///
/// # Errors
/// The API server cannot be reached at the start, or leadership was lost.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<()> {
    args.log.init()?;
    let client = api::connect().await.context("no access to an API server")?;
    let (caches, writers) = caches::new();
    let (http_routes, http_route_writer) = HttpRoutes::new();
    let (gateway, gateway_writer) = reflector::store();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, caches.clone());
    let readiness = Readiness::waiting_for([DEFINITION, CACHES]);
    let admin = Admin::bind(args.admin, readiness.clone(), registry)
        .await
        .with_context(|| format!("cannot listen on --admin {}", args.admin))?;
    let stop = stop_on_signal()?;
    let context = Arc::new(Context {
        recorder: recorder(&client, &args),
        settings: settings(&args),
        caches,
        queue: Queue::default(),
        gateway,
        http_routes,
        trusted: Trusted::new(args.apiserver().is_some()),
        metrics: metrics.clone(),
        memory: Memory::default(),
        client: client.clone(),
    });
    // What is to go on until the process ends.
    let mut tasks = JoinSet::new();
    tasks.spawn(admin.run());
    let (served, is_served) = oneshot::channel();
    tasks.spawn(watch_definition(
        Arc::clone(&context),
        readiness.clone(),
        pod_reference(&args),
        served,
    ));
    let mut leadership = if args.no_leader_election {
        Leadership::assumed(metrics)
    } else {
        Leadership::seek(
            client.clone(),
            &args.namespace,
            &args.lease_name,
            &args.pod_name,
            metrics,
        )
    };
    let watching = Watching {
        watches: watches(&args, &context),
        gateway: watch_gateway(Arc::clone(&context), &args, gateway_writer),
        writers,
        http_route_writer,
    };
    let result = serve(
        &context,
        watching,
        is_served,
        &readiness,
        &mut leadership,
        &stop,
        &mut tasks,
    )
    .await;
    leadership.release().await;
    tasks.shutdown().await;
    result
}

fn watches(args: &RunArgs, context: &Context) -> Watches {
    let namespaces = args.watch_namespace.iter();
    Watches {
        client: context.client.clone(),
        namespaces: namespaces.filter(|one| !one.is_empty()).cloned().collect(),
        queue: context.queue.clone(),
        unseen: context.caches.unseen.clone(),
    }
}

/// What begins once the cluster knows the class.
struct Watching<G> {
    watches: Watches,
    gateway: G,
    writers: caches::Writers,
    http_route_writer: caches::Filler<HttpRouteSeen>,
}

/// Waits for the definition, watches, and leads.
async fn serve(
    context: &Arc<Context>,
    watching: Watching<impl Future<Output = ()> + Send + 'static>,
    is_served: oneshot::Receiver<()>,
    readiness: &Readiness,
    leadership: &mut Leadership,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    tokio::select! {
        served = is_served => served.context("nobody looks for the definition any more")?,
        error = broken(tasks) => return Err(error),
        () = stop.cancelled() => return Ok(()),
    }
    let Watching {
        watches,
        gateway,
        writers,
        http_route_writer,
    } = watching;
    watches.start(&context.caches, writers, &context.sources, tasks);
    tasks.spawn(gateway);
    let http_routes = context.http_routes.clone();
    tasks.spawn(http_routes.watch(watches, context.caches.clone(), http_route_writer));
    tokio::select! {
        result = lead(context, readiness, leadership, stop) => result,
        error = broken(tasks) => Err(error),
    }
}

/// Returns when one of the tasks has ended, as none should: what it kept up to date is so no more, and nobody would see it.
async fn broken(tasks: &mut JoinSet<()>) -> anyhow::Error {
    match tasks.join_next().await {
        Some(Err(error)) => anyhow::Error::new(error).context("a task failed; starting over"),
        Some(Ok(())) => anyhow::anyhow!("a task ended; starting over"),
        None => std::future::pending().await,
    }
}

/// Waits to lead, then looks at classes until told to stop; what was begun is finished.
async fn lead(
    context: &Arc<Context>,
    readiness: &Readiness,
    leadership: &mut Leadership,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let caches = &context.caches;
    let listed = async {
        if !caches.ready().await || context.gateway.wait_until_ready().await.is_err() {
            anyhow::bail!("a watch ended");
        }
        readiness.done(CACHES);
        leadership.acquired().await;
        context.http_routes.asked().await;
        Ok(())
    };
    tokio::select! {
        listed = listed => listed?,
        () = stop.cancelled() => return Ok(()),
    }
    tracing::info!("leading");
    let requests = context.queue.open();
    for class in caches.classes.state() {
        context.queue.push(queue::key_of(class.meta()));
    }
    let requests = requests.map(|key| {
        Ok::<ObjectRef<caches::Class>, std::convert::Infallible>(caches::class_ref(&key))
    });
    let controller = applier(
        |class, context| Box::pin(class::reconcile(class, context)),
        class::on_error,
        Arc::clone(context),
        (*caches.classes).clone(),
        requests,
        Config::default().concurrency(CONCURRENCY),
    );
    let controller = controller.for_each(|result| {
        // Failures were logged where the next try was decided; a class that is gone needs nothing.
        if let Err(kube::runtime::controller::Error::ObjectNotFound(gone)) = result {
            let key = portside_crds::routes::ClassKey {
                namespace: gone.namespace.unwrap_or_default(),
                name: gone.name,
            };
            context.memory.forget(&key);
        }
        std::future::ready(())
    });
    let sampling = samples::run(Arc::clone(context));
    let certificates = certificates::run(Arc::clone(context));
    tokio::pin!(controller);
    tokio::select! {
        () = &mut controller => anyhow::bail!("the controller ended"),
        () = sampling => anyhow::bail!("the sampling of workers ended"),
        () = certificates => anyhow::bail!("the renewal of certificates ended"),
        () = leadership.lost() => anyhow::bail!("this operator leads no more; starting over"),
        () = stop.cancelled() => {}
    }
    context.queue.close();
    controller.await;
    Ok(())
}

/// Tells `served` when the cluster has a definition of the class, old or new; and while it is older than this program,
/// says so in readiness, an event, a metric and the log. Does not end.
async fn watch_definition(
    context: Arc<Context>,
    readiness: Readiness,
    pod: ObjectReference,
    served: oneshot::Sender<()>,
) {
    let mut served = Some(served);
    loop {
        let found = schema::served(&context.client).await;
        if matches!(found, Ok(Served::Current | Served::Older(_)))
            && let Some(served) = served.take()
        {
            readiness.done(DEFINITION);
            // Nobody listens to it only when the process ends.
            let _ = served.send(());
        }
        match found {
            Ok(Served::Current) => {
                context.metrics.outdated(false);
                readiness.done(CURRENT_DEFINITION);
                return std::future::pending().await;
            }
            Ok(Served::Older(field)) => {
                context.metrics.outdated(true);
                if !readiness.missing().contains(&CURRENT_DEFINITION) {
                    readiness.wait_for(CURRENT_DEFINITION);
                    report_outdated(&context.recorder, &field, &pod).await;
                }
            }
            Ok(Served::Nothing) => {
                context.metrics.outdated(true);
                tracing::warn!("waiting for {DEFINITION}; install the chart portside-crds");
            }
            Err(error) => tracing::warn!(%error, "the API server's schemas cannot be read"),
        }
        tokio::time::sleep(schema::LOOK_AGAIN).await;
    }
}

async fn report_outdated(recorder: &Recorder, field: &str, pod: &ObjectReference) {
    let note = format!(
        "the definition of ServerlessWorkerClass in the cluster lacks {field}, which this operator knows; \
         install the chart portside-crds of the same version"
    );
    tracing::warn!("{note}");
    let event = Event {
        type_: EventType::Warning,
        reason: "DefinitionOutdated".to_owned(),
        note: Some(note),
        action: "Start".to_owned(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, pod).await {
        tracing::warn!(%error, "an event was not recorded");
    }
}

/// Keeps the gateway's addresses; classes with routes are looked at when they change.
fn watch_gateway(
    context: Arc<Context>,
    args: &RunArgs,
    writer: Writer<EndpointSlice>,
) -> impl Future<Output = ()> + Send + 'static {
    let api: Api<EndpointSlice> = Api::namespaced(context.client.clone(), &args.namespace);
    let service = format!("kubernetes.io/service-name={}", args.gateway_service);
    let config = portside_watches::watching().labels(&service);
    async move {
        let slices = reflect(writer, watcher(api, config)).default_backoff();
        slices
            .for_each(|event| {
                match event {
                    Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                    Ok(_) => {
                        for key in queue::with_routes(&context.caches.classes) {
                            context.queue.push(key);
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the gateway cannot be watched"),
                }
                std::future::ready(())
            })
            .await;
    }
}

fn settings(args: &RunArgs) -> Settings {
    Settings {
        namespace: args.namespace.clone(),
        gateway_service: args.gateway_service.clone(),
        gateway_dns_name: args.gateway_dns_name.clone(),
        apiserver: args.apiserver(),
        metrics_from: args.metrics_from.0.clone(),
        sidecar_image: args.sidecar_image.clone(),
        sidecar_pull_policy: args.sidecar_pull_policy.as_str(),
        ingress_class: args.ingress_class.clone().filter(|name| !name.is_empty()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: portside_crds::names::qualified(&args.namespace, &args.lease_name),
    }
}

fn recorder(client: &Client, args: &RunArgs) -> Recorder {
    let reporter = Reporter {
        controller: portside_crds::names::FIELD_MANAGER.to_owned(),
        instance: Some(args.pod_name.clone()),
    };
    Recorder::new(client.clone(), reporter)
}

fn pod_reference(args: &RunArgs) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(args.namespace.clone()),
        name: Some(args.pod_name.clone()),
        ..ObjectReference::default()
    }
}

fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let ended = portside_admin::asked_to_end()?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        ended.await;
        tracing::info!("stopping");
        stopped.cancel();
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_ends_the_process() {
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::pending());
        tasks.spawn(async { panic!("of a watch") });
        let error = broken(&mut tasks).await;
        assert!(format!("{error:#}").contains("panicked"), "{error:#}");
    }
}
