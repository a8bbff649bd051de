//! Durable Objects: their ids, and how they are addressed.
//!
//! The objects of a class are told apart by ids of 32 bytes. The first half is random or comes from a name; the second
//! comes from the first and the class, so that an id of one class is not taken for one of another.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::ids::WorkerKey;
use crate::migrations::Origin;

/// What the address of an object begins with. The path of a script in a bundle never begins with a slash.
const SCRIPT: &str = "/durable-objects/";

/// The key of the store's entry that has what an object's id comes from, beside the entries of its database.
pub const NAME_KEY: &str = "name";

/// What tells an object from the others of its class. Displays as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 32]);

/// Why a text is not the id of an object. Displays as Cloudflare's runtime has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// It is not 64 hexadecimal digits.
    #[error("Invalid Durable Object ID: must be 64 hex digits")]
    Malformed,
    /// It is not an id of this class.
    #[error("Durable Object ID is not valid for this namespace.")]
    OfAnotherClass,
}

impl ObjectId {
    /// The id that a name has in a class: always the same one.
    #[must_use]
    pub fn of_name(class: &Origin, name: &str) -> Self {
        Self::from_half(class, half(class, "name", name.as_bytes()))
    }

    /// A new id from random bytes, which nobody can guess.
    #[must_use]
    pub fn of_random(class: &Origin, random: [u8; 16]) -> Self {
        Self::from_half(class, random)
    }

    /// The id in a text.
    ///
    /// # Errors
    /// There is none, or it is not one of this class.
    pub fn parse(class: &Origin, text: &str) -> Result<Self, InvalidId> {
        let mut id = [0; 32];
        let (digits, rest) = text.as_bytes().as_chunks::<2>();
        if digits.len() != id.len() || !rest.is_empty() {
            return Err(InvalidId::Malformed);
        }
        for (byte, [high, low]) in id.iter_mut().zip(digits) {
            let digit = |c: u8| char::from(c).to_digit(16).ok_or(InvalidId::Malformed);
            *byte = (digit(*high)? << 4 | digit(*low)?).to_le_bytes()[0];
        }
        let (first, _) = id.split_first_chunk().ok_or(InvalidId::Malformed)?;
        if Self::from_half(class, *first).0 != id {
            return Err(InvalidId::OfAnotherClass);
        }
        Ok(Self(id))
    }

    /// Where the object is.
    #[must_use]
    pub fn address(&self, class: &Origin) -> WorkerKey {
        let script = format!("{SCRIPT}{}/{}", class.name, class.tag);
        WorkerKey::new(&script, &self.to_string()).expect("an id is shorter than the longest name")
    }

    fn from_half(class: &Origin, first: [u8; 16]) -> Self {
        let mut id = [0; 32];
        id[..16].copy_from_slice(&first);
        id[16..].copy_from_slice(&half(class, "id", &first));
        Self(id)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The class of the object that has this address, if an object has it.
#[must_use]
pub fn class_of(address: &WorkerKey) -> Option<Origin> {
    // A class's name has no slash, its migration's tag may.
    let (name, tag) = address.script().strip_prefix(SCRIPT)?.split_once('/')?;
    Some(Origin {
        tag: tag.to_owned(),
        name: name.to_owned(),
    })
}

/// 16 bytes of a hash of all of these, each with its length, so that no two lists of them are the same text.
fn half(class: &Origin, what: &str, content: &[u8]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in [
        what.as_bytes(),
        class.tag.as_bytes(),
        class.name.as_bytes(),
        content,
    ] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(tag: &str, name: &str) -> Origin {
        Origin {
            tag: tag.into(),
            name: name.into(),
        }
    }

    #[test]
    fn ids_are_of_one_class_and_come_back_from_their_text() {
        let (a, b) = (class("v1", "A"), class("v1", "B"));
        let id = ObjectId::of_name(&a, "lobby");
        assert_eq!(id, ObjectId::of_name(&a, "lobby"));
        assert_ne!(id, ObjectId::of_name(&a, "Lobby"));
        assert_ne!(id, ObjectId::of_name(&b, "lobby"));
        assert_ne!(id, ObjectId::of_name(&class("v2", "A"), "lobby"));
        let text = id.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(ObjectId::parse(&a, &text), Ok(id));
        assert_eq!(ObjectId::parse(&a, &text.to_uppercase()), Ok(id));
        assert_eq!(ObjectId::parse(&b, &text), Err(InvalidId::OfAnotherClass));
        let random = ObjectId::of_random(&a, [7; 16]);
        assert_eq!(ObjectId::parse(&a, &random.to_string()), Ok(random));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let class = class("v1", "A");
        let long = "0".repeat(66);
        let odd = "+1".repeat(32);
        let wide = "é".repeat(32);
        for text in ["", "12", &long, &long[..63], &odd, &wide] {
            assert_eq!(
                ObjectId::parse(&class, text),
                Err(InvalidId::Malformed),
                "{text}"
            );
        }
    }

    #[test]
    fn an_address_says_the_class() {
        let class = class("2026/01", "Counter");
        let address = ObjectId::of_name(&class, "a").address(&class);
        assert_eq!(class_of(&address), Some(class));
        let worker = WorkerKey::new("durable-objects/Counter/v1", "a").unwrap();
        assert_eq!(class_of(&worker), None);
    }
}
