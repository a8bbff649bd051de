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
/// Part of a byte counts as a whole one, as in Kubernetes. `None` for anything else, for zero, and for what no address
/// space holds.
#[must_use]
pub fn bytes(text: &str) -> Option<usize> {
    let (number, suffix) = split(text);
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
    let thousandths = thousandths(number, 15)?.checked_mul(unit)?;
    let bytes = usize::try_from(thousandths.div_ceil(1000)).ok()?;
    (bytes > 0).then_some(bytes)
}

/// A duration: decimal numbers, each with `h`, `m`, `s` or `ms`, the units in falling order (`1m30s`, `0.5s`).
///
/// This is what Go's `time.ParseDuration` reads, without signs, units below a millisecond and parts of one. A number
/// has at most six digits and three decimals. `None` for anything else and for zero.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u128 = 0;
    let mut last = u128::MAX;
    while !rest.is_empty() {
        let (number, tail) = split(rest);
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit {
            "ms" if !number.contains('.') => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        if unit >= last {
            return None;
        }
        millis += thousandths(number, 6)? * unit / 1000;
        last = unit;
        rest = tail;
    }
    let millis = u64::try_from(millis).ok()?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// Whether Kubernetes reads the text as a quantity that is not negative.
#[must_use]
pub fn is_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 15] = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi",
    ];
    let (number, suffix) = split(text.strip_prefix('+').unwrap_or(text));
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let exponent = || {
        let power = suffix.strip_prefix(['e', 'E'])?;
        let power = power.strip_prefix(['+', '-']).unwrap_or(power);
        Some(!power.is_empty() && power.bytes().all(|b| b.is_ascii_digit()))
    };
    digits > 0
        && number.len() - digits <= 1
        && (SUFFIXES.contains(&suffix) || suffix == "Ei" || exponent() == Some(true))
}

/// The digits and dots at the start, and the rest.
fn split(text: &str) -> (&str, &str) {
    let number = |c: char| c.is_ascii_digit() || c == '.';
    text.split_at(text.find(|c| !number(c)).unwrap_or(text.len()))
}

/// A number of at most `digits` digits and three decimals, times a thousand.
fn thousandths(number: &str, digits: usize) -> Option<u128> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    if whole.is_empty() || whole.len() > digits || fraction.len() > 3 {
        return None;
    }
    format!("{whole}{fraction:0<3}").parse().ok()
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
        assert_eq!(bytes("1.5"), Some(2));
        for wrong in [
            "",
            "Mi",
            "128MB",
            "-1",
            "1 Mi",
            "0",
            "1.",
            ".5",
            "1e3",
            ".",
            "128mi",
            "1.2.3Mi",
            "1.0001Mi",
            "99999999999Ti",
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
        for wrong in [
            "", "30", "s", "30 s", "1s1m", "-1s", "0s", "1d", "1.2.3s", "1.5ms", "1234567s",
            "0.0001h",
        ] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn knows_quantities() {
        for right in [
            "1", "500m", "1.5Gi", "1e3", "2E-1", "+1", ".5", "1.", "3Ei", "1E",
        ] {
            assert!(is_quantity(right), "{right}");
        }
        for wrong in ["", "m", "1x", "1 Gi", "-1", "1.2.3", "1e", "1Kii", "."] {
            assert!(!is_quantity(wrong), "{wrong}");
        }
    }
}
