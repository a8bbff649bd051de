//! `.dev.vars`: the secrets of a local run, as dotenv has them.
//!
//! Values are taken as they are written. Of a `$` nothing is made: wrangler leaves it alone here, and secrets have it.

use std::collections::BTreeMap;
use std::path::Path;

use super::{is_there, text_of};
use crate::problem::{Place, Problem};

const FILE: &str = ".dev.vars";
const QUOTES: [char; 3] = ['"', '\'', '`'];

/// The variables of the folder's `.dev.vars.<env>`, or of its `.dev.vars` if that is not there or no environment was
/// chosen. Nothing if there is neither.
///
/// # Errors
/// The file cannot be read, or has lines that are not `KEY=VALUE`. No message has a value in it.
pub fn read(dir: &Path, env: Option<&str>) -> Result<BTreeMap<String, String>, Vec<Problem>> {
    let special = env.map(|env| format!("{FILE}.{env}"));
    let mut names = special.as_deref().into_iter().chain([FILE]);
    let Some(name) = names.find(|name| is_there(dir, name)) else {
        return Ok(BTreeMap::new());
    };
    let text = text_of(dir, name)?;
    parse(&text).map_err(|lines| {
        let problem = |line| {
            let place = Place { line, column: 1 };
            Problem::at(name, place, "the line is not KEY=VALUE")
        };
        lines.into_iter().map(problem).collect()
    })
}

/// The variables in a text, the last of a name; or the lines that are none.
fn parse(text: &str) -> Result<BTreeMap<String, String>, Vec<u32>> {
    let mut variables = BTreeMap::new();
    let mut wrong = vec![];
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut line = 1;
    while !rest.is_empty() {
        let before = rest;
        let start = rest.lines().next().unwrap_or_default();
        if matches!(start.trim_start().chars().next(), None | Some('#')) {
            rest = after_line(rest);
        } else if let Some((key, value, after)) = assignment(rest) {
            variables.insert(key.to_owned(), value);
            rest = after;
        } else {
            wrong.push(line);
            rest = after_line(rest);
        }
        let read = &before[..before.len() - rest.len()];
        line += u32::try_from(read.matches('\n').count()).unwrap_or(u32::MAX);
    }
    if wrong.is_empty() {
        Ok(variables)
    } else {
        Err(wrong)
    }
}

fn after_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

/// The key, the value and what follows its line.
fn assignment(text: &str) -> Option<(&str, String, &str)> {
    let line = text.trim_start_matches([' ', '\t']);
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start_matches([' ', '\t']),
        _ => line,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let end = line.find(|c| !plain(c))?;
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches([' ', '\t']);
    let rest = rest.strip_prefix('=')?.trim_start_matches([' ', '\t']);
    if key.is_empty() {
        return None;
    }
    if let Some((value, after)) = quoted(rest) {
        return Some((key, value, after));
    }
    let value = rest.lines().next().unwrap_or_default();
    let value = value.split('#').next().unwrap_or_default();
    Some((key, unquoted(value.trim()), after_line(rest)))
}

/// A value that is not a whole one in quotes, as `"{"key": 1}"`: what is within the first and the last of them.
fn unquoted(value: &str) -> String {
    let Some(quote) = value.chars().next().filter(|c| QUOTES.contains(c)) else {
        return value.to_owned();
    };
    let inside = value[1..].strip_suffix(quote).unwrap_or(value);
    expanded(quote, inside)
}

/// In double quotes `\n` and `\r` are line breaks; nothing else is changed.
fn expanded(quote: char, value: &str) -> String {
    match quote {
        '"' => value.replace("\\n", "\n").replace("\\r", "\r"),
        _ => value.to_owned(),
    }
}

/// A value in quotes, which may go over several lines, and what follows its line.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| QUOTES.contains(c))?;
    let inside = &text[1..];
    let mut escaped = false;
    let end = inside.find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    let (value, rest) = (&inside[..end], &inside[end + 1..]);
    let tail = rest.lines().next().unwrap_or_default().trim_start();
    if !matches!(tail.chars().next(), None | Some('#')) {
        return None;
    }
    Some((expanded(quote, value), after_line(rest)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_taken_as_dotenv_does() {
        let text = "# a comment\nA=1\nexport B = two # more\n\nC='it''s'\nD=\"a\\nb # c\" # d\nE=\nF=pa$$word\r\nG='#'\n\
                    H=\"over\nlines\"\nI.j-k=`\"'`\nA=2\nlast=x";
        let expected = [
            ("A", "2"),
            ("B", "two"),
            ("C", "it''s"),
            ("D", "a\nb # c"),
            ("E", ""),
            ("F", "pa$$word"),
            ("G", "#"),
            ("H", "over\nlines"),
            ("I.j-k", "\"'"),
            ("last", "x"),
        ];
        let read: Vec<_> = parse(text).unwrap().into_iter().collect();
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(read, expected);
    }

    #[test]
    fn quotes_within_quotes_are_taken_as_dotenv_does() {
        let text = "A=\"{\"type\":\"account\"}\"\nB=\"a\" \"b\"\nC=`x`y`\nD=\"C:\\dir\\\"\nE='x'\n\
                    G=\"-----BEGIN\r\nabc\r\n-----END\"\r\nH=1\rI='unclosed\r";
        let read = parse(text).unwrap();
        for (key, value) in [
            ("A", "{\"type\":\"account\"}"),
            ("B", "a\" \"b"),
            ("C", "x`y"),
            ("D", "C:\\dir\\"),
            ("E", "x"),
            ("G", "-----BEGIN\nabc\n-----END"),
            ("H", "1"),
            ("I", "'unclosed"),
        ] {
            assert_eq!(read[key], value, "{key}");
        }
    }

    #[test]
    fn what_is_no_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".dev.vars.test")).unwrap();
        assert!(read(dir.path(), None).unwrap().is_empty());
        let problems = read(dir.path(), Some("test")).unwrap_err();
        assert_eq!(problems[0].to_string(), ".dev.vars.test:1:1: is not a file");
    }

    #[test]
    fn lines_that_are_none_are_named_by_number_alone() {
        assert_eq!(parse("A=\"b\nc\"\nsecret\n=x\nB=1").unwrap_err(), [3, 4]);
        assert_eq!(parse("\rA").unwrap_err(), [2]);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".dev.vars"), "A=1\ns3cret").unwrap();
        let problems = read(dir.path(), Some("other")).unwrap_err();
        assert_eq!(
            problems[0].to_string(),
            ".dev.vars:2:1: the line is not KEY=VALUE"
        );
    }

    #[test]
    fn an_environment_has_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path(), None).unwrap().is_empty());
        std::fs::write(dir.path().join(".dev.vars"), "A=all").unwrap();
        std::fs::write(dir.path().join(".dev.vars.test"), "A=test").unwrap();
        let a = |env| read(dir.path(), env).unwrap()["A"].clone();
        assert_eq!(a(None), "all");
        assert_eq!(a(Some("test")), "test");
        assert_eq!(a(Some("other")), "all");
    }

    proptest! {
        /// Whatever is in a file is read, or its line is told, and what was written in quotes is what was meant.
        #[test]
        fn anything_is_read_or_numbered(text in "(?s).{0,40}", value in "[^'\\\\\r]{0,12}") {
            if let Err(lines) = parse(&text) {
                let lines_in = text.replace("\r\n", "\n").replace('\r', "\n").lines().count();
                let count = u32::try_from(lines_in).unwrap();
                prop_assert!(lines.iter().all(|line| (1..=count).contains(line)), "{lines:?}");
            }
            let read = parse(&format!("\nA='{value}' # more\nB=1\n")).unwrap();
            prop_assert_eq!(&read["A"], &value);
            prop_assert_eq!(&read["B"], "1");
        }
    }
}
