//! Values with their places, whatever language they were written in, so that all problems of a file can be named at once.

use portside_crds::validate::Step;

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
    /// TOML's dates and times, as they were written.
    Date(String),
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
            // What is no number in JSON, such as infinity, is text.
            Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| (&**text).into()),
            Value::Text(text) | Value::Date(text) => (&**text).into(),
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
