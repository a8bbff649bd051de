//! What a folder and its manifest make.

use std::sync::Arc;

use portside_bundle::Manifest;
use portside_core::bundle::Bundle;
use portside_core::variable::{Value, Variables};
use portside_sidecar::Class;

/// The class of this code: configured by the manifest if there is one, else with the defaults.
pub fn class(bundle: Bundle, manifest: Option<&Manifest>, mut env: Variables) -> Class {
    let limits = manifest.map(|manifest| manifest.limits.clone());
    let objects = manifest.map(|manifest| manifest.objects.clone());
    let objects = objects.unwrap_or_default();
    let classes = objects.object_classes();
    for binding in objects.bindings {
        let class = classes.iter().position(|class| class.name == binding.class);
        env.extend(class.map(|class| (binding.name, Value::Objects(class))));
    }
    Class {
        bundle: Arc::new(bundle),
        limits: Arc::new(limits.unwrap_or_default()),
        env: Arc::new(env),
        objects: classes.into(),
        input_gate: manifest.is_some_and(|manifest| manifest.input_gate),
    }
}
