//! Numbers, text and bytes as records and frames are made of them.
//!
//! Numbers are LEB128; text and bytes come after their length. Whatever is read is checked against what is there before
//! anything is allocated for it.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use portside_worker::link::CloseReason;

/// Bytes that are no frame, or no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

pub(crate) type Result<T> = std::result::Result<T, Malformed>;

pub(crate) const SHORT: Malformed = Malformed("it ends too early");

/// Writes what [`Reader`] reads.
pub(crate) trait Write: BufMut {
    fn put_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            // The lowest seven bits, and that more follow.
            self.put_u8((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.put_u8(number as u8);
    }

    fn put_size(&mut self, size: usize) {
        self.put_number(size as u64);
    }

    fn put_text(&mut self, text: &str) {
        self.put_sized(text.as_bytes());
    }

    fn put_sized(&mut self, bytes: &[u8]) {
        self.put_size(bytes.len());
        self.put_slice(bytes);
    }

    fn put_flag(&mut self, flag: bool) {
        self.put_u8(flag.into());
    }

    fn put_reason(&mut self, reason: CloseReason) {
        self.put_u8(match reason {
            CloseReason::Closed => 0,
            CloseReason::Terminated => 1,
            CloseReason::Lost => 2,
        });
    }

    fn put_option<T>(&mut self, option: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.put_flag(option.is_some());
        if let Some(value) = option {
            put(self, value);
        }
    }
}

impl Write for BytesMut {}
impl Write for Vec<u8> {}

/// Reads from the front.
pub(crate) struct Reader(pub Bytes);

impl Reader {
    pub fn byte(&mut self) -> Result<u8> {
        self.0.try_get_u8().map_err(|_| SHORT)
    }

    pub fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // One text for each number, and none that 64 bits do not hold.
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed(
            "a number is too large, or longer than it must be",
        ))
    }

    pub fn size(&mut self) -> Result<usize> {
        usize::try_from(self.number()?).map_err(|_| Malformed("a size is too large"))
    }

    pub fn sized(&mut self) -> Result<Bytes> {
        let length = self.size()?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<Bytes> {
        (length <= self.0.len())
            .then(|| self.0.split_to(length))
            .ok_or(SHORT)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(N)?);
        Ok(array)
    }

    pub fn text(&mut self) -> Result<String> {
        let bytes = self.sized()?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Malformed("text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    pub fn name(&mut self) -> Result<Arc<str>> {
        Ok(self.text()?.into())
    }

    pub fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither set nor clear")),
        }
    }

    pub fn reason(&mut self) -> Result<CloseReason> {
        match self.byte()? {
            0 => Ok(CloseReason::Closed),
            1 => Ok(CloseReason::Terminated),
            2 => Ok(CloseReason::Lost),
            _ => Err(Malformed("an unknown reason for a close")),
        }
    }

    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        self.flag()?.then(|| read(self)).transpose()
    }

    /// How many of something follow, each of which takes at least a byte: so nobody makes room for more than is there.
    pub fn count(&mut self) -> Result<usize> {
        let count = self.size()?;
        (count <= self.0.len()).then_some(count).ok_or(SHORT)
    }

    /// All that is left.
    pub fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    /// Nothing is left.
    pub fn end(&self) -> Result<()> {
        let nothing_left = self.0.is_empty();
        nothing_left
            .then_some(())
            .ok_or(Malformed("it is longer than it should be"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(number: u64) {
            let mut written = BytesMut::new();
            written.put_number(number);
            let mut reader = Reader(written.freeze());
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn a_number_has_one_form_and_64_bits() {
        let read = |bytes: &'static [u8]| Reader(Bytes::from_static(bytes)).number();
        assert_eq!(read(&[0]), Ok(0));
        assert!(read(&[0x80, 0]).is_err(), "longer than it must be");
        assert!(read(&[0xff; 9]).is_err(), "it ends too early");
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(Reader(Bytes::copy_from_slice(&most)).number(), Ok(u64::MAX));
        most[9] = 2;
        assert!(Reader(Bytes::copy_from_slice(&most)).number().is_err());
    }

    #[test]
    fn a_length_that_is_a_lie_allocates_nothing() {
        let mut lie = BytesMut::new();
        lie.put_number(u64::MAX);
        let lie = lie.freeze();
        assert!(Reader(lie.clone()).sized().is_err());
        assert!(Reader(lie).count().is_err());
    }
}
