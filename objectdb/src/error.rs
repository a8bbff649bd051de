//! What can go wrong, told as Durable Objects tell it.

use std::io;

use rusqlite::ffi;

use crate::delta::Damaged;

/// Why a call on a database failed. The messages reach the developer unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The call is refused or has failed, and has changed nothing. The transaction goes on.
    #[error("{0}")]
    Refused(String),
    /// The transaction is lost, with all that the turn has written. Nothing more can be done with the database: the object must
    /// be reset, and its database loaded anew.
    #[error("{0}")]
    Reset(String),
}

impl Error {
    /// Whether the object must be reset.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        matches!(self, Self::Reset(_))
    }

    pub(crate) fn refused(message: &str) -> Self {
        Self::Refused(message.to_owned())
    }
}

impl From<Damaged> for Error {
    fn from(damaged: Damaged) -> Self {
        Self::Refused(damaged.to_string())
    }
}

/// That of the temporary file which has what is not in memory.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Refused(format!("the temporary file of the database: {error}"))
    }
}

/// An error of SQLite's, as a Durable Object sees it: what SQLite says; where in the statement, if it knows; the code's name;
/// and the extended code's, if there is one.
pub fn message(text: &str, offset: Option<u32>, code: i32, extended: i32) -> String {
    let at = offset.map_or_else(String::new, |offset| format!(" at offset {offset}"));
    let detail = name_of_extended(extended);
    let detail = detail.map_or_else(String::new, |name| format!(" (extended: {name})"));
    format!("{text}{at}: {}{detail}", name_of(code))
}

macro_rules! names {
    ($($code:ident)*) => { &[$((ffi::$code, stringify!($code))),*] };
}

const CODES: &[(i32, &str)] = names! {
    SQLITE_ERROR SQLITE_INTERNAL SQLITE_PERM SQLITE_ABORT SQLITE_BUSY SQLITE_LOCKED SQLITE_NOMEM SQLITE_READONLY
    SQLITE_INTERRUPT SQLITE_IOERR SQLITE_CORRUPT SQLITE_NOTFOUND SQLITE_FULL SQLITE_CANTOPEN SQLITE_PROTOCOL SQLITE_EMPTY
    SQLITE_SCHEMA SQLITE_TOOBIG SQLITE_CONSTRAINT SQLITE_MISMATCH SQLITE_MISUSE SQLITE_NOLFS SQLITE_AUTH SQLITE_FORMAT
    SQLITE_RANGE SQLITE_NOTADB SQLITE_NOTICE SQLITE_WARNING
};

/// Those that a statement on a file in memory can have.
const EXTENDED_CODES: &[(i32, &str)] = names! {
    SQLITE_ABORT_ROLLBACK SQLITE_BUSY_SNAPSHOT SQLITE_CONSTRAINT_CHECK SQLITE_CONSTRAINT_COMMITHOOK SQLITE_CONSTRAINT_DATATYPE
    SQLITE_CONSTRAINT_FOREIGNKEY SQLITE_CONSTRAINT_FUNCTION SQLITE_CONSTRAINT_NOTNULL SQLITE_CONSTRAINT_PINNED
    SQLITE_CONSTRAINT_PRIMARYKEY SQLITE_CONSTRAINT_ROWID SQLITE_CONSTRAINT_TRIGGER SQLITE_CONSTRAINT_UNIQUE
    SQLITE_CONSTRAINT_VTAB SQLITE_CORRUPT_INDEX SQLITE_CORRUPT_SEQUENCE SQLITE_CORRUPT_VTAB SQLITE_ERROR_MISSING_COLLSEQ
    SQLITE_ERROR_RETRY SQLITE_IOERR_DATA SQLITE_IOERR_NOMEM SQLITE_IOERR_READ SQLITE_IOERR_SHORT_READ SQLITE_IOERR_TRUNCATE
    SQLITE_IOERR_WRITE SQLITE_LOCKED_SHAREDCACHE SQLITE_LOCKED_VTAB
};

fn name_of(code: i32) -> String {
    let known = CODES.iter().find(|(known, _)| *known == code);
    known.map_or_else(
        || format!("SQLITE_UNKNOWN_ERROR_CODE({code})"),
        |(_, name)| (*name).to_owned(),
    )
}

fn name_of_extended(code: i32) -> Option<&'static str> {
    let known = EXTENDED_CODES.iter().find(|(known, _)| *known == code);
    known.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_what_is_known() {
        let plain = message(
            "no such table: t",
            None,
            ffi::SQLITE_ERROR,
            ffi::SQLITE_ERROR,
        );
        assert_eq!(plain, "no such table: t: SQLITE_ERROR");
        let placed = message("near \"x\"", Some(3), ffi::SQLITE_ERROR, ffi::SQLITE_ERROR);
        assert_eq!(placed, "near \"x\" at offset 3: SQLITE_ERROR");
        let extended = ffi::SQLITE_CONSTRAINT_UNIQUE;
        let extended = message("UNIQUE", None, ffi::SQLITE_CONSTRAINT, extended);
        assert_eq!(
            extended,
            "UNIQUE: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)"
        );
        assert_eq!(
            message("?", None, 99, 99),
            "?: SQLITE_UNKNOWN_ERROR_CODE(99)"
        );
    }
}
