//! Conditions as kstatus, Argo CD and Flux read them.
//!
//! `Ready` is always there. `Reconciling` and `Stalled` are there only while they are true: a tool that knows nothing
//! else takes `Stalled` for failed and `Reconciling` for in progress
//! (<https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus>).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::Reason;

/// The aspects of a class that have a condition, in the order they are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    /// The class serves as its spec asks.
    Ready,
    /// The operator or the kubelet is still at it.
    Reconciling,
    /// Only a change of the spec, or of what it names, can help.
    Stalled,
    /// The code of the newest revision was loaded and evaluated.
    CodeLoaded,
    /// A pod runs the workers, of the newest revision or of an older one.
    Available,
    /// The routes lead to the class.
    RoutesReady,
    /// The database can be used.
    StorageReady,
}

impl ConditionType {
    /// Every type.
    pub const ALL: [Self; 7] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::CodeLoaded,
        Self::Available,
        Self::RoutesReady,
        Self::StorageReady,
    ];

    /// As it stands in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::CodeLoaded => "CodeLoaded",
            Self::Available => "Available",
            Self::RoutesReady => "RoutesReady",
            Self::StorageReady => "StorageReady",
        }
    }

    /// Whether the condition is left out unless it is true.
    #[must_use]
    pub const fn only_while_true(self) -> bool {
        matches!(self, Self::Reconciling | Self::Stalled)
    }
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// `True`
    Yes,
    /// `False`
    No,
    /// `Unknown`
    Unknown,
}

impl Holds {
    /// As it stands in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "True",
            Self::No => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What a condition is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of what.
    pub kind: ConditionType,
    /// Whether it holds.
    pub holds: Holds,
    /// Why.
    pub reason: Reason,
    /// Why in full: which object, and what to do next.
    pub message: String,
}

impl Finding {
    /// A condition that is `True`.
    pub fn yes(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self::new(kind, Holds::Yes, reason, message)
    }

    /// A condition that is `False`.
    pub fn no(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self::new(kind, Holds::No, reason, message)
    }

    /// A condition that is `Unknown`.
    pub fn unknown(kind: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self::new(kind, Holds::Unknown, reason, message)
    }

    fn new(kind: ConditionType, holds: Holds, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            kind,
            holds,
            reason,
            message: message.into(),
        }
    }
}

/// The condition of that type, if there is one.
#[must_use]
pub fn get(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|one| one.type_ == kind.as_str())
}

/// Whether the condition of that type is there and `True`.
#[must_use]
pub fn holds(conditions: &[Condition], kind: ConditionType) -> bool {
    get(conditions, kind).is_some_and(|one| one.status == Holds::Yes.as_str())
}

/// Exactly the conditions for `findings`, in the order of [`ConditionType`], the last finding of a type counting.
///
/// A condition whose status is as in `current` keeps its time, so that equal findings give equal conditions; others
/// changed `now`. `Reconciling` and `Stalled` are left out unless true.
#[must_use]
pub fn merge(
    current: &[Condition],
    findings: &[Finding],
    generation: i64,
    now: &Time,
) -> Vec<Condition> {
    let of = |kind| findings.iter().rev().find(|one| one.kind == kind);
    ConditionType::ALL
        .into_iter()
        .filter_map(of)
        .filter(|one| one.holds == Holds::Yes || !one.kind.only_while_true())
        .map(|one| {
            let status = one.holds.as_str();
            let since = get(current, one.kind)
                .filter(|before| before.status == status)
                .map_or(now, |before| &before.last_transition_time);
            Condition {
                type_: one.kind.as_str().to_owned(),
                status: status.to_owned(),
                reason: one.reason.as_str().to_owned(),
                message: one.message.clone(),
                last_transition_time: since.clone(),
                observed_generation: Some(generation),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConditionType::{Ready, Reconciling, Stalled, StorageReady};

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn time_changes_only_with_the_status() {
        let working = Finding::unknown(Ready, Reason::Progressing, "starting");
        let first = merge(&[], std::slice::from_ref(&working), 1, &at(1));
        assert_eq!(merge(&first, &[working], 1, &at(2)), first);

        let slow = Finding::unknown(Ready, Reason::NoPodReady, "still starting");
        let second = merge(&first, &[slow], 2, &at(3));
        assert_eq!(second[0].last_transition_time, at(1));
        assert_eq!(second[0].reason, "NoPodReady");
        assert_eq!(second[0].observed_generation, Some(2));

        let done = Finding::yes(Ready, Reason::Succeeded, "");
        assert_eq!(
            merge(&second, &[done], 2, &at(4))[0].last_transition_time,
            at(4)
        );
    }

    #[test]
    fn some_are_there_only_while_true() {
        let no = |kind| Finding::no(kind, Reason::Progressing, "");
        let all = [
            no(StorageReady),
            no(Stalled),
            no(Reconciling),
            no(Ready),
            Finding::yes(Reconciling, Reason::Progressing, ""),
        ];
        let kinds = |conditions: &[Condition]| -> Vec<String> {
            conditions.iter().map(|one| one.type_.clone()).collect()
        };
        let merged = merge(&[], &all, 1, &at(1));
        assert_eq!(kinds(&merged), ["Ready", "Reconciling", "StorageReady"]);
        assert!(holds(&merged, Reconciling) && !holds(&merged, Ready));
        let merged = merge(&merged, &all[..4], 1, &at(2));
        assert_eq!(kinds(&merged), ["Ready", "StorageReady"]);
    }
}
