//! The requirements of the ServerlessWorker standard, a file for each section of the list.

use crate::Case;

mod s01_model;

/// The files of this folder and their cases.
pub const SECTIONS: &[(&str, &[Case])] = &[("s01_model", s01_model::CASES)];
