//! The driver's errors, and what to do about them.

use rusqlite::ErrorCode;

use crate::Error;

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(failure, _) = &error else {
            return Self::Database(error.to_string());
        };
        let code = failure.extended_code;
        let error = match failure.code {
            ErrorCode::DiskFull => "the disk is full".to_owned(),
            _ => error.to_string(),
        };
        let next = next_step(failure.code).map_or(String::new(), |next| format!("; {next}"));
        Self::Database(format!("{error} (SQLite's code {code}){next}"))
    }
}

fn next_step(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::DiskFull => "make room on the disk that has the database file",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            "another program has locked the database file: end its transaction or the program"
        }
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            "let this process write the database file and its folder"
        }
        ErrorCode::CannotOpen => {
            "the database's folder must exist, and this process must be able to write it"
        }
        ErrorCode::DatabaseCorrupt => {
            "the database file is damaged: restore a copy, or save what can be read with sqlite3 and .recover"
        }
        ErrorCode::NotADatabase => "choose another file",
        ErrorCode::SystemIoFailure => {
            "the disk that has the database file fails or has no room: see the system's log"
        }
        _ => return None,
    })
}
