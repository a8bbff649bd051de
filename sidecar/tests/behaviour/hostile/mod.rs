//! Workers that loop, leak, throw and flood: they harm themselves only.

use crate::Case;

/// The files of this folder and their cases.
pub const SECTIONS: &[(&str, &[Case])] = &[];
