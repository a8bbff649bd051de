//! The pods' identity.

use k8s_openapi::api::core::v1::ServiceAccount;
use portside_crds::names;

use super::meta;
use crate::class::validate::Valid;

/// An identity without rights, and without a token in the pods. Its annotations may make it one of the cloud's.
pub(super) fn service_account(valid: &Valid) -> ServiceAccount {
    let mut metadata = meta(valid, names::workers(&valid.key.name));
    let annotations = &valid.class.spec.pod.service_account_annotations;
    if !annotations.is_empty() {
        metadata.annotations = Some(annotations.clone());
    }
    ServiceAccount {
        metadata,
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
