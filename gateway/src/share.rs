//! What all classes share, so that those whose pods answer nothing leave room for the others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// For each part of a class so many are left to all others together: one class gets a quarter of everything, and when eight
/// have taken what they get, a ninth still gets a fortieth.
const LEFT_FOR_EACH: usize = 3;

/// Whether a class may have `own` when `left` are left then.
#[must_use]
pub fn is_fair(own: usize, left: usize) -> bool {
    own <= left / LEFT_FOR_EACH
}

/// Bytes for all classes together.
pub struct Room {
    left: Mutex<usize>,
}

/// What one class has of a room.
pub struct Share {
    room: Arc<Room>,
    /// Changed only while the room is locked.
    own: AtomicUsize,
}

/// Bytes of a share that something uses, until it is dropped.
pub struct Place {
    share: Arc<Share>,
    bytes: usize,
}

impl Room {
    /// Of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            left: Mutex::new(bytes),
        })
    }

    /// For one more class.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share {
            room: Arc::clone(self),
            own: AtomicUsize::new(0),
        })
    }

    /// Bytes that nobody uses.
    fn left(&self) -> MutexGuard<'_, usize> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// No bytes yet.
    #[must_use]
    pub fn new(share: &Arc<Share>) -> Self {
        Self {
            share: Arc::clone(share),
            bytes: 0,
        }
    }

    /// Takes more, if there is so much for this class; else it stays as it is.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let mut left = self.share.room.left();
        let own = self.share.own.load(Ordering::Relaxed) + bytes;
        let Some(left_then) = left.checked_sub(bytes).filter(|left| is_fair(own, *left)) else {
            return false;
        };
        *left = left_then;
        self.share.own.store(own, Ordering::Relaxed);
        self.bytes += bytes;
        true
    }

    /// Gives all back.
    pub fn clear(&mut self) {
        let mut left = self.share.room.left();
        *left += self.bytes;
        self.share.own.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
impl Room {
    /// Bytes that nobody uses.
    pub(crate) fn unused(&self) -> usize {
        *self.left()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_take_what_they_can_leave_room_to_others() {
        let room = Room::new(64_000);
        let mut places = Vec::new();
        let mut fill = || {
            let mut place = Place::new(&room.share());
            while place.grow(10) {}
            let bytes = place.bytes;
            places.push(place);
            bytes
        };
        assert_eq!(fill(), 16_000, "a quarter");
        for _ in 1..8 {
            fill();
        }
        assert!(fill() > 64_000 / 45, "for the ninth");
        drop(places);
        assert_eq!(room.unused(), 64_000);
    }

    #[test]
    fn what_is_too_long_takes_nothing() {
        let room = Room::new(100);
        let share = room.share();
        let (mut one, mut other) = (Place::new(&share), Place::new(&share));
        assert!(!one.grow(26) && !one.grow(101) && one.grow(0));
        assert!(one.grow(20) && other.grow(5) && !other.grow(1));
        assert_eq!(room.unused(), 75);
        one.clear();
        assert!(other.grow(20));
        drop((one, other));
        assert_eq!(room.unused(), 100);
    }
}
