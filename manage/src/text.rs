//! Texts that others have made, for terminals and logs.

/// One line of a text, without what would change the terminal, or the order of what it shows.
#[must_use]
pub fn printable(text: &str) -> String {
    let is_shown = |it: char| !it.is_control() && !HIDDEN.iter().any(|range| range.contains(&it));
    text.chars()
        .flat_map(|it| match is_shown(it) {
            true => vec![it],
            false => it.escape_default().collect::<Vec<_>>(),
        })
        .collect()
}

/// Line separators, and what changes the direction of writing.
const HIDDEN: [std::ops::RangeInclusive<char>; 3] = [
    '\u{200e}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2066}'..='\u{2069}',
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(printable("a\u{1b}[2Jé\n"), "a\\u{1b}[2Jé\\n");
        assert_eq!(printable("\u{9b}\u{202e}x"), "\\u{9b}\\u{202e}x");
    }
}
