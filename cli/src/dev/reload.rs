//! New code takes over when files change.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use portside_bundle::Problem;
use portside_sidecar::{App, Class};

use super::source::{Loaded, Source};
use super::summary::summary;
use super::{print_flushed, println_flushed};
use crate::watch::Watch;
use portside_verbs::problems;

/// What runs, and what was said about it.
pub struct Running {
    class: Class,
    warnings: Vec<Problem>,
    /// Nothing where nothing is to be said.
    summary: Option<String>,
}

impl Running {
    /// This application, of which that was said.
    pub fn new(class: Class, warnings: Vec<Problem>, summary: Option<String>) -> Self {
        Self {
            class,
            warnings,
            summary,
        }
    }
}

/// Watches the folder; nothing, which is said, if that cannot be done.
pub fn watch(dir: &Path) -> Option<Watch> {
    Watch::start(dir)
        .inspect_err(|error| {
            tracing::error!(%error, "the folder cannot be watched: restart to see changes");
        })
        .ok()
}

/// Has a folder of assets that is elsewhere watched as well.
pub fn watch_assets(watch: &mut Watch, class: &Class) {
    let folder = class.assets.as_ref().map(|assets| assets.root());
    if let Err(error) = watch.also(folder) {
        tracing::error!(%error, "the assets' folder cannot be watched: restart to see changes");
    }
}

/// What runs an application and can go on with other code.
pub trait Replace: Send + Sync {
    /// Returns when the new code runs, and the old code does no more.
    ///
    /// # Errors
    /// Its server cannot be loaded, for this reason. The old code goes on.
    fn replace(&self, class: Class) -> BoxFuture<'_, Result<(), String>>;
}

impl Replace for App {
    fn replace(&self, class: Class) -> BoxFuture<'_, Result<(), String>> {
        App::replace(self, class).boxed()
    }
}

const NOT_RELOADED: &str = "portside: not reloaded, the previous code still runs";

/// Replaces the running code whenever the files change, can be bundled, and have a server that can be loaded; otherwise the
/// old code goes on.
pub async fn reload_on_change(
    mut watch: Watch,
    source: Source,
    app: Arc<dyn Replace>,
    mut running: Running,
) {
    loop {
        watch.changed().await;
        match source.load().await {
            Ok(loaded) => {
                let summary = summary(&loaded);
                let Loaded {
                    class, warnings, ..
                } = loaded;
                watch_assets(&mut watch, &class);
                if warnings != running.warnings {
                    problems::warn(&warnings);
                    running.warnings = warnings;
                }
                if class == running.class {
                    continue; // touched, but the same
                }
                match app.replace(class.clone()).await {
                    Ok(()) => {
                        running.class = class;
                        println_flushed("portside: reloaded");
                        if let Some(told) =
                            running.summary.as_mut().filter(|told| **told != summary)
                        {
                            print_flushed(&summary);
                            *told = summary;
                        }
                    }
                    Err(why) => {
                        eprintln!("the server cannot be loaded: {why}");
                        eprintln!("{NOT_RELOADED}");
                    }
                }
            }
            Err(found) => {
                problems::print(&found);
                eprintln!("{NOT_RELOADED}");
            }
        }
    }
}
