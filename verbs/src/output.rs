//! Answers, for people and for programs.

use std::io::Write;

use serde::Serialize;

/// How answers are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// A table, for people
    #[default]
    Table,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl Output {
    /// Writes an answer to standard output; a table of these rows, the first of which is the header.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(
        self,
        answer: &impl Serialize,
        table: impl FnOnce() -> Vec<Vec<String>>,
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match self {
            Self::Table => write!(out, "{}", aligned(&table()))?,
            Self::Json => writeln!(out, "{}", serde_json::to_string_pretty(answer)?)?,
            Self::Yaml => write!(out, "{}", serde_saphyr::to_string(answer)?)?,
        }
        Ok(())
    }
}

impl Output {
    /// Writes an answer to standard output that people have as this text.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_text(self, answer: &impl Serialize, text: &str) -> anyhow::Result<()> {
        if self != Self::Table {
            return self.write(answer, Vec::new);
        }
        let lines: Vec<String> = text.lines().map(printable).collect();
        writeln!(std::io::stdout().lock(), "{}", lines.join("\n"))?;
        Ok(())
    }
}

impl Output {
    /// Writes one more answer of many: a line, but in YAML, where it is a document.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_next(
        self,
        answer: &impl Serialize,
        row: impl FnOnce() -> Vec<String>,
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match self {
            Self::Table => write!(out, "{}", aligned(&[row()]))?,
            Self::Json => writeln!(out, "{}", serde_json::to_string(answer)?)?,
            Self::Yaml => write!(out, "---\n{}", serde_saphyr::to_string(answer)?)?,
        }
        out.flush()?;
        Ok(())
    }
}

/// Columns as wide as what is in them, three spaces apart, as kubectl has them.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("   ");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// One line of a text, without what would change the terminal, or the order of what it shows.
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
    fn columns_are_aligned() {
        let rows = [["NAME", "STATE"], ["é", "awake"], ["longer", ""]];
        let rows: Vec<_> = rows
            .iter()
            .map(|row| row.map(String::from).to_vec())
            .collect();
        assert_eq!(aligned(&rows), "NAME     STATE\né        awake\nlonger\n");
        assert_eq!(aligned(&[]), "");
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(printable("a\u{1b}[2Jé\n"), "a\\u{1b}[2Jé\\n");
        assert_eq!(printable("\u{9b}\u{202e}x"), "\\u{9b}\\u{202e}x");
    }
}
