//! What of a hibernatable WebSocket is kept by whoever holds its client, so that it outlives the process that has the object.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use portside_core::ids::WorkerKey;
use portside_exchange::envelope::MAX_STATE_BYTES;

use super::AutoResponse;

/// The only form that there is yet.
const VERSION: u8 = 1;

/// A socket as it comes to the next process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whose it is.
    pub address: WorkerKey,
    /// Tells it from all others, wherever it is.
    pub token: u128,
    /// What the object's id comes from, if that is known.
    pub name: Option<Arc<str>>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its attachment.
    pub attachment: Option<Vec<u8>>,
    /// When an automatic response was last sent, in milliseconds since the Unix epoch.
    pub answered_at: Option<i64>,
    /// The object's automatic response.
    pub auto_response: Option<AutoResponse>,
    /// How long the handling of an event may keep the object.
    pub event_timeout: Option<Duration>,
}

impl Kept {
    /// As bytes. Nothing if there are more of them than are kept: the socket ends with its process then.
    #[must_use]
    pub fn encode(&self) -> Option<Bytes> {
        let mut out = vec![VERSION];
        put(&mut out, self.address.script().as_bytes());
        put(&mut out, self.address.name().as_bytes());
        out.put_u128(self.token);
        put_option(&mut out, self.name.as_ref(), |out, name| {
            put(out, name.as_bytes());
        });
        out.put_u32(u32::try_from(self.tags.len()).ok()?);
        for tag in &self.tags {
            put(&mut out, tag.as_bytes());
        }
        put_option(&mut out, self.attachment.as_ref(), |out, it| put(out, it));
        put_option(&mut out, self.answered_at, |out, at| out.put_i64(at));
        put_option(&mut out, self.auto_response.as_ref(), |out, known| {
            put(out, &known.request);
            put(out, &known.response);
        });
        put_option(&mut out, self.event_timeout, |out, timeout| {
            out.put_u64(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        });
        (out.len() <= MAX_STATE_BYTES).then(|| out.into())
    }

    /// Reads the bytes, all of them. Nothing if they are not what was written.
    #[must_use]
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        let from = &mut bytes;
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let (script, name) = (text(from)?, text(from)?);
        let kept = Self {
            address: WorkerKey::new(&script, &name).ok()?,
            token: from.try_get_u128().ok()?,
            name: option(from, text)?.map(Into::into),
            tags: {
                let count = from.try_get_u32().ok()?;
                (0..count).map(|_| text(from)).collect::<Option<_>>()?
            },
            attachment: option(from, |from| Some(sized(from)?.to_vec()))?,
            answered_at: option(from, |from| from.try_get_i64().ok())?,
            auto_response: option(from, |from| {
                Some(AutoResponse {
                    request: text(from)?.into(),
                    response: text(from)?.into(),
                })
            })?,
            event_timeout: option(from, |from| from.try_get_u64().ok())?.map(Duration::from_millis),
        };
        from.is_empty().then_some(kept)
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // What is longer does not fit anyway, and is refused as a whole.
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.put_u8(value.is_some().into());
    if let Some(value) = value {
        put(out, value);
    }
}

fn option<T>(from: &mut Bytes, read: impl FnOnce(&mut Bytes) -> Option<T>) -> Option<Option<T>> {
    match from.try_get_u8().ok()? {
        0 => Some(None),
        1 => Some(Some(read(from)?)),
        _ => None,
    }
}

fn sized(from: &mut Bytes) -> Option<Bytes> {
    let size = usize::try_from(from.try_get_u32().ok()?).ok()?;
    (size <= from.len()).then(|| from.split_to(size))
}

fn text(from: &mut Bytes) -> Option<String> {
    String::from_utf8(sized(from)?.into()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept() -> impl Strategy<Value = Kept> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..50);
        let auto_response = (".{0,9}", ".{0,9}").prop_map(|(request, response)| AutoResponse {
            request: request.into(),
            response: response.into(),
        });
        (
            any::<u128>(),
            proptest::option::of(".{0,20}".prop_map(Into::into)),
            proptest::collection::vec(".{0,9}", 0..4),
            proptest::option::of(bytes),
            proptest::option::of(any::<i64>()),
            proptest::option::of(auto_response),
            proptest::option::of(any::<u64>().prop_map(Duration::from_millis)),
        )
            .prop_map(
                |(token, name, tags, attachment, answered_at, auto_response, event_timeout)| Kept {
                    address: WorkerKey::new("w.js", "a").unwrap(),
                    token,
                    name,
                    tags,
                    attachment,
                    answered_at,
                    auto_response,
                    event_timeout,
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back(kept in kept()) {
            prop_assert_eq!(Kept::decode(kept.encode().unwrap()), Some(kept));
        }

        #[test]
        fn what_is_cut_off_or_too_long_is_nothing(kept in kept(), at in any::<prop::sample::Index>()) {
            let bytes = kept.encode().unwrap();
            prop_assert_eq!(Kept::decode(bytes.slice(..at.index(bytes.len()))), None);
            let longer = [&bytes[..], &[0]].concat();
            prop_assert_eq!(Kept::decode(longer.into()), None);
        }

        /// Whatever comes, reading it ends, and takes no more memory than there are bytes.
        #[test]
        fn lies_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Kept::decode([&[VERSION][..], &bytes].concat().into());
        }
    }

    #[test]
    fn what_is_more_than_is_kept_is_not() {
        let kept = Kept {
            address: WorkerKey::new("w.js", "a").unwrap(),
            token: 1,
            name: None,
            tags: vec![],
            attachment: Some(vec![0; MAX_STATE_BYTES]),
            answered_at: None,
            auto_response: None,
            event_timeout: None,
        };
        assert_eq!(kept.encode(), None);
    }
}
