//! Keeps the gateway's topology as the API server has it.

use std::sync::Arc;

use futures::future::select_all;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::core::DeserializeGuard;
use portside_admin::Readiness;
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::CLASS_LABEL;
use portside_gateway::{Gateway, Topology};
use portside_watches::{Known, gathered, known, watching};
use tokio::sync::Notify;

use crate::topology::topology;

/// What readiness waits for.
pub const CLASSES: &str = "classes";
/// What readiness waits for, too.
pub const ENDPOINTS: &str = "endpoints";

/// Objects of which some may not be what their schema says.
type Guarded = DeserializeGuard<ServerlessWorkerClass>;

/// Watches all namespaces, or those given, and applies every change, from when everything has been seen once. While
/// the API server is away, the gateway goes by what is known. Does not end.
pub async fn run(
    client: Client,
    namespaces: &[String],
    gateway: Arc<Gateway>,
    readiness: Readiness,
) {
    let (changed, mut filling) = (Arc::new(Notify::new()), vec![]);
    let everything = watching();
    let endpoints = everything.clone().labels(CLASS_LABEL);
    let mut classes = known::<Guarded>(
        &client,
        namespaces,
        &everything,
        &changed,
        forget_code,
        &mut filling,
    );
    let mut slices = known::<EndpointSlice>(
        &client,
        namespaces,
        &endpoints,
        &changed,
        |_| {},
        &mut filling,
    );
    let applying = async {
        classes.synced().await;
        readiness.done(CLASSES);
        slices.synced().await;
        loop {
            gateway.apply(of(&classes, &slices));
            readiness.done(ENDPOINTS);
            gathered(&changed).await;
        }
    };
    tokio::select! {
        () = applying => {}
        _ = select_all(filling) => {}
    }
}

/// The largest part of a class, and not a gateway's business.
fn forget_code(class: &mut Guarded) {
    match &mut class.0 {
        Ok(class) => class.spec.code.inline = None,
        Err(error) => {
            let name = error.metadata.name.as_deref().unwrap_or_default();
            let namespace = error.metadata.namespace.as_deref().unwrap_or_default();
            tracing::warn!(namespace, name, %error, "this class cannot be read and has no routes");
        }
    }
}

fn of(classes: &Known<Guarded>, slices: &Known<EndpointSlice>) -> Topology {
    let (classes, slices) = (classes.objects(), slices.objects());
    topology(
        classes.iter().filter_map(|class| class.0.as_ref().ok()),
        slices.iter().map(|slice| &**slice),
    )
}
