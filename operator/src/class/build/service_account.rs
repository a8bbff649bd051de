//! The pods' identity.

use k8s_openapi::api::core::v1::ServiceAccount;
use portside_crds::names;

use super::meta;
use crate::class::validate::Valid;

/// An identity without rights, and without a token in the pods.
pub(super) fn service_account(valid: &Valid) -> ServiceAccount {
    ServiceAccount {
        metadata: meta(valid, names::workers(&valid.key.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
