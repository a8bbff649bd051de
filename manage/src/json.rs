//! JavaScript's values as JSON, for people and programs that look at them from outside; without V8.
//!
//! What JSON has is itself. What it lacks is an object with one key that begins with `$`:
//!
//! | JavaScript | JSON |
//! |---|---|
//! | `undefined` | `{"$undefined": true}` |
//! | `NaN`, `Infinity`, `-Infinity`, `-0` | `{"$number": "NaN"}` |
//! | `12n` | `{"$bigint": "12"}` |
//! | `new Date(0)` | `{"$date": "1970-01-01T00:00:00Z"}`; or milliseconds, for years beyond 9999; or `null`, for an invalid one |
//! | `new Map([[1, 2]])` | `{"$map": [[1, 2]]}` |
//! | `new Set([1])` | `{"$set": [1]}` |
//! | `/a/g` | `{"$regexp": "a", "flags": "g"}` |
//! | `new Uint8Array([0])`, an `ArrayBuffer`, a `DataView` | `{"$bytes": "AA==", "type": "Uint8Array"}` |
//! | `new TypeError("no")` | `{"$error": "no", "name": "TypeError"}` |
//! | a hole of an array | `{"$hole": true}` |
//! | an object that has itself in it, where it comes again | `{"$again": true}`, which cannot be put |
//! | an array with more than 1 000 holes | `{"$array": {"7": 1}, "length": 5000}`, which cannot be put |
//! | an object with such a key, `{$map: 1}` | `{"$object": {"$map": 1}}` |
//!
//! Boxed primitives are shown as what is in them; what else an array has beside its elements is left out.

mod read;
mod write;

pub use read::{number, to_json};
pub use write::from_json;

/// Why a value cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be shown as JSON: {0}")]
pub struct Unreadable(String);

/// Why JSON is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no value: {0}")]
pub struct Invalid(String);

/// How deep values may be nested, as of whoever reads and writes what is stored.
const DEEPEST: usize = 256;

#[cfg(test)]
mod tests;
