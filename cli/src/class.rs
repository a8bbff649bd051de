//! What a folder and its manifest make.

use std::sync::Arc;

use portside_assets::Assets;
use portside_bundle::Manifest;
use portside_core::bundle::Bundle;
use portside_core::variable::{Value, Variables};
use portside_crds::class::Isolation;
use portside_sidecar::Class;

/// The class of this code, these assets and variables: configured by the manifest if there is one, else with the defaults.
pub fn class(
    bundle: Bundle,
    assets: Option<Assets>,
    manifest: Option<&Manifest>,
    variables: Variables,
) -> Class {
    let limits = manifest.map(|manifest| manifest.limits.clone());
    let objects = manifest.map(|manifest| manifest.objects.object_classes());
    let compatibility = manifest.map(|manifest| manifest.objects.compatibility());
    Class {
        bundle: Arc::new(bundle),
        limits: Arc::new(limits.unwrap_or_default()),
        env: Arc::new(env(manifest, variables)),
        assets: assets.map(Arc::new),
        objects: objects.unwrap_or_default().into(),
        isolates_objects: manifest
            .is_some_and(|manifest| manifest.objects.isolation == Isolation::Object),
        compatibility: Arc::new(compatibility.unwrap_or_default()),
        input_gate: manifest.is_some_and(|manifest| manifest.input_gate),
        crons: manifest.map_or_else(Arc::default, |manifest| manifest.crons.clone().into()),
    }
}

/// The server's `env`: these variables, and the bindings that the manifest declares.
pub fn env(manifest: Option<&Manifest>, mut variables: Variables) -> Variables {
    let Some(Manifest {
        objects, assets, ..
    }) = manifest
    else {
        return variables;
    };
    for binding in &objects.bindings {
        let declared = objects.classes.iter();
        let class = declared
            .map(|class| &class.name)
            .position(|name| *name == binding.class);
        variables.extend(class.map(|class| (binding.name.clone(), Value::Objects(class))));
    }
    let binding = assets.as_ref().and_then(|assets| assets.binding.clone());
    variables.extend(binding.map(|name| (name, Value::Assets)));
    variables
}
