//! The server's variables: the fields of `env`.

use serde::{Deserialize, Serialize};

/// All variables of an application, by name.
pub type Variables = Vec<(String, Value)>;

/// What a variable is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// A string.
    Text(String),
    /// What `JSON.parse` makes of this, which is valid JSON.
    Json(String),
    /// The objects of a class, by its place among the application's classes.
    Objects(usize),
    /// The application's static assets.
    Assets,
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
