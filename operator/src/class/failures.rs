//! Which classes could not be looked after at their last tries, and what is said of that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use portside_crds::routes::ClassKey;

use super::error_kind;
use crate::api;

/// Per class, until a look at it succeeds.
#[derive(Default)]
pub(crate) struct Failures(Mutex<HashMap<ClassKey, Failure>>);

#[derive(Default)]
struct Failure {
    count: u32,
    told: Option<Told>,
}

/// What is said of an error.
struct Told {
    what: String,
    kind: &'static str,
    text: String,
}

impl Failures {
    /// Forgets a class that is gone, or all is well with.
    pub(crate) fn forget(&self, key: &ClassKey) {
        self.lock().remove(key);
    }

    /// Counts one. Gives how many there were before.
    pub(crate) fn count(&self, key: &ClassKey) -> u32 {
        let mut all = self.lock();
        let failure = all.entry(key.clone()).or_default();
        failure.count = failure.count.saturating_add(1);
        failure.count - 1
    }

    /// What is to be said of an error that came with `what`; nothing the first time, as most are over a second later.
    ///
    /// The next ones of its kind are told in the words of the first. Those of others often differ, by a port say; that would be a
    /// new status each time, and each has the class looked at at once.
    pub(crate) fn to_tell(
        &self,
        key: &ClassKey,
        what: &str,
        error: &kube::Error,
    ) -> Option<String> {
        let mut all = self.lock();
        let failure = all.get_mut(key)?;
        let kind = error_kind(error);
        let told = failure.told.take();
        let told = told.filter(|told| told.what == what && told.kind == kind);
        let told = told.unwrap_or_else(|| Told {
            what: what.to_owned(),
            kind,
            text: format!("{what}: {}; it is tried again", api::text(error)),
        });
        Some(failure.told.insert(told).text.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClassKey, Failure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::testkit::refusal as error;

    #[test]
    fn what_fails_twice_is_told_in_the_same_words_until_it_is_another() {
        let failures = Failures::default();
        let key = ClassKey {
            namespace: "team-a".to_owned(),
            name: "chat".to_owned(),
        };
        let tell = |what: &str, code, text: &str| failures.to_tell(&key, what, &error(code, text));
        let told = |text: &str| Some(format!("{text}; it is tried again"));
        assert_eq!(tell("Service chat", 500, "port 1"), None);
        assert_eq!(failures.count(&key), 0);
        assert_eq!(
            tell("Service chat", 500, "port 2."),
            told("Service chat: port 2")
        );
        assert_eq!(failures.count(&key), 1);
        assert_eq!(
            tell("Service chat", 503, "port 3"),
            told("Service chat: port 2")
        );
        assert_eq!(tell("Ingress chat", 503, "no"), told("Ingress chat: no"));
        assert_eq!(
            tell("Ingress chat", 429, "slowly"),
            told("Ingress chat: slowly")
        );
        failures.forget(&key);
        assert_eq!(tell("Ingress chat", 429, "slowly"), None);
    }
}
