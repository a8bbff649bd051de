//! What `portside dev` runs: the application as its files are.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use portside_bundle::{Bundled, Manifest, Options, Problem, wrangler};
use portside_sidecar::Class;

use super::inspect::UNHURRIED;
use crate::class::class;
use crate::variables::Provided;

/// Where the application comes from.
pub struct Source {
    pub dir: PathBuf,
    pub options: Options,
    pub provided: Provided,
    pub awake_workers: Option<NonZeroUsize>,
    /// Whether debuggers may hold the application up.
    pub is_unhurried: bool,
}

impl Source {
    /// The application as the files are now.
    pub async fn load(&self) -> Result<Loaded, Vec<Problem>> {
        let Bundled {
            bundle,
            manifest,
            wrangler,
            workers,
            assets,
            warnings,
            ..
        } = portside_bundle::bundle(&self.dir, &self.options).await?;
        let secrets = match &wrangler {
            Some(_) => wrangler::dev_vars(&self.dir, self.options.env.as_deref())?,
            None => BTreeMap::new(),
        };
        let env = self.provided.over(manifest.as_ref(), secrets)?;
        let folder = || {
            self.dir
                .file_name()
                .map_or("app".into(), |name| name.to_string_lossy())
        };
        let name = manifest
            .as_ref()
            .map_or_else(|| folder().into_owned(), |manifest| manifest.name.clone());
        let mut class = class(bundle, assets, manifest.as_ref(), env);
        if let Some(most) = self.awake_workers {
            Arc::make_mut(&mut class.limits).awake_workers = Some(most.get());
        }
        let file = manifest.as_ref().and_then(|manifest| manifest.file.clone());
        if self.is_unhurried {
            let limits = Arc::make_mut(&mut class.limits);
            (limits.request, limits.start) = (UNHURRIED, UNHURRIED);
        }
        Ok(Loaded {
            class,
            name,
            dir: self.dir.clone(),
            configured_by: wrangler.map(|wrangler| wrangler.file).or(file),
            manifest,
            workers,
            warnings,
        })
    }
}

/// An application, read from its files.
pub struct Loaded {
    pub class: Class,
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    pub manifest: Option<Manifest>,
    /// The scripts of its workers.
    pub workers: Vec<String>,
    /// The name of the file that configures it, if one does.
    pub configured_by: Option<String>,
    pub warnings: Vec<Problem>,
}
