//! What the API server does not let the operator watch.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Kinds, with the namespaces in which they may not be watched. Cloning gives another handle.
#[derive(Clone, Default)]
pub(crate) struct Unseen(Arc<Mutex<BTreeSet<(String, String)>>>);

impl Unseen {
    /// A kind that is not seen in this namespace, if there is one.
    pub(crate) fn within(&self, namespace: &str) -> Option<String> {
        let all = self.lock();
        let mut kinds = all.iter().filter(|(other, _)| other == namespace);
        kinds.next().map(|(_, kind)| kind.clone())
    }

    /// How many watches are refused.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// The kind is not seen there.
    pub(crate) fn add(&self, namespace: &str, kind: &str) {
        self.lock().insert((namespace.to_owned(), kind.to_owned()));
    }

    /// It is seen there again.
    pub(super) fn remove(&self, namespace: &str, kind: &str) {
        self.lock().remove(&(namespace.to_owned(), kind.to_owned()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
