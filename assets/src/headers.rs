//! `_headers`: what responses for addresses have besides, or do not have.

use std::collections::HashSet;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, TRANSFER_ENCODING,
};
use url::Url;

use crate::addresses::{Kind, Wrong, address};
use crate::pattern::{Pattern, Target};
use crate::text::{Line, Lines};

/// The most rules.
const MOST_RULES: usize = 100;

/// What responses have besides.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    rules: Vec<Rule>,
}

/// What those for some addresses have.
#[derive(Debug, Clone)]
struct Rule {
    address: String,
    pattern: Pattern,
    line: u32,
    /// Their values are texts with `:names`.
    set: Vec<(HeaderName, String)>,
    unset: Vec<HeaderName>,
}

impl Headers {
    /// Reads a file. Lines that are wrong are left out, and reported.
    #[must_use]
    pub fn read(text: &str) -> (Self, Vec<Line>) {
        let mut reader = Reader::default();
        for (number, line) in Lines::of(text, &mut reader.wrong) {
            if let Err(message) = reader.line(number, line) {
                reader.wrong.push(Line { number, message });
            }
            if reader.is_full {
                break;
            }
        }
        reader.finish();
        let Reader {
            rules, mut wrong, ..
        } = reader;
        wrong.sort();
        (Self { rules }, wrong)
    }

    /// How many rules there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rules.len()
    }

    /// Adds to the headers of a response, and takes from them, what the rules say for its request, one rule after the other. A
    /// header of one rule takes the place of the response's own, and is added to that of a rule before.
    pub(crate) fn apply(&self, url: &Url, headers: &mut HeaderMap) {
        let target = Target {
            host: url.host_str().unwrap_or_default(),
            path: url.path(),
        };
        let mut ours = HashSet::new();
        for rule in &self.rules {
            let Some(parts) = rule.pattern.parts(target) else {
                continue;
            };
            for name in &rule.unset {
                headers.remove(name);
            }
            for (name, text) in &rule.set {
                // What a URL's path puts into it is ASCII.
                let filled = parts.fill(text);
                let Some(value) = filled.and_then(|text| HeaderValue::from_str(&text).ok()) else {
                    continue;
                };
                if ours.insert(name) {
                    headers.insert(name, value);
                } else {
                    append(headers, name, value);
                }
            }
        }
    }
}

/// Adds a value to those that are there: cookies each in a line of its own, others in one.
fn append(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    let joined = match headers.get(name) {
        Some(known) if *name != SET_COOKIE => {
            HeaderValue::from_bytes(&[known.as_bytes(), b", ", value.as_bytes()].concat()).ok()
        }
        _ => None,
    };
    match joined {
        Some(joined) => drop(headers.insert(name, joined)),
        None => drop(headers.append(name, value)),
    }
}

#[derive(Default)]
struct Reader {
    rules: Vec<Rule>,
    rule: Option<Rule>,
    is_full: bool,
    wrong: Vec<Line>,
}

impl Reader {
    fn line(&mut self, number: u32, line: &str) -> Result<(), Wrong> {
        if line.starts_with('/')
            || line
                .split_whitespace()
                .next()
                .is_some_and(|word| word.contains("://"))
        {
            return self.begin(number, line);
        }
        let Some((name, value)) = line.split_once(':') else {
            return match (line.strip_prefix("! "), &mut self.rule) {
                (_, None) => Err("a rule begins with a path, such as /static/*".to_owned()),
                (Some(name), Some(rule)) => {
                    rule.unset.push(header(name.trim())?);
                    Ok(())
                }
                (None, Some(_)) => Err("must be NAME: VALUE, or ! NAME".to_owned()),
            };
        };
        let (name, value) = (header(name.trim())?, value.trim());
        if value.is_empty() {
            return Err(format!("{name} has no value; ! {name} takes it away"));
        }
        HeaderValue::from_str(value).map_err(|_| {
            format!("{name} has a value that cannot be a header's: it has control characters")
        })?;
        let Some(rule) = &mut self.rule else {
            return Err("a path comes before headers, such as /static/*".to_owned());
        };
        match rule.set.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = format!("{known}, {value}"),
            None => rule.set.push((name, value.to_owned())),
        }
        Ok(())
    }

    fn begin(&mut self, number: u32, line: &str) -> Result<(), Wrong> {
        if self.rules.len() + usize::from(self.rule.is_some()) >= MOST_RULES {
            self.is_full = true;
            return Err(format!(
                "is one rule too many: {MOST_RULES} are allowed; this and what follows has no effect"
            ));
        }
        self.finish();
        let address = address(line, Kind::Page)?;
        let pattern = Pattern::new(&address)?;
        self.rule = Some(Rule {
            address,
            pattern,
            line: number,
            set: vec![],
            unset: vec![],
        });
        Ok(())
    }

    /// The rule that was begun is over. If it says nothing, that is wrong.
    fn finish(&mut self) {
        let Some(rule) = self.rule.take() else {
            return;
        };
        if rule.set.is_empty() && rule.unset.is_empty() {
            let message = "has no headers: it has no effect".to_owned();
            self.wrong.push(Line {
                number: rule.line,
                message,
            });
            return;
        }
        // A later rule for the same address takes its place.
        match self
            .rules
            .iter_mut()
            .find(|known| known.address == rule.address)
        {
            Some(known) => *known = rule,
            None => self.rules.push(rule),
        }
    }
}

/// The name of a header that may be set, or taken away.
fn header(name: &str) -> Result<HeaderName, Wrong> {
    let name: HeaderName =
        (name.parse()).map_err(|_| format!("{name:?} cannot be a header's name"))?;
    if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
        return Err(format!("{name} is not for rules to say: it has no effect"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, url: &str) -> Vec<String> {
        let (headers, wrong) = Headers::read(text);
        assert_eq!(wrong, []);
        let mut map = HeaderMap::new();
        map.insert("etag", HeaderValue::from_static("\"1\""));
        headers.apply(&Url::parse(url).unwrap(), &mut map);
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<String> = map.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn rules_add_up() {
        let text = "/*\n  X-A: 1\n  X-A: 2\n/b/*\n  X-A: 3\n  ! ETag\n  X-Splat: /:splat\n  Set-Cookie: a=b\n/b/:c\n Set-Cookie: c=:c\n";
        assert_eq!(applied(text, "http://h/"), ["etag: \"1\"", "x-a: 1, 2"]);
        assert_eq!(
            applied(text, "http://h/b/d"),
            [
                "set-cookie: a=b",
                "set-cookie: c=d",
                "x-a: 1, 2, 3",
                "x-splat: /d"
            ]
        );
    }

    #[test]
    fn a_rule_may_be_for_a_host() {
        let text = "https://:sub.example.com/*\n  X-Robots-Tag: noindex\n  ETag: :sub";
        assert_eq!(
            applied(text, "http://a.example.com:80/x"),
            ["etag: a", "x-robots-tag: noindex"]
        );
        assert_eq!(applied(text, "http://example.com/x"), ["etag: \"1\""]);
    }

    #[test]
    fn a_later_rule_for_an_address_takes_the_place_of_the_first() {
        assert_eq!(
            applied("/a\n A: 1\n/*\n A: 2\n/a\n A: 3", "http://h/a")[0],
            "a: 3, 2"
        );
    }

    #[test]
    fn lines_that_are_wrong_are_told() {
        let text = "X-A: 1\n! X-B\n/a\n/b\n X-A:\n X A: 1\n : 1\n nothing\n Content-Length: 3\n X-B: \u{7}\n X-C: 1\nhttp://x/y\n X-D: 1\n/*/*\n/z";
        let (headers, wrong) = Headers::read(text);
        let lines: Vec<_> = wrong.iter().map(|line| line.number).collect();
        assert_eq!(
            lines,
            [1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15],
            "{wrong:?}"
        );
        assert_eq!(headers.count(), 1);
    }

    #[test]
    fn there_is_an_end_of_rules() {
        let text: String = (0..105).map(|n| format!("/{n}\n A: b\n")).collect();
        let (headers, wrong) = Headers::read(&text);
        assert_eq!(
            (headers.count(), wrong.len(), wrong[0].number),
            (100, 1, 201)
        );
    }
}
