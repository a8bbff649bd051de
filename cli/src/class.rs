//! What a folder and its manifest make.

use std::sync::Arc;

use portside_bundle::Manifest;
use portside_core::bundle::Bundle;
use portside_core::variable::Variables;
use portside_sidecar::Class;

/// The class of this code: configured by the manifest if there is one, else with the defaults.
pub fn class(bundle: Bundle, manifest: Option<&Manifest>, env: Variables) -> Class {
    let limits = manifest.map(|manifest| manifest.limits.clone());
    Class {
        bundle: Arc::new(bundle),
        limits: Arc::new(limits.unwrap_or_default()),
        env: Arc::new(env),
        input_gate: manifest.is_some_and(|manifest| manifest.input_gate),
    }
}
