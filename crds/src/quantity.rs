//! Quantities and durations as Kubernetes writes them.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A resource quantity as it was written: text, or a number, which is kept as text.
///
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
#[derive(Serialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct Quantity(pub String);

impl Quantity {
    /// See [`bytes`].
    #[must_use]
    pub fn bytes(&self) -> Option<usize> {
        bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl de::Visitor<'_> for Scalar {
            type Value = Quantity;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_str<E>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.to_owned()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Quantity, E> {
                Ok(Quantity(number.to_string()))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-int-or-string": true})
    }
}

/// Bytes from a resource quantity: a decimal number and perhaps one of `Ki` `Mi` `Gi` `Ti`, `k` `M` `G` `T`.
///
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>. `None` for anything
/// else, for what is not a positive whole number of bytes, and for what no address space holds.
#[must_use]
pub fn bytes(text: &str) -> Option<usize> {
    let digits = text.len()
        - text
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .len();
    let (number, suffix) = text.split_at(digits);
    let unit: u128 = match suffix {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    let bytes = scaled(number, unit)?;
    usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)
}

/// A duration: decimal numbers, each with `h`, `m`, `s` or `ms`, the units in falling order (`1m30s`, `0.5s`).
///
/// This is what Go's `time.ParseDuration` reads, without signs and units below a millisecond. `None` for anything else
/// and for zero.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u128 = 0;
    let mut last = u128::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        if unit >= last {
            return None;
        }
        millis = millis.checked_add(scaled(number, unit)?)?;
        last = unit;
        rest = tail;
    }
    let millis = u64::try_from(millis).ok()?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// `number` times `unit`, if that is whole.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 12 || whole.len() > 24 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let scaled = digits.checked_mul(unit)?;
    (scaled % divisor == 0).then(|| scaled / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quantities() {
        assert_eq!(bytes("128Mi"), Some(128 << 20));
        assert_eq!(bytes("1.5Gi"), Some(3 << 29));
        assert_eq!(bytes("64M"), Some(64_000_000));
        assert_eq!(bytes("4096"), Some(4096));
        for wrong in [
            "", "Mi", "128MB", "-1", "1 Mi", "0", "1.5", "1e3", ".", "128mi",
        ] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn reads_durations() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("30s"), Some(30_000));
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("0.5s"), Some(500));
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("2h"), Some(7_200_000));
        for wrong in ["", "30", "s", "30 s", "1s1m", "-1s", "0s", "1d", "1.2.3s"] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }
}
