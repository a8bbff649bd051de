//! What a folder and its manifest make.

use std::sync::Arc;

use portside_bundle::Manifest;
use portside_bundle::wrangler::Wrangler;
use portside_core::bundle::Bundle;
use portside_core::variable::{Value, Variables};
use portside_sidecar::Class;

/// The class of this code: configured by the manifest if there is one, else with the defaults.
pub fn class(
    bundle: Bundle,
    manifest: Option<&Manifest>,
    wrangler: Option<&Wrangler>,
    mut env: Variables,
) -> Class {
    let objects = wrangler.map_or(&[][..], |wrangler| &wrangler.classes);
    for binding in wrangler.into_iter().flat_map(|wrangler| &wrangler.bindings) {
        let class = objects
            .iter()
            .position(|class| class.name == binding.class_name);
        env.extend(class.map(|class| (binding.name.clone(), Value::Objects(class))));
    }
    let limits = manifest.map(|manifest| manifest.limits.clone());
    Class {
        bundle: Arc::new(bundle),
        limits: Arc::new(limits.unwrap_or_default()),
        env: Arc::new(env),
        objects: objects.into(),
        input_gate: manifest.is_some_and(|manifest| manifest.input_gate),
    }
}
