//! Ranges as the stores know them: two keys in byte order.

use std::ops::Bound;

use portside_core::keys::KeyRange;

/// The bytes `from` (inclusive) to `to` (exclusive) that hold exactly the keys of a range.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
}

/// Above every key: no byte of UTF-8 is 0xff. For the same reason `prefix` + 0xff is above all keys with that prefix.
const ABOVE: u8 = 0xff;

impl From<&KeyRange> for ByteRange {
    fn from(range: &KeyRange) -> Self {
        let (lower, upper) = range.bounds();
        let from = match lower {
            Bound::Unbounded => vec![],
            Bound::Included(key) => key.into(),
            // The next key in byte order.
            Bound::Excluded(key) => [key.as_bytes(), &[0]].concat(),
        };
        let prefixed = [range.prefix.as_deref().unwrap_or("").as_bytes(), &[ABOVE]].concat();
        let to = match upper {
            Bound::Unbounded => prefixed,
            Bound::Included(key) => prefixed.min([key.as_bytes(), &[0]].concat()),
            Bound::Excluded(key) => prefixed.min(key.into()),
        };
        Self { from, to }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_exactly_the_wanted_keys(
            key in "[a-b\u{0}é𝄞\u{10ffff}]{0,4}",
            prefix in proptest::option::of("[a-b\u{0}é\u{10ffff}]{0,2}"),
            start in proptest::option::of("[a-b\u{0}é𝄞]{0,3}"),
            start_after in proptest::option::of("[a-b\u{0}é𝄞]{0,3}"),
            end in proptest::option::of("[a-b\u{0}é𝄞]{0,3}"),
        ) {
            let range = KeyRange { prefix, start, start_after, end, ..KeyRange::default() };
            let ByteRange { from, to } = ByteRange::from(&range);
            let within = key.as_bytes() >= &from[..] && key.as_bytes() < &to[..];
            prop_assert_eq!(within, range.contains(&key));
        }
    }
}
