//! JSON values as text that does not depend on how `serde_json` was built.
//!
//! Dependencies of the same program may ask it for other maps (in order of insertion) and other numbers (of arbitrary
//! precision, which only its own serializers understand). What is hashed, stored or compared must not change with that.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// A value for any serializer, the fields of its objects sorted by name.
pub struct Plain<'v>(pub &'v Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => serializer.serialize_i64(number),
                (_, Some(number), _) => serializer.serialize_u64(number),
                (.., Some(number)) => serializer.serialize_f64(number),
                _ => serializer.serialize_str(&number.to_string()),
            },
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Plain)),
            Value::Object(fields) => {
                let sorted: BTreeMap<_, _> = fields.iter().collect();
                let plain = |(name, value)| (name, Plain(value));
                serializer.collect_map(sorted.into_iter().map(plain))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_text_is_the_same_in_every_build() {
        let value = json!({"b": [1, -2, 1.5, null, true], "a": {"z": "x", "y": u64::MAX}});
        let text = serde_json::to_string(&Plain(&value)).unwrap();
        assert_eq!(
            text,
            r#"{"a":{"y":18446744073709551615,"z":"x"},"b":[1,-2,1.5,null,true]}"#
        );
        let yaml = serde_saphyr::to_string(&Plain(&json!({"b": 1, "a": 2}))).unwrap();
        assert_eq!(yaml, "a: 2\nb: 1\n");
    }
}
