//! YAML with the place of every value, so that a manifest's problems can all be named at once.

use std::fmt;

use portside_crds::validate::Step;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::problem::Place;

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub place: Place,
    pub value: Value,
}

/// A value.
#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As it was parsed, not as it was written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A field's name and where it stands.
#[derive(Debug)]
pub(crate) struct Key {
    pub place: Place,
    pub name: String,
}

impl Node {
    /// The field of that name, if this is a map.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.fields()
            .iter()
            .find_map(|(key, node)| (key.name == name).then_some(node))
    }

    /// The fields, if this is a map, otherwise none.
    pub fn fields(&self) -> &[(Key, Self)] {
        match &self.value {
            Value::Map(fields) => fields,
            _ => &[],
        }
    }

    /// The value without its places.
    pub fn json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            // Whatever YAML has beyond JSON's numbers, such as infinity, is text.
            Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| (&**text).into()),
            Value::Text(text) => (&**text).into(),
            Value::List(items) => items.iter().map(Self::json).collect(),
            Value::Map(fields) => fields
                .iter()
                .map(|(key, node)| (key.name.clone(), node.json()))
                .collect(),
        }
    }

    /// The place of the innermost value on the way that is there.
    pub fn place_of(&self, path: &[Step]) -> Place {
        let Some((step, rest)) = path.split_first() else {
            return self.place;
        };
        let inner = match (step, &self.value) {
            (Step::Field(name), _) => self.field(name),
            (Step::Item(n), Value::List(items)) => items.get(*n),
            (Step::Item(_), _) => None,
        };
        inner.map_or(self.place, |inner| inner.place_of(rest))
    }

    /// The text, if this is text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

fn place(location: serde_saphyr::Location) -> Place {
    let at = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    Place {
        line: at(location.line()),
        column: at(location.column()),
    }
}

/// The place an error speaks of.
pub(crate) fn place_of_error(error: &serde_saphyr::Error) -> Place {
    error.location().map_or(Place::START, place)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            place: place(spanned.referenced),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        Value::deserialize(inner)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = vec![];
        while let Some((key, node)) = fields.next_entry::<Spanned<String>, Node>()? {
            let key = Key {
                place: place(key.referenced),
                name: key.value,
            };
            map.push((key, node));
        }
        Ok(Value::Map(map))
    }
}
