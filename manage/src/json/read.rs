//! From what is stored to JSON.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value as Json, json};
use v8_valueserializer::{
    ArrayBufferView, Date, DenseArray, Error, Heap, HeapReference, HeapValue, PropertyKey,
    SparseArray, Value, ValueDeserializer,
};

use super::{DEEPEST, Unreadable};

/// A structured clone, as V8 serializes it, as JSON, in the form that this module's documentation gives.
///
/// # Errors
/// [`Unreadable`] if these are not the bytes of one, or of one that JSON cannot show: nested deeper than 256 levels.
pub fn to_json(clone: &[u8]) -> Result<Json, Unreadable> {
    let read = ValueDeserializer::default().read(clone);
    let (value, heap) = read.map_err(|error| Unreadable(error.to_string()))?;
    let mut reader = Reader {
        heap: &heap,
        open: HashSet::new(),
        left: MOST_VALUES,
    };
    reader.value(&value)
}

/// The most values that are shown of one.
const MOST_VALUES: usize = 1 << 20;

struct Reader<'h> {
    heap: &'h Heap,
    /// What is being read, from the outermost to the innermost.
    open: HashSet<HeapReference>,
    /// How many values may still be shown: what is in two places is shown twice, and few bytes can come to many.
    left: usize,
}

impl Reader<'_> {
    fn value(&mut self, value: &Value) -> Result<Json, Unreadable> {
        let left = self.left.checked_sub(1);
        self.left =
            left.ok_or_else(|| Unreadable(format!("it has more than {MOST_VALUES} parts")))?;
        Ok(match value {
            Value::Undefined => json!({"$undefined": true}),
            Value::Null => Json::Null,
            Value::Bool(it) => (*it).into(),
            Value::I32(it) => (*it).into(),
            Value::U32(it) => (*it).into(),
            Value::Double(it) => number(*it),
            Value::BigInt(it) => json!({"$bigint": it.to_string()}),
            Value::String(it) => it.to_string().into(),
            Value::HeapReference(reference) => self.referred(*reference)?,
        })
    }

    fn referred(&mut self, reference: HeapReference) -> Result<Json, Unreadable> {
        if self.open.len() >= DEEPEST {
            return Err(Unreadable(format!(
                "it is nested deeper than {DEEPEST} levels"
            )));
        }
        if !self.open.insert(reference) {
            return Ok(json!({"$again": true}));
        }
        let shown = self.object(reference.open(self.heap));
        self.open.remove(&reference);
        shown
    }

    fn object(&mut self, object: &HeapValue) -> Result<Json, Unreadable> {
        Ok(match object {
            HeapValue::BooleanObject(it) => (*it).into(),
            HeapValue::NumberObject(it) => number(*it),
            HeapValue::BigIntObject(it) => json!({"$bigint": it.to_string()}),
            HeapValue::StringObject(it) => it.to_string().into(),
            HeapValue::RegExp(it) => {
                json!({"$regexp": it.pattern.to_string(), "flags": it.flags.to_string()})
            }
            HeapValue::Date(it) => json!({"$date": date(it)}),
            HeapValue::Object(it) => self.properties(&it.properties)?,
            HeapValue::DenseArray(it) => self.dense(it)?,
            HeapValue::SparseArray(it) => self.sparse(it)?,
            HeapValue::Map(it) => {
                let entries = it.entries.iter();
                let entries = entries
                    .map(|(key, value)| Ok(Json::from(vec![self.value(key)?, self.value(value)?])));
                json!({"$map": entries.collect::<Result<Vec<_>, _>>()?})
            }
            HeapValue::Set(it) => {
                let values = it.values.iter().map(|value| self.value(value));
                json!({"$set": values.collect::<Result<Vec<_>, _>>()?})
            }
            HeapValue::ArrayBuffer(it) => {
                json!({"$bytes": STANDARD.encode(it.as_u8_slice()), "type": "ArrayBuffer"})
            }
            HeapValue::ArrayBufferView(it) => self.view(it)?,
            HeapValue::Error(it) => self.error(it)?,
        })
    }

    fn properties(&mut self, properties: &[(PropertyKey, Value)]) -> Result<Json, Unreadable> {
        let mut shown = Map::new();
        for (key, value) in properties {
            shown.insert(name(key), self.value(value)?);
        }
        let is_special = shown.keys().any(|key| key.starts_with('$'));
        let shown = Json::Object(shown);
        Ok(if is_special {
            json!({"$object": shown})
        } else {
            shown
        })
    }

    fn dense(&mut self, array: &DenseArray) -> Result<Json, Unreadable> {
        let elements = array.elements.iter().map(|element| match element {
            Some(value) => self.value(value),
            None => Ok(hole()),
        });
        elements.collect()
    }

    /// With its holes while there are few; otherwise as an object that has its length.
    fn sparse(&mut self, array: &SparseArray) -> Result<Json, Unreadable> {
        const HOLES: usize = 1000;
        let length = array.length as usize;
        if length > array.properties.len() + HOLES {
            let elements = self.properties(&array.properties)?;
            return Ok(json!({"$array": elements, "length": length}));
        }
        let mut shown = vec![hole(); length];
        for (key, value) in &array.properties {
            let place = name(key).parse::<usize>().ok();
            if let Some(place) = place.and_then(|place| shown.get_mut(place)) {
                *place = self.value(value)?;
            }
        }
        Ok(shown.into())
    }

    fn view(&mut self, view: &ArrayBufferView) -> Result<Json, Unreadable> {
        let HeapValue::ArrayBuffer(buffer) = view.buffer.open(self.heap) else {
            return Err(Unreadable(
                "a view is of something that is no buffer".into(),
            ));
        };
        let bytes = buffer.as_u8_slice();
        let from = view.byte_offset as usize;
        let length = match view.is_length_tracking {
            true => bytes.len().saturating_sub(from),
            // In elements.
            false => view.length as usize * view.kind.byte_width() as usize,
        };
        let bytes = bytes.get(from..from + length).unwrap_or_default();
        Ok(json!({"$bytes": STANDARD.encode(bytes), "type": view.kind.to_string()}))
    }

    fn error(&mut self, error: &Error) -> Result<Json, Unreadable> {
        let message = error.message.as_ref().map(|it| it.to_string());
        let mut shown =
            json!({"$error": message.unwrap_or_default(), "name": error.name.to_string()});
        if let Some(cause) = &error.cause {
            shown["cause"] = self.value(cause)?;
        }
        Ok(shown)
    }
}

fn hole() -> Json {
    json!({"$hole": true})
}

fn name(key: &PropertyKey) -> String {
    match key {
        PropertyKey::I32(it) => it.to_string(),
        PropertyKey::U32(it) => it.to_string(),
        PropertyKey::Double(it) => it.to_string(),
        PropertyKey::String(it) => it.to_string().into_owned(),
    }
}

/// A number.
#[must_use]
pub fn number(it: f64) -> Json {
    let special = match it {
        it if it.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        it if it == 0.0 && it.is_sign_negative() => "-0",
        it => {
            /// Integers up to here have a number of their own.
            const SAFE: f64 = 9_007_199_254_740_991.0;
            return match it.fract() == 0.0 && it.abs() <= SAFE {
                #[allow(clippy::cast_possible_truncation)] // It is a safe integer.
                true => (it as i64).into(),
                false => Number::from_f64(it).map_or(Json::Null, Json::Number),
            };
        }
    };
    json!({"$number": special})
}

fn date(date: &Date) -> Json {
    let Some(millis) = date.ms_since_epoch() else {
        return Json::Null;
    };
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => time.to_string().into(),
        Err(_) => millis.into(),
    }
}
