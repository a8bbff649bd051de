//! That somebody goes on to want to know.

use std::sync::Arc;

use super::{Follows, Scope};

/// As long as there is this, what happens in a scope is followed.
pub struct Held {
    follows: Arc<Follows>,
    scope: Scope,
}

impl Follows {
    /// Follows a scope for as long as what is returned is kept, and for some minutes afterwards.
    #[must_use]
    pub fn hold(self: &Arc<Self>, scope: &Scope) -> Held {
        self.mark(scope);
        self.lock().interests.hold(scope);
        Held {
            follows: Arc::clone(self),
            scope: scope.clone(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.follows.lock().interests.release(&self.scope);
    }
}
