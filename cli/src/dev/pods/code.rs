//! An application's code and configuration, on its way to the processes that run it.
//!
//! Pods get what was bundled once: one that starts later, or again, runs what the others run, whatever has become of
//! the files since.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use portside_assets::{Assets, Settings};
use portside_bundle::file;
use portside_core::compatibility::Compatibility;
use portside_core::limits::Limits;
use portside_core::migrations::ObjectClass;
use portside_core::variable::Variables;
use portside_sidecar::Class;
use serde::{Deserialize, Serialize};

/// A class as JSON. Of its assets only where they are: their files are read where they lie.
#[derive(Serialize, Deserialize)]
pub struct Code {
    bundle: String,
    limits: Limits,
    env: Variables,
    assets: Option<(PathBuf, Settings)>,
    objects: Vec<ObjectClass>,
    isolates_objects: bool,
    compatibility: Compatibility,
    input_gate: bool,
    crons: Vec<String>,
}

impl Code {
    /// What this class is made of.
    ///
    /// # Errors
    /// A module's source is not the text that its kind says.
    pub fn of(class: &Class) -> anyhow::Result<Self> {
        let assets = class.assets.as_ref();
        Ok(Self {
            bundle: String::from_utf8(file::encode(&class.bundle)?)?,
            limits: (*class.limits).clone(),
            env: (*class.env).clone(),
            assets: assets.map(|assets| (assets.root().to_owned(), assets.settings().clone())),
            objects: class.objects.to_vec(),
            isolates_objects: class.isolates_objects,
            compatibility: (*class.compatibility).clone(),
            input_gate: class.input_gate,
            crons: class.crons.iter().map(ToString::to_string).collect(),
        })
    }

    /// The class that is made of it.
    ///
    /// # Errors
    /// The assets are not there any more, or it was not made by [`Code::of`].
    pub fn class(self) -> anyhow::Result<Class> {
        let assets = self.assets.map(|(root, settings)| {
            let scanned = Assets::scan(&root, settings).map_err(|notes| {
                let note = notes.first().map(|note| note.message.clone());
                anyhow!(
                    "the assets in {}: {}",
                    root.display(),
                    note.unwrap_or_default()
                )
            });
            scanned.map(|scanned| scanned.found.into())
        });
        let crons: Result<Vec<_>, _> = self.crons.iter().map(|cron| cron.parse()).collect();
        Ok(Class {
            bundle: file::decode(self.bundle.as_bytes())?.into(),
            limits: self.limits.into(),
            env: self.env.into(),
            assets: assets.transpose()?,
            objects: self.objects.into(),
            isolates_objects: self.isolates_objects,
            compatibility: self.compatibility.into(),
            input_gate: self.input_gate,
            crons: crons.context("a cron")?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use portside_bundle::Options;

    use super::*;
    use crate::class::class;

    const CONFIGURATION: &str = r#"{
      "name": "rooms", "main": "index.js", "compatibility_date": "2026-04-01",
      "vars": { "GREETING": "hello", "SIZES": [1, { "most": 2 }] },
      "durable_objects": { "bindings": [{ "name": "ROOMS", "class_name": "Room" }] },
      "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room"] }],
      "assets": { "directory": "public", "binding": "FILES", "run_worker_first": ["/api/*"] },
      "triggers": { "crons": ["*/5 * * * *"] }
    }"#;
    const MAIN: &str = "import { DurableObject } from \"cloudflare:workers\";
        export class Room extends DurableObject {}
        export default { fetch: () => new Response() };";

    #[tokio::test(flavor = "multi_thread")]
    async fn a_class_is_the_same_where_it_arrives() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("wrangler.json", CONFIGURATION),
            ("index.js", MAIN),
            ("public/index.html", "<p>hello"),
            ("public/_headers", "/*\n  x-a: b\n"),
        ] {
            let file = dir.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let options = Options::default();
        let bundled = portside_bundle::bundle(dir.path(), &options);
        let bundled = bundled.await.unwrap();
        let manifest = bundled.manifest.as_ref();
        let env = crate::variables::Provided::read(None, vec![]).unwrap();
        let env = env.over(manifest, [].into()).unwrap();
        let class = class(bundled.bundle, bundled.assets, manifest, env);
        assert_eq!(
            (class.objects.len(), class.crons.len(), class.env.len()),
            (1, 1, 4)
        );

        let sent = serde_json::to_string(&Code::of(&class).unwrap()).unwrap();
        let arrived: Code = serde_json::from_str(&sent).unwrap();
        assert_eq!(arrived.class().unwrap(), class);
    }
}
