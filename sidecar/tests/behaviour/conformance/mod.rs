//! The requirements of the ServerlessWorker standard, a file for each section of the list.

use crate::Case;

mod kit;
mod page;
mod requirements;
mod s01_model;
mod s02_naming;
mod s03_ports;
mod s04_connect;
mod s05_globals;
mod s06_errors;
mod s07_storage;
mod s08_alarms;
mod s09_sleep;
mod s10_security;
mod s11_fetch;
mod s12_goals;

/// The files of this folder and their cases.
pub const SECTIONS: &[(&str, &[Case])] = &[
    ("page", page::CASES),
    ("s01_model", s01_model::CASES),
    ("s02_naming", s02_naming::CASES),
    ("s03_ports", s03_ports::CASES),
    ("s04_connect", s04_connect::CASES),
    ("s05_globals", s05_globals::CASES),
    ("s06_errors", s06_errors::CASES),
    ("s07_storage", s07_storage::CASES),
    ("s08_alarms", s08_alarms::CASES),
    ("s09_sleep", s09_sleep::CASES),
    ("s10_security", s10_security::CASES),
    ("s11_fetch", s11_fetch::CASES),
    ("s12_goals", s12_goals::CASES),
];
