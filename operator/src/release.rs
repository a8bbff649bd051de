//! `release-finalizers`: lets classes, and namespaces, go without an operator.

use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::{Client, ResourceExt};
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::FINALIZER;

use crate::api;
use crate::args::ReleaseArgs;
use crate::class::deletion::set_finalizer;
use crate::registration;

/// Removes the finalizer of every class, and before that what is left of the API server of workers. The workers' state stays in the database.
///
/// # Errors
/// The classes cannot be listed or changed, or the rest cannot be deleted. Those that are gone, or there is no definition of, are no error.
pub(crate) async fn run(args: ReleaseArgs) -> anyhow::Result<()> {
    let ReleaseArgs {
        watch_namespace,
        apiserver,
        namespace,
        log,
    } = args;
    log.init()?;
    let client = api::connect().await?;
    let apiserver = apiserver.filter(|name| !name.is_empty());
    if let (Some(apiserver), Some(namespace)) = (apiserver, namespace) {
        registration::remove(&client, &namespace, &apiserver).await?;
    }
    let namespaces: Vec<&String> = watch_namespace
        .iter()
        .filter(|one| !one.is_empty())
        .collect();
    let apis: Vec<Api<PartialObjectMeta<ServerlessWorkerClass>>> = if namespaces.is_empty() {
        vec![Api::all(client.clone())]
    } else {
        let api = |namespace: &&String| Api::namespaced(client.clone(), namespace);
        namespaces.iter().map(api).collect()
    };
    for api in apis {
        let classes = match api.list(&ListParams::default()).await {
            Ok(classes) => classes,
            Err(error) if api::is_not_found(&error) => continue,
            Err(error) if api::is_forbidden(&error) && !namespaces.is_empty() => {
                // A namespace that is gone has taken its Role along, and another one need not wait for that.
                tracing::warn!(%error, "the classes of a namespace cannot be listed, and keep their finalizers if there are any");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for class in classes {
            if !class.finalizers().iter().any(|one| one == FINALIZER) {
                continue;
            }
            release(&client, &class).await?;
        }
    }
    Ok(())
}

async fn release(
    client: &Client,
    class: &PartialObjectMeta<ServerlessWorkerClass>,
) -> Result<(), kube::Error> {
    let (namespace, name) = (class.namespace().unwrap_or_default(), class.name_any());
    let api: Api<PartialObjectMeta<ServerlessWorkerClass>> =
        Api::namespaced(client.clone(), &namespace);
    let mut meta = class.metadata.clone();
    loop {
        match set_finalizer(client, &meta, false).await {
            Ok(()) => break,
            Err(error) if api::is_not_found(&error) => return Ok(()),
            // It was changed meanwhile: again, with what it is now.
            Err(error) if api::is_conflict(&error) => {
                let Some(now) = api.get_opt(&name).await? else {
                    return Ok(());
                };
                meta = now.metadata;
            }
            Err(error) => return Err(error),
        }
    }
    tracing::info!(
        namespace,
        name,
        "released; its workers' state stays in the database"
    );
    Ok(())
}
