//! Answers as YAML.

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::{Number, Value as Json};

/// An answer as YAML, which says what it says as JSON.
///
/// # Errors
/// It cannot be written.
pub fn written(answer: &impl Serialize) -> anyhow::Result<String> {
    let json = serde_json::to_value(answer)?;
    Ok(serde_saphyr::to_string(&Plain(&json))?)
}

/// JSON for whoever is no part of `serde_json`. Where that keeps the digits of numbers, as the bundler has it do, a number of its own
/// is to all others a struct with a text in it. Unlike `portside_crds::plain`, for what is hashed: its fields stay in their order, and numbers
/// keep all that YAML can say of them.
struct Plain<'j>(&'j Json);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Json::Number(it) => number(it, serializer),
            Json::Array(elements) => serializer.collect_seq(elements.iter().map(Plain)),
            Json::Object(object) => {
                serializer.collect_map(object.iter().map(|(key, value)| (key, Plain(value))))
            }
            Json::Null | Json::Bool(_) | Json::String(_) => self.0.serialize(serializer),
        }
    }
}

/// What is no integer of 128 bits is as JavaScript has it.
fn number<S: Serializer>(number: &Number, serializer: S) -> Result<S::Ok, S::Error> {
    if let Some(it) = number.as_i128() {
        return serializer.serialize_i128(it);
    }
    if let Some(it) = number.as_u128() {
        return serializer.serialize_u128(it);
    }
    let it = number.to_string().parse().map_err(S::Error::custom)?;
    serializer.serialize_f64(it)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn again(text: &str) -> String {
        written(&serde_json::from_str::<Json>(text).unwrap()).unwrap()
    }

    #[test]
    fn numbers_are_numbers_wherever_they_are() {
        let nested = again(r#"{"a": 1, "b": [-2, {"c": 0.5}], "d": {"e": [[3]]}}"#);
        assert!(!nested.contains("serde_json"), "{nested}");
        let back: Json = serde_saphyr::from_str(&nested).unwrap();
        let expected = json!({"a": 1, "b": [-2, {"c": 0.5}], "d": {"e": [[3]]}});
        assert_eq!(back.to_string(), expected.to_string(), "{nested}");
        for (text, yaml) in [
            ("0", "0\n"),
            ("9007199254740993", "9007199254740993\n"),
            ("18446744073709551615", "18446744073709551615\n"),
            (
                "340282366920938463463374607431768211455",
                "340282366920938463463374607431768211455\n",
            ),
            ("1.0", "1.0\n"),
            ("-0.0", "-0.0\n"),
            ("1e300", "1.0e+300\n"),
            ("2.5e-7", "2.5e-7\n"),
            ("1e999", ".inf\n"),
        ] {
            assert_eq!(again(text), yaml, "{text}");
        }
    }

    #[test]
    fn what_else_there_is_stays_in_its_order() {
        #[derive(Serialize)]
        struct Answer {
            worker: &'static str,
            bytes: u64,
            alarm: Option<bool>,
        }
        let answer = Answer {
            worker: "1",
            bytes: 7,
            alarm: None,
        };
        let yaml = written(&answer).unwrap();
        assert_eq!(yaml, serde_saphyr::to_string(&answer).unwrap());
    }
}
