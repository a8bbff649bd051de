//! What is wrong with an application, and where.

use std::fmt;

/// One thing that keeps an application from being bundled, or from answering, with its place.
///
/// Sorts by path, then line, then column. Displays as `path:line:column: message`; `help` is left to the caller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// The file, relative to the application's folder, with forward slashes; `.` for the folder itself.
    pub path: String,
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in UTF-16 code units, as V8 and source maps count.
    pub column: u32,
    /// What is wrong, in lower case and without a full stop.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

impl Problem {
    /// Displays as `path:line:column: warning: message`, for what keeps nothing from working.
    #[must_use]
    pub fn as_warning(&self) -> impl fmt::Display + '_ {
        struct Warning<'p>(&'p Problem);
        impl fmt::Display for Warning<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Problem {
                    path,
                    line,
                    column,
                    message,
                    ..
                } = self.0;
                write!(f, "{path}:{line}:{column}: warning: {message}")
            }
        }
        Warning(self)
    }

    /// A problem at the very start of a file, for what has no better place.
    pub(crate) fn of_file(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::at(path, Place::START, message)
    }

    pub(crate) fn at(path: impl Into<String>, place: Place, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: place.line,
            column: place.column,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.path, self.line, self.column, self.message
        )
    }
}

/// A line and a column, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub line: u32,
    pub column: u32,
}

impl Place {
    pub const START: Self = Self { line: 1, column: 1 };

    /// The place of a byte offset, as [`Lines::place`]. For many in one text, use that.
    pub fn of(source: &str, offset: usize) -> Self {
        Lines::of(source).place(offset)
    }
}

/// A text and where its lines begin, so that the place of an offset is found without reading all before it.
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub fn of(text: &'t str) -> Self {
        let after = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(after).collect(),
        }
    }

    /// The place of a byte offset. Offsets past the end or inside a character count as the nearest one before.
    pub fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let before = self.starts.partition_point(|start| *start <= offset) - 1;
        let line = &self.text.as_bytes()[self.starts[before]..offset];
        Place {
            line: count(before),
            column: count(String::from_utf8_lossy(line).encode_utf16().count()),
        }
    }
}

/// From a number of things before to an ordinal.
fn count(before: usize) -> u32 {
    u32::try_from(before).map_or(u32::MAX, |n| n.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_utf16_units() {
        let source = "a\n𝄞é x";
        let at = |offset| {
            let place = Place::of(source, offset);
            (place.line, place.column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(2), (2, 1));
        assert_eq!(at(source.find('x').unwrap()), (2, 5));
        assert_eq!(at(10_000), (2, 6));
    }
}
