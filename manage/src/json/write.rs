//! From JSON to a structured clone: the format of V8's `ValueSerializer`, version 15, which V8 goes on to read
//! (<https://github.com/v8/v8/blob/main/src/objects/value-serializer.cc>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use num_bigint::{BigInt, Sign};
use serde_json::{Map, Value as Json};

use super::{DEEPEST, Invalid};

const HEADER: [u8; 2] = [0xff, 15];

/// The structured clone, as V8 serializes it, of a value that is given as JSON, in the form that this module's documentation gives.
///
/// # Errors
/// [`Invalid`], with what is wrong: an object with a key that begins with `$` and is none of those, or not as it has to be.
pub fn from_json(json: &Json) -> Result<Vec<u8>, Invalid> {
    let mut writer = Writer(HEADER.to_vec());
    writer.value(json, 0)?;
    Ok(writer.0)
}

struct Writer(Vec<u8>);

impl Writer {
    fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    /// Seven bits at a time, the lowest first.
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn double(&mut self, number: f64) {
        self.0.extend(number.to_le_bytes());
    }

    /// In UTF-16 if it has more than Latin-1: then from an even place on, as whoever reads it wants.
    fn string(&mut self, text: &str) {
        let is_latin = text.chars().all(|it| u32::from(it) < 0x100);
        if is_latin {
            self.tag(b'"');
            self.varint(text.chars().count() as u64);
            self.0.extend(text.chars().map(|it| it as u8));
            return;
        }
        let units: Vec<u16> = text.encode_utf16().collect();
        let length = units.len() as u64 * 2;
        let mut varint = Self(Vec::new());
        varint.varint(length);
        if !(self.0.len() + 1 + varint.0.len()).is_multiple_of(2) {
            self.tag(0);
        }
        self.tag(b'c');
        self.varint(length);
        self.0
            .extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    }

    fn value(&mut self, json: &Json, depth: usize) -> Result<(), Invalid> {
        if depth >= DEEPEST {
            return Err(Invalid(format!(
                "it is nested deeper than {DEEPEST} levels"
            )));
        }
        match json {
            Json::Null => self.tag(b'0'),
            Json::Bool(true) => self.tag(b'T'),
            Json::Bool(false) => self.tag(b'F'),
            Json::Number(it) => self.number(it),
            Json::String(it) => self.string(it),
            Json::Array(elements) => self.array(elements, depth)?,
            Json::Object(object) => match object.keys().find(|key| key.starts_with('$')) {
                Some(key) => self.special(key, object, depth)?,
                None => self.object(object, depth)?,
            },
        }
        Ok(())
    }

    /// As V8 does, integers of 31 bits as such; -0 is none.
    fn number(&mut self, number: &serde_json::Number) {
        const SMALL: std::ops::Range<i64> = -(1 << 30)..1 << 30;
        let is_integer = |it: i64| it != 0 || !number.to_string().starts_with('-');
        match number.as_i64() {
            Some(small) if SMALL.contains(&small) && is_integer(small) => {
                self.tag(b'I');
                self.varint(((small << 1) ^ (small >> 63)).cast_unsigned());
            }
            _ => {
                self.tag(b'N');
                self.double(double(number));
            }
        }
    }

    fn array(&mut self, elements: &[Json], depth: usize) -> Result<(), Invalid> {
        self.tag(b'A');
        self.varint(elements.len() as u64);
        for element in elements {
            match *element == serde_json::json!({"$hole": true}) {
                true => self.tag(b'-'),
                false => self.value(element, depth + 1)?,
            }
        }
        // And no properties beside them.
        self.tag(b'$');
        self.varint(0);
        self.varint(elements.len() as u64);
        Ok(())
    }

    fn object(&mut self, object: &Map<String, Json>, depth: usize) -> Result<(), Invalid> {
        self.tag(b'o');
        for (key, value) in object {
            self.string(key);
            self.value(value, depth + 1)?;
        }
        self.tag(b'{');
        self.varint(object.len() as u64);
        Ok(())
    }

    fn special(
        &mut self,
        key: &str,
        object: &Map<String, Json>,
        depth: usize,
    ) -> Result<(), Invalid> {
        let others: &[&str] = match key {
            "$regexp" => &["flags"],
            "$bytes" => &["type"],
            "$error" => &["name", "cause"],
            _ => &[],
        };
        only(object, key, others)?;
        match key {
            "$undefined" if object[key] == true => self.tag(b'_'),
            "$undefined" => return Err(expected(key, "true")),
            "$number" => {
                self.tag(b'N');
                self.double(special_number(text(object, key)?)?);
            }
            "$bigint" => self.bigint(text(object, key)?)?,
            "$object" => {
                let inner = object.get(key).and_then(Json::as_object);
                let inner = inner.ok_or_else(|| expected(key, "an object"))?;
                self.object(inner, depth)?;
            }
            "$date" => {
                self.tag(b'D');
                self.double(date(&object[key])?);
            }
            "$map" => self.map(list(object, key)?, depth)?,
            "$set" => {
                let values = list(object, key)?;
                self.tag(b'\'');
                for value in values {
                    self.value(value, depth + 1)?;
                }
                self.tag(b',');
                self.varint(values.len() as u64);
            }
            "$regexp" => {
                let (pattern, flags) = regexp(object)?;
                self.tag(b'R');
                self.string(pattern);
                self.varint(flags);
            }
            "$bytes" => self.bytes(object)?,
            "$error" => self.error(object, depth)?,
            _ => {
                return Err(Invalid(format!(
                    "{key:?} is no type of values: give an object that is meant as it is as {{\"$object\": {{…}}}}"
                )));
            }
        }
        Ok(())
    }

    fn bigint(&mut self, digits: &str) -> Result<(), Invalid> {
        let number: Result<BigInt, _> = digits.parse();
        let number = number.map_err(|_| expected("$bigint", "an integer as a string"))?;
        let (sign, mut bytes) = number.to_bytes_le();
        if sign == Sign::NoSign {
            bytes.clear();
        }
        // Whole digits of V8's.
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        self.tag(b'Z');
        self.varint((bytes.len() as u64) << 1 | u64::from(sign == Sign::Minus));
        self.0.extend(bytes);
        Ok(())
    }

    fn map(&mut self, entries: &[Json], depth: usize) -> Result<(), Invalid> {
        self.tag(b';');
        for entry in entries {
            let pair = entry.as_array().map(Vec::as_slice);
            let Some([key, value]) = pair else {
                return Err(expected("$map", "an array of pairs"));
            };
            self.value(key, depth + 1)?;
            self.value(value, depth + 1)?;
        }
        self.tag(b':');
        self.varint(entries.len() as u64 * 2);
        Ok(())
    }

    fn bytes(&mut self, object: &Map<String, Json>) -> Result<(), Invalid> {
        let bytes = STANDARD.decode(text(object, "$bytes")?);
        let bytes = bytes.map_err(|error| expected("$bytes", &format!("base64 ({error})")))?;
        let kind = match object.get("type") {
            Some(_) => text(object, "type")?,
            None => "Uint8Array",
        };
        let view = VIEWS.iter().find(|(name, ..)| *name == kind);
        if view.is_none() && kind != "ArrayBuffer" {
            return Err(expected("type", "ArrayBuffer, DataView or a typed array"));
        }
        self.tag(b'B');
        self.varint(bytes.len() as u64);
        self.0.extend(&bytes);
        if let Some((_, tag, width)) = view {
            if !bytes.len().is_multiple_of(*width) {
                return Err(expected("$bytes", &format!("a multiple of {width} bytes")));
            }
            self.tag(b'V');
            self.varint((*tag).into());
            self.varint(0);
            self.varint(bytes.len() as u64);
            // Of a buffer that keeps its length.
            self.varint(0);
        }
        Ok(())
    }

    fn error(&mut self, object: &Map<String, Json>, depth: usize) -> Result<(), Invalid> {
        self.tag(b'r');
        let name = match object.get("name") {
            Some(_) => text(object, "name")?,
            None => "Error",
        };
        let kind = ERRORS.iter().find(|(it, _)| *it == name);
        self.0.extend(kind.map(|(_, tag)| tag));
        self.tag(b'm');
        self.string(text(object, "$error")?);
        if let Some(cause) = object.get("cause") {
            self.tag(b'c');
            self.value(cause, depth + 1)?;
        }
        self.tag(b'.');
        Ok(())
    }
}

/// Views by name: how V8 marks them, and the bytes of an element.
const VIEWS: [(&str, u8, usize); 12] = [
    ("Int8Array", b'b', 1),
    ("Uint8Array", b'B', 1),
    ("Uint8ClampedArray", b'C', 1),
    ("Int16Array", b'w', 2),
    ("Uint16Array", b'W', 2),
    ("Int32Array", b'd', 4),
    ("Uint32Array", b'D', 4),
    ("Float32Array", b'f', 4),
    ("Float64Array", b'F', 8),
    ("BigInt64Array", b'q', 8),
    ("BigUint64Array", b'Q', 8),
    ("DataView", b'?', 1),
];

/// What else than `Error` there is, and how V8 marks it.
const ERRORS: [(&str, u8); 6] = [
    ("EvalError", b'E'),
    ("RangeError", b'R'),
    ("ReferenceError", b'F'),
    ("SyntaxError", b'S'),
    ("TypeError", b'T'),
    ("URIError", b'U'),
];

/// Flags of regular expressions, from the lowest bit on. No letter is for one that nobody can set.
const FLAGS: &str = "gimyus-dv";

/// What else an object may have beside its special key.
fn only(object: &Map<String, Json>, key: &str, others: &[&str]) -> Result<(), Invalid> {
    let is_known = |it: &&String| *it != key && !others.contains(&it.as_str());
    match object.keys().find(is_known) {
        Some(other) => Err(Invalid(format!(
            "an object with {key:?} has no {other:?}: give an object that is meant as it is as {{\"$object\": {{…}}}}"
        ))),
        None => Ok(()),
    }
}

fn expected(key: &str, what: &str) -> Invalid {
    Invalid(format!("{key:?} has to be {what}"))
}

fn text<'j>(object: &'j Map<String, Json>, key: &str) -> Result<&'j str, Invalid> {
    let text = object.get(key).and_then(Json::as_str);
    text.ok_or_else(|| expected(key, "a string"))
}

fn list<'j>(object: &'j Map<String, Json>, key: &str) -> Result<&'j [Json], Invalid> {
    let list = object.get(key).and_then(Json::as_array);
    Ok(list.ok_or_else(|| expected(key, "an array"))?)
}

/// The pattern, which has to be one: the worker could not read what V8 does not compile, nor list what it is among.
fn regexp(object: &Map<String, Json>) -> Result<(&str, u64), Invalid> {
    let pattern = text(object, "$regexp")?;
    let (given, bits) = flags(object)?;
    match regress::Regex::with_flags(pattern, given) {
        Ok(_) => Ok((pattern, bits)),
        Err(error) => Err(expected("$regexp", &format!("a pattern ({})", error.text))),
    }
}

fn flags(object: &Map<String, Json>) -> Result<(&str, u64), Invalid> {
    let given = match object.get("flags") {
        Some(_) => text(object, "flags")?,
        None => "",
    };
    if given.contains('u') && given.contains('v') {
        return Err(expected("flags", "without u or without v"));
    }
    let bits = given.chars().try_fold(0, |flags, flag| {
        let bit = FLAGS.find(flag).filter(|_| flag != '-');
        let bit = bit.ok_or_else(|| expected("flags", "some of dgimsuvy"))?;
        Ok(flags | 1 << bit)
    });
    Ok((given, bits?))
}

fn special_number(name: &str) -> Result<f64, Invalid> {
    Ok(match name {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        "-0" => -0.0,
        _ => return Err(expected("$number", "NaN, Infinity, -Infinity or -0")),
    })
}

/// As JavaScript reads it: infinite if it is too large.
fn double(number: &serde_json::Number) -> f64 {
    // Kept in digits it may be so, and then `as_f64` has none.
    let double = number.as_f64().or_else(|| number.to_string().parse().ok());
    double.unwrap_or(f64::NAN)
}

/// In milliseconds.
fn date(json: &Json) -> Result<f64, Invalid> {
    match json {
        Json::Null => Ok(f64::NAN),
        Json::Number(millis) => Ok(millis.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => {
            let time = text.parse::<jiff::Timestamp>();
            let time = time.map_err(|error| expected("$date", &format!("a time ({error})")))?;
            #[allow(clippy::cast_precision_loss)] // Years up to 9999 are exact.
            Ok(time.as_millisecond() as f64)
        }
        _ => Err(expected("$date", "a time, or milliseconds, or null")),
    }
}
