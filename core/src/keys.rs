//! Storage keys and the ranges that `storage.list` asks for.

use std::ops::Bound;

use crate::limits::{MAX_KEY_BYTES, MAX_KEYS_PER_CALL, MAX_VALUE_BYTES};

/// Why a storage call was refused. The messages reach the developer unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Longer than [`MAX_KEY_BYTES`].
    #[error("a storage key may have at most {MAX_KEY_BYTES} bytes of UTF-8, this one has {0}")]
    KeyTooLong(usize),
    /// Longer than [`MAX_VALUE_BYTES`] once serialized.
    #[error(
        "a stored value may have at most {MAX_VALUE_BYTES} bytes when serialized, this one has {0}"
    )]
    ValueTooLarge(usize),
    /// More than [`MAX_KEYS_PER_CALL`].
    #[error("a storage call may name at most {MAX_KEYS_PER_CALL} keys, this one names {0}")]
    TooManyKeys(usize),
}

/// Checks a key's length.
///
/// # Errors
/// [`Refused::KeyTooLong`].
pub fn check_key(key: &str) -> Result<(), Refused> {
    if key.len() > MAX_KEY_BYTES {
        Err(Refused::KeyTooLong(key.len()))
    } else {
        Ok(())
    }
}

/// Checks a serialized value's length.
///
/// # Errors
/// [`Refused::ValueTooLarge`].
pub fn check_value(bytes: usize) -> Result<(), Refused> {
    if bytes > MAX_VALUE_BYTES {
        Err(Refused::ValueTooLarge(bytes))
    } else {
        Ok(())
    }
}

/// Checks how many keys one call names.
///
/// # Errors
/// [`Refused::TooManyKeys`].
pub fn check_count(keys: usize) -> Result<(), Refused> {
    if keys > MAX_KEYS_PER_CALL {
        Err(Refused::TooManyKeys(keys))
    } else {
        Ok(())
    }
}

/// Which keys a `storage.list` wants, in UTF-8 byte order.
///
/// `start` is inclusive, `start_after` exclusive, `end` exclusive, as the options of Durable Objects have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// Only keys that begin with this.
    pub prefix: Option<String>,
    /// Only keys at or after this.
    pub start: Option<String>,
    /// Only keys after this.
    pub start_after: Option<String>,
    /// Only keys before this.
    pub end: Option<String>,
    /// From the last key to the first.
    pub reverse: bool,
    /// At most this many.
    pub limit: Option<usize>,
    /// The entry with which keys and values reach this many bytes is the last one.
    pub max_bytes: Option<usize>,
}

impl KeyRange {
    /// Whether a key is wanted, `limit` and `max_bytes` aside.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.prefix
            .as_deref()
            .is_none_or(|prefix| key.starts_with(prefix))
            && self.start.as_deref().is_none_or(|start| key >= start)
            && self.start_after.as_deref().is_none_or(|after| key > after)
            && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// The narrowest bounds that hold every wanted key; `prefix` is met by the lower bound and the caller's `contains`.
    #[must_use]
    pub fn bounds(&self) -> (Bound<&str>, Bound<&str>) {
        let mut lower = Bound::Unbounded;
        for start in [self.prefix.as_deref(), self.start.as_deref()]
            .into_iter()
            .flatten()
        {
            lower = match lower {
                Bound::Included(other) if other >= start => lower,
                _ => Bound::Included(start),
            };
        }
        if let Some(after) = self.start_after.as_deref() {
            lower = match lower {
                Bound::Included(other) if other > after => lower,
                _ => Bound::Excluded(after),
            };
        }
        (
            lower,
            self.end
                .as_deref()
                .map_or(Bound::Unbounded, Bound::Excluded),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(prefix: &str, start: &str, after: &str, end: &str) -> KeyRange {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        KeyRange {
            prefix: some(prefix),
            start: some(start),
            start_after: some(after),
            end: some(end),
            ..KeyRange::default()
        }
    }

    #[test]
    fn bounds_hold_every_contained_key() {
        let keys = ["", "a", "ab", "abc", "b", "ba", "c", "é", "𝄞"];
        for prefix in ["", "a", "b"] {
            for start in ["", "a", "ab", "c"] {
                for after in ["", "a", "ab", "b"] {
                    for end in ["", "ab", "c", "é"] {
                        let range = range(prefix, start, after, end);
                        for key in keys.iter().filter(|key| range.contains(key)) {
                            assert!(
                                std::ops::RangeBounds::contains(&range.bounds(), *key),
                                "{key} of {range:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn limits_refuse_one_past_the_end() {
        assert!(check_key(&"k".repeat(MAX_KEY_BYTES)).is_ok());
        assert!(check_key(&"k".repeat(MAX_KEY_BYTES + 1)).is_err());
        assert!(check_value(MAX_VALUE_BYTES).is_ok());
        assert!(check_value(MAX_VALUE_BYTES + 1).is_err());
        assert!(check_count(MAX_KEYS_PER_CALL).is_ok());
        assert!(check_count(MAX_KEYS_PER_CALL + 1).is_err());
    }
}
