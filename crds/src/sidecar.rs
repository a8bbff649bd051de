//! What a sidecar says of itself: to the gateway and the operator over its admin port, and to the kubelet when it fails.
//!
//! Pods and gateways of different versions speak with each other while either is updated. Fields are added, never changed,
//! and what an older version would not understand is said so that it acts rightly all the same ([`SERVING_TERM`]).

mod json;

use serde::{Deserialize, Serialize};

use crate::Reason;

/// The path of [`Ownership`] on the admin port.
pub const OWNERSHIP_PATH: &str = "/ownership";

/// The path of [`SidecarStatus`] on the admin port.
pub const STATUS_PATH: &str = "/status";

/// The header in which a pod that refuses a request says its [`State`]: with status 421 it means that the request has not
/// run, whatever the state is. A pod that serves says [`State::Standby`] while its lease is over.
pub const STATE_HEADER: &str = "portside-state";

/// The header in which a pod that serves beside others says who owns the worker or object that the request used first:
/// [`Ownership::incarnation`] of that pod, perhaps its own. It is left out if the request used none.
///
/// The gateway takes it off, so that clients do not see it, and prefers that pod for requests of the same path. It takes it
/// off requests, too.
pub const OWNER_HEADER: &str = "portside-owner";

/// The header in which a gateway says with a request for a WebSocket that it can hold it: it understands what pods say on one that
/// may outlive its connection (`portside_exchange::envelope`). The value is [`HOLDS`]; others mean nothing to a pod.
pub const HOLDS_HEADER: &str = "portside-holds";

/// The present way to hold a WebSocket.
pub const HOLDS: &str = "1";

/// The header in which a pod says with status 101 that what it says are envelopes, and how the WebSocket is opened again should
/// its connection end: [`REOPENED`] or [`KEPT`]. Only a gateway that has said [`HOLDS`] gets it.
pub const HELD_HEADER: &str = "portside-held";

/// The same request is sent again, with [`RECONNECTED_HEADER`].
pub const REOPENED: &str = "reopened";

/// A request is sent with [`OFFERS_HEADER`], which no code of the application sees.
pub const KEPT: &str = "kept";

/// The header with which a gateway opens a WebSocket again that the application lets be reopened. No client can send it.
pub const RECONNECTED_HEADER: &str = "portside-reconnected";

/// The header with which a gateway brings a WebSocket back that it holds for a Durable Object: what the object's pod has said last
/// that is to be kept, in base64. No client can send it.
pub const OFFERS_HEADER: &str = "portside-offers";

/// What only a gateway and its pods say to each other: whoever answers clients removes it from their requests.
pub const BETWEEN_GATEWAY_AND_POD: [&str; 5] = [
    STATE_HEADER,
    OWNER_HEADER,
    HOLDS_HEADER,
    RECONNECTED_HEADER,
    OFFERS_HEADER,
];

/// The term that stands for [`State::Serving`] in JSON and in tokens, where the state is `active`.
///
/// A gateway of an older version, which knows nothing of serving pods, reads it as the term of the active pod. It is higher
/// than any that a pod which runs the class alone can have, so such a pod counts as overtaken; and all serving pods say the
/// same, so the gateway believes each, sends everything to one of them, and goes on to the next when that one drains or
/// cannot be reached. Small enough for programs whose numbers are IEEE doubles.
pub const SERVING_TERM: u64 = (1 << 53) - 1;

/// The longest that [`OWNERSHIP_PATH`] waits for a change, in seconds.
pub const MAX_WAIT_SECONDS: u64 = 60;

/// How many seconds a pod needs at most to end, once its requests are answered: for responses to end, workers to stop, and gateways to
/// hear of it. It is ended that much later than its last request may be answered.
pub const SECONDS_AFTER_REQUESTS: u32 = 30;

/// The most bytes the kubelet reads of a termination message
/// (<https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>).
pub const MAX_TERMINATION_BYTES: usize = 4096;

/// What a pod does.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Ready to take over.
    Standby,
    /// Runs all of the class's workers, alone.
    Active,
    /// Runs some of the class's workers while other pods run the rest, and answers any request. Only pods that reach each
    /// other serve: while one that is active alone may still run workers, a pod that could serve is on standby.
    Serving,
    /// Finishes what it has begun, and takes no more.
    Draining,
}

impl State {
    /// Its name, as it stands in [`STATE_HEADER`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Active => "active",
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

impl std::str::FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        [Self::Standby, Self::Active, Self::Serving, Self::Draining]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(UnknownState)
    }
}

/// Text that is no [`State`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a state is standby, active, serving or draining")]
pub struct UnknownState;

/// Whether a pod runs its class's workers. Of two pods that say [`State::Active`], the one with the higher term is right;
/// all that say [`State::Serving`] are, as long as their leases are renewed.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Ownership {
    /// The pod's name.
    pub pod: String,
    /// What it does.
    pub state: State,
    /// Counts the times the class's workers were taken over, as far as the pod knows. 0 unless it is active: serving pods
    /// have no term, though [`SERVING_TERM`] stands in the JSON.
    pub term: u64,
    /// Tells one start of the pod's process from the next: its id in the store, 32 hexadecimal digits. Pods of older
    /// versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
    /// How often the store has renewed this incarnation's lease. Pods of older versions do not say it; one that serves and
    /// does not say it is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewals: Option<u64>,
}

impl Ownership {
    /// What `not=` of [`OWNERSHIP_PATH`] takes to answer when this is no longer so: `STATE:TERM`.
    #[must_use]
    pub fn token(&self) -> String {
        token(self.state, self.term)
    }
}

/// A state and a term as `not=` of [`OWNERSHIP_PATH`] takes them.
#[must_use]
pub fn token(state: State, term: u64) -> String {
    let (state, term) = json::written(state, term);
    format!("{}:{term}", state.as_str())
}

/// The opposite of [`token`]; `None` for anything else.
#[must_use]
pub fn parse_token(text: &str) -> Option<(State, u64)> {
    let (state, term) = text.split_once(':')?;
    Some(json::read(state.parse().ok()?, term.parse().ok()?))
}

/// What a pod runs.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct SidecarStatus {
    /// The digest of its bundle: `sha256:` and hexadecimal digits.
    pub digest: String,
    /// As in [`Ownership`].
    pub state: State,
    /// As in [`Ownership`].
    pub term: u64,
    /// How many workers there are.
    pub workers: SidecarWorkers,
}

/// How many workers a pod knows of.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SidecarWorkers {
    /// In memory.
    pub awake: u64,
    /// With stored state, asleep or awake. `None` while unknown.
    pub stored: Option<u64>,
}

/// Why a sidecar ended before it was ready.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TerminationReason {
    /// The OCI artifact with the code cannot be pulled.
    CodePullFailed,
    /// What was pulled has another digest than it should have.
    CodeDigestMismatch,
    /// The code cannot be bundled, or what was pulled is no bundle.
    CodeInvalid,
    /// The server's module threw when it was evaluated.
    CodeFailed,
    /// A value that the env needs was not mounted.
    EnvMissing,
    /// The database's URL was not mounted.
    DatabaseMissing,
    /// The certificates of the authority that has signed the database's were not mounted.
    DatabaseCaMissing,
    /// The database does not answer.
    DatabaseUnavailable,
    /// The database's schema is of a newer version, the URL names no PostgreSQL, or it does not go with the authority.
    DatabaseIncompatible,
    /// The manifest cannot be read.
    ClassInvalid,
}

impl TerminationReason {
    /// The conditions' reason.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::CodePullFailed => Reason::CodePullFailed,
            Self::CodeDigestMismatch => Reason::CodeDigestMismatch,
            Self::CodeInvalid => Reason::CodeInvalid,
            Self::CodeFailed => Reason::CodeFailed,
            Self::EnvMissing => Reason::EnvMissing,
            Self::DatabaseMissing | Self::DatabaseCaMissing => Reason::DatabaseMissing,
            Self::DatabaseUnavailable => Reason::DatabaseUnavailable,
            Self::DatabaseIncompatible => Reason::DatabaseIncompatible,
            Self::ClassInvalid => Reason::ClassInvalid,
        }
    }

    /// Whether starting again cannot help: the class is stalled.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::CodeDigestMismatch
            | Self::CodeInvalid
            | Self::CodeFailed
            | Self::DatabaseIncompatible
            | Self::ClassInvalid => true,
            Self::CodePullFailed
            | Self::EnvMissing
            | Self::DatabaseMissing
            | Self::DatabaseCaMissing
            | Self::DatabaseUnavailable => false,
        }
    }
}

/// What a sidecar that cannot start leaves in its termination log.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// Why, for programs.
    pub reason: TerminationReason,
    /// Why, for people, with the place and the next step.
    pub message: String,
}

impl Termination {
    /// The termination log's content: JSON of at most [`MAX_TERMINATION_BYTES`], the message cut short if need be.
    #[must_use]
    pub fn to_log(&self) -> String {
        let cut_to = |length: usize| {
            let message = if length >= self.message.len() {
                self.message.clone()
            } else {
                let end = self.message.floor_char_boundary(length);
                format!("{}…", &self.message[..end])
            };
            let reason = self.reason;
            let shown = Self { reason, message };
            serde_json::to_string(&shown).expect("text and an enum are always JSON")
        };
        // Escapes make the JSON longer than the message, by how much depends on where it is cut.
        let (mut fits, mut too_long) = (0, MAX_TERMINATION_BYTES.min(self.message.len()) + 1);
        while too_long - fits > 1 {
            let middle = fits.midpoint(too_long);
            if cut_to(middle).len() <= MAX_TERMINATION_BYTES {
                fits = middle;
            } else {
                too_long = middle;
            }
        }
        cut_to(fits)
    }

    /// What a termination log says; `None` if it was not written by a sidecar.
    #[must_use]
    pub fn from_log(log: &str) -> Option<Self> {
        serde_json::from_str(log.trim()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_as_agreed() {
        let ownership = Ownership {
            pod: "a-1".into(),
            state: State::Standby,
            term: 17,
            incarnation: None,
            renewals: None,
        };
        assert_eq!(
            serde_json::to_string(&ownership).unwrap(),
            r#"{"pod":"a-1","state":"standby","term":17}"#
        );
        let started = Ownership {
            incarnation: Some("0a".into()),
            renewals: Some(3),
            ..ownership.clone()
        };
        assert_eq!(
            serde_json::to_string(&started).unwrap(),
            r#"{"pod":"a-1","state":"standby","term":17,"incarnation":"0a","renewals":3}"#
        );
        assert_eq!(parse_token(&ownership.token()), Some((State::Standby, 17)));
        assert_eq!(parse_token("gone:1"), None);
        let text = r#"{"digest":"sha256:00","state":"active","term":1,"workers":{"awake":12,"stored":null}}"#;
        let status: SidecarStatus = serde_json::from_str(text).unwrap();
        assert_eq!(status.workers.stored, None);
        assert_eq!(serde_json::to_string(&status).unwrap(), text);
    }

    #[test]
    fn termination_logs_are_bounded() {
        let short = Termination {
            reason: TerminationReason::CodeInvalid,
            message: "server.js:3:5: no".into(),
        };
        let log = short.to_log();
        assert_eq!(
            log,
            r#"{"reason":"CodeInvalid","message":"server.js:3:5: no"}"#
        );
        assert_eq!(Termination::from_log(&log), Some(short.clone()));
        for piece in ["x", "é", "\"\n", "𝄞\u{1}"] {
            let long = Termination {
                message: piece.repeat(10_000),
                ..short.clone()
            };
            let log = long.to_log();
            assert!(
                (3_900..=MAX_TERMINATION_BYTES).contains(&log.len()),
                "{}",
                log.len()
            );
            let message = Termination::from_log(&log).unwrap().message;
            assert!(message.ends_with('…'));
            assert!(long.message.starts_with(message.trim_end_matches('…')));
        }
        assert_eq!(Termination::from_log("panicked at"), None);
    }
}
