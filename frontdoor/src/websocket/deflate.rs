//! Compression of messages (RFC 7692).
//!
//! No context is kept from message to message, in either direction: an idle socket costs no memory for it, and
//! each thread has one compressor for all its sockets.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use http::header::{self, HeaderMap};

use super::code;
use super::decode::Violation;
use crate::headers::tokens;

/// What we agree to. A server may demand both without being asked (sections 7.1.1.1 and 7.1.1.2).
pub(super) const RESPONSE: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Messages shorter than this gain nothing worth the time.
pub(super) const MIN_BYTES: usize = 1024;

/// The end of a flushed block, which is not sent (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Whether a client offers compression in a way we can accept.
pub(super) fn acceptable(headers: &HeaderMap) -> bool {
    tokens(headers, &header::SEC_WEBSOCKET_EXTENSIONS).any(is_acceptable)
}

fn is_acceptable(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate"))
    {
        return false;
    }
    let mut seen = Vec::new();
    parts.all(|parameter| {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        let first = !seen.contains(&name);
        seen.push(name);
        first
            && match (name, value) {
                ("server_no_context_takeover" | "client_no_context_takeover", None) => true,
                // Our compressor's window has 15 bits. A client that bears less only must do without.
                ("server_max_window_bits", Some("15")) => true,
                ("client_max_window_bits", None) => true,
                ("client_max_window_bits", Some(bits)) => {
                    matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
                }
                _ => false,
            }
    })
}

/// Compresses a message; `None` if that does not make it smaller.
pub(super) fn deflate(message: &[u8]) -> Option<Vec<u8>> {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        // What does not fit is not smaller.
        let mut output = Vec::with_capacity(message.len());
        compress
            .compress_vec(message, &mut output, FlushCompress::Sync)
            .ok()?;
        let complete = compress.total_in() == message.len() as u64 && output.ends_with(&TAIL);
        output.truncate(output.len().saturating_sub(TAIL.len()));
        complete.then_some(output)
    })
}

/// Decompresses a message of at most `limit` bytes.
pub(super) fn inflate(message: &[u8], limit: usize) -> Result<Bytes, Violation> {
    DECOMPRESS.with_borrow_mut(|decompress| {
        decompress.reset(false);
        let mut output = Vec::with_capacity(message.len().saturating_mul(3).clamp(512, 64 << 10));
        for part in [message, &TAIL[..]] {
            let mut rest = part;
            loop {
                if output.len() == output.capacity() {
                    output.reserve(output.len());
                }
                let before = (decompress.total_in(), output.len());
                let status = decompress
                    .decompress_vec(rest, &mut output, FlushDecompress::Sync)
                    .map_err(|_| INVALID)?;
                if output.len() > limit {
                    return Err(Violation::TOO_BIG);
                }
                let read = decompress.total_in() - before.0;
                rest = rest
                    .get(usize::try_from(read).map_err(|_| INVALID)?..)
                    .ok_or(INVALID)?;
                let full = output.len() == output.capacity();
                match status {
                    // A final block: nothing after it counts (section 7.2.3.4).
                    Status::StreamEnd => return Ok(output.into()),
                    _ if full => {}
                    _ if rest.is_empty() => break,
                    _ if read == 0 && output.len() == before.1 => return Err(INVALID),
                    _ => {}
                }
            }
        }
        Ok(output.into())
    })
}

const INVALID: Violation = Violation {
    code: code::INVALID_DATA,
    reason: "the message is not compressed correctly",
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offers_are_judged_as_lists() {
        for (offer, expected) in [
            ("permessage-deflate", true),
            ("permessage-deflate; client_max_window_bits", true),
            (
                "x-other, permessage-deflate;client_max_window_bits=\"10\"",
                true,
            ),
            (
                "permessage-deflate; server_max_window_bits=10, permessage-deflate",
                true,
            ),
            ("permessage-deflate; server_max_window_bits=15", true),
            ("permessage-deflate; server_max_window_bits=10", false),
            ("permessage-deflate; server_max_window_bits", false),
            ("permessage-deflate; client_max_window_bits=7", false),
            ("permessage-deflate; unknown", false),
            (
                "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
                false,
            ),
            ("permessage-bzip2", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap());
            assert_eq!(acceptable(&headers), expected, "{offer:?}");
        }
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 7692 section 7.2.3: one block, a block without compression, a final block, two blocks.
        for wire in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ] {
            assert_eq!(inflate(wire, 5).unwrap(), "Hello", "{wire:x?}");
            assert_eq!(inflate(wire, 4).unwrap_err().code, code::TOO_BIG);
        }
        assert_eq!(inflate(&[0], 0).unwrap(), "");
    }

    #[test]
    fn a_small_message_cannot_become_a_huge_one() {
        let bomb = deflate(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 1 << 20);
        assert_eq!(inflate(&bomb, 1 << 20).unwrap_err().code, code::TOO_BIG);
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(seed in proptest::collection::vec(any::<u8>(), 0..200), times in 1..400_usize) {
            let message = seed.repeat(times);
            if let Some(wire) = deflate(&message) {
                prop_assert!(wire.len() <= message.len());
                prop_assert_eq!(inflate(&wire, message.len()).unwrap(), message);
            } else {
                prop_assert!(message.len() < 2000 || times < 20);
            }
        }

        #[test]
        fn garbage_is_refused_or_read_but_never_more_than_allowed(wire in proptest::collection::vec(any::<u8>(), 0..500)) {
            if let Ok(message) = inflate(&wire, 1000) {
                prop_assert!(message.len() <= 1000);
            }
        }
    }
}
