//! Compression of messages (RFC 7692).
//!
//! No context is kept from message to message, in either direction: an idle socket costs no memory for it, and
//! each thread has one compressor for all its sockets.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use http::header::{self, HeaderMap, HeaderValue};

use crate::code;
use crate::decode::Violation;
use crate::headers::tokens;

/// Messages shorter than this gain nothing worth the time.
pub(crate) const MIN_BYTES: usize = 1024;

/// The end of a flushed block, which is not sent (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The largest window of DEFLATE, and the one that is meant where nobody names another.
const MAX_WINDOW_BITS: u8 = 15;
/// The smallest window that zlib can compress with. An offer of 8 is declined, which section 7.1.2.1 allows.
const MIN_WINDOW_BITS: u8 = 9;
const WINDOWS: usize = (MAX_WINDOW_BITS - MIN_WINDOW_BITS + 1) as usize;

thread_local! {
    /// One for each size of the window, from the smallest, made when it is first needed: a quarter of a megabyte each. Not
    /// there while it is used: one that failed does not come back.
    static COMPRESS: RefCell<[Option<Compress>; WINDOWS]> = const { RefCell::new([const { None }; WINDOWS]) };
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// What a client offers: messages that stand alone, for that is all that is read here.
pub(crate) const OFFER: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The compression that two ends agreed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deflate {
    /// The window that the client asked a server to stay within, if it did.
    server_max_window_bits: Option<u8>,
}

impl Deflate {
    /// The first offer of a client that we can accept.
    pub(crate) fn negotiate(headers: &HeaderMap) -> Option<Self> {
        tokens(headers, &header::SEC_WEBSOCKET_EXTENSIONS).find_map(Self::accept)
    }

    fn accept(offer: &str) -> Option<Self> {
        let mut parts = offer.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
            return None;
        }
        let mut accepted = Self::default();
        for (name, value) in parameters(parts)? {
            match (name, value) {
                ("server_no_context_takeover" | "client_no_context_takeover", None)
                | ("client_max_window_bits", None) => {}
                ("client_max_window_bits", Some(bits)) => {
                    window_bits(bits)?;
                }
                ("server_max_window_bits", Some(bits)) => {
                    let bits = window_bits(bits).filter(|bits| *bits >= MIN_WINDOW_BITS)?;
                    accepted.server_max_window_bits = Some(bits);
                }
                _ => return None,
            }
        }
        Some(accepted)
    }

    /// What a server's answer to [`OFFER`] agrees to; `None` if it does not answer that.
    pub(crate) fn agreed(answer: &str) -> Option<Self> {
        let mut parts = answer.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
            return None;
        }
        let mut alone = false;
        for (name, value) in parameters(parts)? {
            match (name, value) {
                ("server_no_context_takeover", None) => alone = true,
                ("client_no_context_takeover", None) => {}
                // For the server to keep to: every window is read.
                ("server_max_window_bits", Some(bits)) => _ = window_bits(bits)?,
                _ => return None,
            }
        }
        alone.then(Self::default)
    }

    /// The answer to the offer. A server may demand both without being asked (sections 7.1.1.1 and 7.1.1.2).
    pub(crate) fn response(self) -> HeaderValue {
        let Some(bits) = self.server_max_window_bits else {
            return HeaderValue::from_static(OFFER);
        };
        HeaderValue::try_from(format!("{OFFER}; server_max_window_bits={bits}"))
            .expect("letters and digits are visible ASCII")
    }

    /// Compresses a message; `None` if that does not make it smaller.
    pub(crate) fn compress(self, message: &[u8]) -> Option<Vec<u8>> {
        let bits = self.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
        let slot = usize::from(bits - MIN_WINDOW_BITS);
        let known = COMPRESS.with_borrow_mut(|all| all[slot].take());
        let mut compress = known.unwrap_or_else(|| compressor(bits));
        compress.reset();
        let compressed = compress_whole(&mut compress, message)?;
        COMPRESS.with_borrow_mut(|all| all[slot] = Some(compress));
        (compressed.len() < message.len()).then_some(compressed)
    }
}

/// The parameters of an extension, with their values; `None` if one comes twice.
fn parameters<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Vec<(&'a str, Option<&'a str>)>> {
    let mut parameters: Vec<(&str, Option<&str>)> = Vec::new();
    for parameter in parts {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        if parameters.iter().any(|(seen, _)| *seen == name) {
            return None;
        }
        parameters.push((name, value));
    }
    Some(parameters)
}

/// A window's size, as RFC 7692 section 7.1.2 writes it.
fn window_bits(text: &str) -> Option<u8> {
    let digits = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    let bits = text.parse().ok().filter(|_| digits)?;
    (8..=MAX_WINDOW_BITS).contains(&bits).then_some(bits)
}

fn compressor(window_bits: u8) -> Compress {
    Compress::new_with_window_bits(Compression::fast(), false, window_bits)
}

/// Compresses a message; `None` if the compressor kept some of it, and must not be used again.
fn compress_whole(compress: &mut Compress, message: &[u8]) -> Option<Vec<u8>> {
    // Room for the worst case: a compressor without room keeps output, and zlib-rs 0.6.8 forgets only a part of that when
    // it is reset, so that a later message panics in it.
    let mut output = Vec::with_capacity(worst_case(message.len()));
    compress
        .compress_vec(message, &mut output, FlushCompress::Sync)
        .ok()?;
    if compress.total_in() != message.len() as u64 || !output.ends_with(&TAIL) {
        return None;
    }
    output.truncate(output.len() - TAIL.len());
    Some(output)
}

/// The most bytes that a message can become: 9 bits for each byte, and the ends of blocks.
const fn worst_case(len: usize) -> usize {
    len + len / 8 + 64
}

/// Decompresses a message of at most `limit` bytes.
pub(crate) fn inflate(message: &[u8], limit: usize) -> Result<Bytes, Violation> {
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
        const ACCEPTED: &str =
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for (offer, bits) in [
            ("permessage-deflate", Some("")),
            ("permessage-deflate; client_max_window_bits", Some("")),
            (
                "x-other, permessage-deflate;client_max_window_bits=\"10\"",
                Some(""),
            ),
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate",
                Some(""),
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                Some("; server_max_window_bits=15"),
            ),
            (
                "permessage-deflate; server_max_window_bits=9, permessage-deflate",
                Some("; server_max_window_bits=9"),
            ),
            ("permessage-deflate; server_max_window_bits=8", None),
            ("permessage-deflate; server_max_window_bits=16", None),
            ("permessage-deflate; server_max_window_bits=010", None),
            ("permessage-deflate; server_max_window_bits=+9", None),
            ("permessage-deflate; server_max_window_bits", None),
            ("permessage-deflate; client_max_window_bits=7", None),
            ("permessage-deflate; unknown", None),
            (
                "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
                None,
            ),
            ("permessage-bzip2", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, offer.parse().unwrap());
            let response = Deflate::negotiate(&headers).map(Deflate::response);
            let expected = bits.map(|bits| [ACCEPTED, bits].concat());
            assert_eq!(
                response.as_ref().map(HeaderValue::as_bytes),
                expected.as_ref().map(String::as_bytes),
                "{offer:?}"
            );
        }
    }

    #[test]
    fn answers_are_judged_by_what_was_offered() {
        const ALONE: &str = "permessage-deflate; server_no_context_takeover";
        for (answer, agreed) in [
            (ALONE.to_owned(), true),
            (OFFER.to_owned(), true),
            (format!("{ALONE}; server_max_window_bits=8"), true),
            (format!("{ALONE}; server_max_window_bits=\"15\""), true),
            (format!("{ALONE}; server_max_window_bits=16"), false),
            (format!("{ALONE}; server_max_window_bits"), false),
            (format!("{ALONE}; client_max_window_bits=15"), false),
            (format!("{ALONE}; server_no_context_takeover"), false),
            (format!("{ALONE}; client_no_context_takeover=1"), false),
            (format!("{ALONE}; unknown"), false),
            ("permessage-deflate".to_owned(), false),
            ("permessage-bzip2".to_owned(), false),
        ] {
            assert_eq!(Deflate::agreed(&answer).is_some(), agreed, "{answer}");
        }
    }

    #[test]
    fn messages_that_compress_badly_leave_the_compressor_as_it_was() {
        let mut random = Random(1);
        for bits in [None, Some(9), Some(12), Some(15)] {
            let deflate = Deflate {
                server_max_window_bits: bits,
            };
            for round in 0..400 {
                let len = 1024 + random.below(1 << (10 + round % 7));
                let message = match round % 3 {
                    0 => random.bytes(len, 256),
                    // Literals of nine bits only: larger than the message by an eighth.
                    1 => random
                        .bytes(len, 112)
                        .iter()
                        .map(|byte| byte + 144)
                        .collect(),
                    _ => random
                        .bytes(len, 64)
                        .iter()
                        .map(|byte| byte + 32)
                        .collect::<Vec<u8>>(),
                };
                let bits = bits.unwrap_or(MAX_WINDOW_BITS);
                let mut compress = compressor(bits);
                let whole = compress_whole(&mut compress, &message).expect("there is room");
                assert!(whole.len() <= worst_case(message.len()));
                if let Some(wire) = deflate.compress(&message) {
                    assert!(wire.len() < message.len());
                    assert_eq!(
                        inflate(&wire, message.len()).unwrap(),
                        message,
                        "round {round}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_is_taken_from_outside_of_the_window() {
        let mut random = Random(1);
        for distance in [300, 1000, 5000, 20_000] {
            // Noise that comes again: whoever makes that smaller has looked back so far.
            let message = random.bytes(distance, 256).repeat(60_000 / distance);
            for bits in MIN_WINDOW_BITS..=MAX_WINDOW_BITS {
                let deflate = Deflate {
                    server_max_window_bits: Some(bits),
                };
                let window = 1 << bits;
                let wire = deflate.compress(&message);
                assert!(wire.is_none() || distance < window, "{distance} in {bits}");
                assert!(
                    wire.is_some() || distance + 300 > window,
                    "{distance} in {bits}"
                );
                if let Some(wire) = wire {
                    assert_eq!(inflate(&wire, message.len()).unwrap(), message);
                }
            }
        }
    }

    /// Xorshift: the same bytes in every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, limit: usize) -> usize {
            (self.next() >> 20) as usize % limit
        }

        fn bytes(&mut self, len: usize, values: usize) -> Vec<u8> {
            (0..len).map(|_| self.below(values) as u8).collect()
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
        let bomb = Deflate::default().compress(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 1 << 20);
        assert_eq!(inflate(&bomb, 1 << 20).unwrap_err().code, code::TOO_BIG);
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(seed in proptest::collection::vec(any::<u8>(), 0..200), times in 1..400_usize) {
            let message = seed.repeat(times);
            if let Some(wire) = Deflate::default().compress(&message) {
                prop_assert!(wire.len() < message.len());
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
