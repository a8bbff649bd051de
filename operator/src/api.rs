//! The API server: how long it is waited for, and what its refusals mean.

use std::time::Duration;

use kube::Client;
use kube::client::ClientBuilder;
use kube::core::Status;
use tower::timeout::TimeoutLayer;

use portside_crds::Reason;

use crate::class::owned::Kind;

/// How long the API server may take to begin with an answer: longer than a webhook may take.
const ANSWER: Duration = Duration::from_secs(40);

/// A client that waits for nothing without end.
///
/// # Errors
/// The configuration cannot be found, or read.
pub(crate) async fn connect() -> anyhow::Result<Client> {
    let config = portside_watches::config().await?;
    let builder = ClientBuilder::try_from(config)?;
    Ok(builder.with_layer(&TimeoutLayer::new(ANSWER)).build())
}

/// An object that could not be made, in a way that the class's status has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// In one word.
    pub reason: Reason,
    /// Which object, why, and what to do.
    pub message: String,
    /// Whether only a change of the class can help; else it is tried again.
    pub is_final: bool,
    /// Whether nothing can be made any more, as the namespace is being deleted.
    pub is_namespace_going: bool,
}

impl Refusal {
    /// An object of that name belongs to somebody else.
    pub(crate) fn name_taken(kind: Kind, name: &str) -> Self {
        let kind = kind.as_str();
        Self {
            reason: Reason::NameTaken,
            message: format!(
                "{kind} {name} is there already and does not belong to this class; delete it, or name the class otherwise"
            ),
            is_final: false,
            is_namespace_going: false,
        }
    }

    /// Something could not be done, for a reason that may pass by itself.
    pub(crate) fn passing(message: String) -> Self {
        Self {
            reason: Reason::ApplyFailed,
            message,
            is_final: false,
            is_namespace_going: false,
        }
    }

    /// What an error of the API server says of an object; `None` if it says nothing and may pass by itself.
    pub(crate) fn of(kind: Kind, name: &str, error: &kube::Error) -> Option<Self> {
        let kube::Error::Api(status) = error else {
            return None;
        };
        let text = status.message.trim_end_matches('.');
        let (reason, next, is_final) = match status.code {
            403 => (Reason::ApplyFailed, next_step(status), false),
            400 | 422 if matches!(kind, Kind::Deployment | Kind::Job) => {
                (Reason::PodRejected, "correct spec.pod", true)
            }
            400 | 422 => (Reason::ApplyFailed, "correct the class's spec", true),
            _ => return None,
        };
        let kind = kind.as_str();
        Some(Self {
            reason,
            message: format!("{kind} {name} was refused: {text}; {next}"),
            is_final,
            is_namespace_going: is_namespace_going(status),
        })
    }
}

fn next_step(status: &Status) -> &'static str {
    if status.message.contains("exceeded quota") {
        "raise the namespace's quota or delete what is not needed"
    } else if is_namespace_going(status) {
        "the namespace is being deleted"
    } else {
        "give the operator's ServiceAccount the right, as its chart does"
    }
}

/// What an error says, without what it went through.
pub(crate) fn text(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.trim_end_matches('.').to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Whether something cannot be made because its namespace is being deleted.
fn is_namespace_going(status: &Status) -> bool {
    status.code == 403 && status.message.contains("because it is being terminated")
}

/// Whether an object was not there.
pub(crate) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the operator has no right to do that.
pub(crate) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Whether an object is not as the request said it would be.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::testkit::refusal as error;

    #[test]
    fn refusals_name_the_object_and_the_next_step() {
        let of = |kind, code, message| Refusal::of(kind, "chat-workers", &error(code, message));
        let quota = of(
            Kind::Service,
            403,
            "services \"chat-workers\" is forbidden: exceeded quota: q",
        )
        .unwrap();
        assert!(!quota.is_final);
        assert_eq!(
            quota.message,
            "Service chat-workers was refused: services \"chat-workers\" is forbidden: exceeded quota: q; \
             raise the namespace's quota or delete what is not needed"
        );
        let invalid = of(Kind::Deployment, 422, "Deployment.apps is invalid").unwrap();
        assert_eq!(
            (invalid.reason, invalid.is_final),
            (Reason::PodRejected, true)
        );
        let right = of(Kind::Ingress, 403, "User \"x\" cannot patch resource").unwrap();
        assert!(right.message.ends_with("as its chart does"));
        assert_eq!(of(Kind::Ingress, 500, "etcd"), None);
        assert_eq!(of(Kind::Ingress, 409, "conflict"), None);
    }
}
