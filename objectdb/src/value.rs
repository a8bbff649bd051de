//! SQLite's values.

/// A value that is bound to a statement, or of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `NULL`.
    Null,
    /// A whole number.
    Integer(i64),
    /// A number; `NaN` becomes `NULL`.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// What it takes in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let own = match self {
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
            Self::Null | Self::Integer(_) | Self::Real(_) => 0,
        };
        size_of::<Self>() + own
    }
}

/// The values of a row, in the order of its columns.
pub type Row = Vec<Value>;
