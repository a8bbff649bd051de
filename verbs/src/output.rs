//! Answers, for people and for programs.

use std::io::Write;

pub use portside_manage::printable;
use serde::Serialize;

use crate::yaml;

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
            Self::Yaml => write!(out, "{}", yaml::written(answer)?)?,
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
        writeln!(std::io::stdout().lock(), "{}", printable_lines(text))?;
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
            Self::Yaml => write!(out, "---\n{}", yaml::written(answer)?)?,
        }
        out.flush()?;
        Ok(())
    }
}

/// No column is filled up to more: what is longer sticks out, lest each row be as long.
const WIDEST: usize = u16::MAX as usize;

/// Columns as wide as what is in them, three spaces apart, as kubectl has them.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).min(WIDEST)
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

/// A text of several lines, each as [`printable`] has it.
pub fn printable_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(printable).collect();
    lines.join("\n")
}

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
    fn what_is_very_wide_is_shown_whole() {
        let wide = "x".repeat(70_000);
        let rows = [["KEY", "VALUE", "MORE"], ["a", &wide, "b"], ["c", "", "d"]];
        let rows: Vec<_> = rows
            .iter()
            .map(|row| row.map(String::from).to_vec())
            .collect();
        let table = aligned(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[1], format!("a     {wide}   b"));
        assert_eq!(lines[2].len(), "KEY   ".len() + WIDEST + "   d".len());
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(
            printable_lines("a\u{1b}\r\n    at b\n"),
            "a\\u{1b}\n    at b"
        );
    }
}
