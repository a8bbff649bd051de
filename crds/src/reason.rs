//! Why a condition is as it is.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a condition is as it is, in one word. The set is closed: each has a page in `docs/reasons`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As it stands in a condition: PascalCase.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

reasons! {
    /// All is as the class asks.
    Succeeded,
    /// The class's objects are being made or its pods are starting.
    Progressing,
    /// `spec.suspend` is set.
    Suspended,
    /// `spec.scaling.replicas` is 0.
    ScaledToZero,
    /// The newest revision does not work; an older one still serves.
    RevisionFailed,
    /// The API server refused an object that the class asks for, or could not be asked.
    ApplyFailed,
    /// An object of a name that the class needs is there and belongs to somebody else.
    NameTaken,
    /// The pods are refused: by admission, a quota, or because what the class passes on is not valid.
    PodRejected,
    /// No node takes the pods.
    PodUnschedulable,
    /// The sidecar's image, or an extra container's, cannot be pulled.
    ImagePullFailed,
    /// A container ends again and again without saying why.
    PodCrashing,
    /// No pod became ready in the time a rollout has.
    RolloutTimedOut,
    /// No pod is ready.
    NoPodReady,
    /// The ConfigMap with the code is missing.
    CodeMissing,
    /// The code is larger than where it has to go.
    CodeTooLarge,
    /// The OCI artifact cannot be pulled.
    CodePullFailed,
    /// What was pulled does not have the digest the class asks for.
    CodeDigestMismatch,
    /// The code cannot be bundled: a syntax error, an import that leads nowhere.
    CodeInvalid,
    /// The server's module threw when it was evaluated.
    CodeFailed,
    /// The sidecar cannot read the class: it is of another version than the operator.
    ClassInvalid,
    /// A Secret or ConfigMap that `spec.env` names is missing, or its key.
    EnvMissing,
    /// The Secret with the database's URL is missing, or its key.
    DatabaseMissing,
    /// The database does not answer.
    DatabaseUnavailable,
    /// The database's schema is of a newer version, or the URL names no PostgreSQL.
    DatabaseIncompatible,
    /// The class has no routes.
    NoRoutes,
    /// An older class has the same route, or its namespace the host.
    RouteConflict,
    /// A Gateway refuses the HTTPRoute that leads to the class.
    RouteRefused,
    /// No Ingress controller, or Gateway, has said that it leads to the class.
    RoutePending,
    /// The cluster does not have what routing needs: a gateway, or the Gateway API.
    GatewayUnavailable,
    /// The workers' state is being deleted.
    Purging,
    /// The workers' state could not be deleted.
    PurgeFailed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
