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

/// The values of a row, in the order of its columns.
pub type Row = Vec<Value>;
