//! Which pod owns what requests of a path use, as far as pods have said.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use portside_core::ids::PodId;

/// Paths that are remembered for a class: about a megabyte.
const MAX_PATHS: usize = 8192;

/// A path as it is remembered. Two may be taken for each other; then one of them finds its pod a little later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path(u64);

/// The owners by path. The path that was used least recently is forgotten first.
pub struct Affinity {
    hasher: RandomState,
    owners: HashMap<Path, Used>,
    /// Paths in the order of their last use.
    order: BTreeMap<u64, Path>,
    uses: u64,
    max: usize,
}

struct Used {
    owner: PodId,
    last: u64,
}

impl Default for Affinity {
    fn default() -> Self {
        Self::new(MAX_PATHS)
    }
}

impl Affinity {
    /// Remembers `max` paths, at least one.
    fn new(max: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            owners: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            max,
        }
    }

    /// Stands for a path.
    #[must_use]
    pub fn path(&self, path: &str) -> Path {
        Path(self.hasher.hash_one(path))
    }

    /// Who owned what the last request of the path used.
    pub fn owner(&mut self, path: Path) -> Option<PodId> {
        let used = self.owners.get_mut(&path)?;
        self.uses += 1;
        self.order.remove(&used.last);
        self.order.insert(self.uses, path);
        used.last = self.uses;
        Some(used.owner)
    }

    /// A request of the path has used what `owner` owns.
    pub fn learn(&mut self, path: Path, owner: PodId) {
        self.uses += 1;
        let last = self.uses;
        if let Some(before) = self.owners.insert(path, Used { owner, last }) {
            self.order.remove(&before.last);
        } else if self.owners.len() > self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.owners.remove(&oldest);
        }
        self.order.insert(last, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_that_was_used_least_recently_is_forgotten() {
        let mut affinity = Affinity::new(3);
        let [a, b, c, d] = ["/a", "/b", "/c", "/d"].map(|path| affinity.path(path));
        assert_eq!(affinity.path("/a"), a);
        for (path, owner) in [(a, 1), (b, 2), (c, 3)] {
            affinity.learn(path, PodId(owner));
        }
        affinity.learn(a, PodId(9));
        assert_eq!(affinity.owner(b), Some(PodId(2)));
        affinity.learn(d, PodId(4));
        let known = [a, b, c, d].map(|path| affinity.owner(path).map(|owner| owner.0));
        assert_eq!(known, [Some(9), Some(2), None, Some(4)]);
        assert_eq!((affinity.owners.len(), affinity.order.len()), (3, 3));
    }
}
