//! Lines of `_headers` and `_redirects`.

/// A line that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Its number, from 1.
    pub number: u32,
    /// For people, to be read after the line's place.
    pub message: String,
}

/// The most characters of a line.
const MOST_CHARACTERS: usize = 2_000;

/// The lines that say something, with their numbers.
pub(crate) struct Lines<'t>(Vec<(u32, &'t str)>);

impl<'t> Lines<'t> {
    /// Those of a text, without comments. Lines that are too long are added to those that are wrong.
    pub fn of(text: &'t str, wrong: &mut Vec<Line>) -> Self {
        let mut lines = vec![];
        let text = text.trim_start_matches('\u{feff}');
        for (number, line) in (1..).zip(text.split('\n')) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.chars().count() > MOST_CHARACTERS {
                let message =
                    format!("has more than {MOST_CHARACTERS} characters: it has no effect");
                wrong.push(Line { number, message });
                continue;
            }
            lines.push((number, line));
        }
        Self(lines)
    }
}

impl<'t> IntoIterator for Lines<'t> {
    type Item = (u32, &'t str);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
