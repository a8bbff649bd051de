//! Of which classes somebody wants to know what happens, and since when that is known.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::object::Class;

/// For how long what happens is followed for nobody.
const LINGER: Duration = Duration::from_secs(5 * 60);

/// Some classes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Those of this namespace; of all if there is none.
    pub namespace: Option<String>,
    /// The one of this name; any if there is none.
    pub class: Option<String>,
}

impl Scope {
    /// Whether the class is one of them.
    #[must_use]
    pub fn has(&self, class: &Class) -> bool {
        let is =
            |wanted: &Option<String>, it: &str| wanted.as_ref().is_none_or(|wanted| wanted == it);
        is(&self.namespace, &class.namespace) && is(&self.class, &class.name)
    }

    /// Whether all of the other's classes are among them.
    fn covers(&self, other: &Self) -> bool {
        let is = |mine: &Option<String>, theirs: &Option<String>| mine.is_none() || mine == theirs;
        is(&self.namespace, &other.namespace) && is(&self.class, &other.class)
    }
}

#[derive(Debug)]
struct Interest {
    /// The number after which everything is known.
    since: u64,
    last: Instant,
    /// How many lists and watches go on.
    held: usize,
}

/// Who wants to know.
#[derive(Debug, Default)]
pub(super) struct Interests(HashMap<Scope, Interest>);

impl Interests {
    /// The number after which everything is known of a scope; nothing if it is not followed.
    pub(super) fn since(&self, scope: &Scope) -> Option<u64> {
        let covering = self.0.iter().filter(|(other, _)| other.covers(scope));
        covering.map(|(_, it)| it.since).min()
    }

    /// Somebody wants to know now. `begin` gives the number if nobody did before.
    pub(super) fn mark(&mut self, scope: &Scope, begin: impl FnOnce() -> u64) {
        let since = self.since(scope).unwrap_or_else(begin);
        let last = Instant::now();
        let interest = Interest {
            since,
            last,
            held: 0,
        };
        let known = self.0.entry(scope.clone()).or_insert(interest);
        known.last = last;
    }

    /// Somebody who wanted to know goes on to, however long they take.
    pub(super) fn hold(&mut self, scope: &Scope) {
        if let Some(interest) = self.0.get_mut(scope) {
            interest.held += 1;
        }
    }

    /// One of those does not any more.
    pub(super) fn release(&mut self, scope: &Scope) {
        if let Some(interest) = self.0.get_mut(scope) {
            interest.held = interest.held.saturating_sub(1);
            interest.last = Instant::now();
        }
    }

    /// Forgets what nobody has wanted for long.
    pub(super) fn lapse(&mut self) {
        self.0
            .retain(|_, it| it.held > 0 || it.last.elapsed() < LINGER);
    }

    /// Whether anybody wants to know of a class.
    pub(super) fn have(&self, class: &Class) -> bool {
        self.0.keys().any(|scope| scope.has(class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn scope(namespace: Option<&str>, class: Option<&str>) -> Scope {
        Scope {
            namespace: namespace.map(str::to_owned),
            class: class.map(str::to_owned),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_wider_scope_knows_a_narrow_one_knows() {
        let mut interests = Interests::default();
        let (all, ns) = (scope(None, None), scope(Some("ns"), None));
        let shop = scope(Some("ns"), Some("shop"));
        interests.mark(&shop, || 7);
        assert_eq!(interests.since(&shop), Some(7));
        assert_eq!(interests.since(&ns), None);
        interests.mark(&ns, || 9);
        assert_eq!(interests.since(&shop), Some(7));
        assert_eq!(interests.since(&ns), Some(9));
        assert_eq!(interests.since(&all), None);
        assert!(interests.have(&sample::class()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_wants_is_forgotten() {
        let mut interests = Interests::default();
        let ns = scope(Some("ns"), None);
        interests.mark(&ns, || 1);
        tokio::time::advance(LINGER / 2).await;
        interests.mark(&ns, || 2);
        tokio::time::advance(LINGER / 2).await;
        interests.lapse();
        assert_eq!(interests.since(&ns), Some(1));
        tokio::time::advance(LINGER / 2).await;
        interests.lapse();
        assert_eq!(interests.since(&ns), None);
        interests.mark(&ns, || 3);
        assert_eq!(interests.since(&ns), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_is_wanted() {
        let mut interests = Interests::default();
        let ns = scope(Some("ns"), None);
        interests.mark(&ns, || 1);
        for _ in 0..2 {
            interests.hold(&ns);
        }
        for _ in 0..2 {
            tokio::time::advance(LINGER * 2).await;
            interests.lapse();
            assert_eq!(interests.since(&ns), Some(1));
            interests.release(&ns);
        }
        interests.lapse();
        assert_eq!(interests.since(&ns), Some(1));
        tokio::time::advance(LINGER).await;
        interests.lapse();
        assert_eq!(interests.since(&ns), None);
    }
}
