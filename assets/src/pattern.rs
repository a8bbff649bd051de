//! Patterns of `_headers` and `_redirects`: addresses with `*` and `:names`.

use regex::{Captures, Regex};

use crate::addresses::{Wrong, has_host};

/// Which addresses are meant, and what their parts are called: a `*` is `:splat`.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    expression: Regex,
    has_host: bool,
}

/// Where a request goes, as patterns see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'u> {
    /// The host's name, without a port.
    pub host: &'u str,
    /// The path, percent-encoded.
    pub path: &'u str,
}

/// What the parts of a pattern stand for.
pub(crate) struct Parts(Vec<(String, String)>);

/// The most parts of a pattern: each costs time with every request.
const MOST_PARTS: usize = 20;

/// The most bytes of a text with its parts filled in.
const MOST_FILLED: usize = 16 << 10;

/// Whether an address has stars or names.
pub(crate) fn is_pattern(address: &str) -> bool {
    address.contains('*')
        || address.match_indices(':').any(|(at, _)| {
            let next = address[at + 1..].chars().next();
            next.is_some_and(|c| c.is_ascii_alphabetic())
        })
}

impl Pattern {
    /// The pattern of an address.
    ///
    /// # Errors
    /// One of its names is there twice, or there are too many.
    pub fn new(address: &str) -> Result<Self, Wrong> {
        let has_host = has_host(address);
        let path_at = match has_host {
            true => address
                .match_indices('/')
                .nth(2)
                .map_or(address.len(), |(at, _)| at),
            false => 0,
        };
        let mut expression = String::from(r"\A");
        let mut rest = address;
        while let Some(c) = rest.chars().next() {
            let name = match c {
                ':' => name(&rest[1..]),
                _ => "",
            };
            let at = address.len() - rest.len();
            let mut length = c.len_utf8();
            if c == '*' {
                expression.push_str("(?<splat>.*)");
            } else if name.is_empty() {
                expression.push_str(&regex::escape(&rest[..length]));
            } else {
                // In a host dots end it, too.
                let ends = if at < path_at { "/." } else { "/" };
                expression.push_str(&format!("(?<{name}>[^{ends}]+)"));
                length += name.len();
            }
            rest = &rest[length..];
        }
        expression.push_str(r"\z");
        if expression.matches("(?<").count() > MOST_PARTS {
            return Err(format!(
                "{address} has more than {MOST_PARTS} :names: it has no effect"
            ));
        }
        match Regex::new(&expression) {
            Ok(expression) => Ok(Self {
                expression,
                has_host,
            }),
            Err(_) => Err(format!(
                "{address} has * or a :name twice: it has no effect"
            )),
        }
    }

    /// What the parts stand for, if the target is meant.
    pub fn parts(&self, target: Target<'_>) -> Option<Parts> {
        let Target { host, path } = target;
        // Whatever the scheme is: a rule is not escaped by another one.
        let whole = match self.has_host {
            true => format!("https://{host}{path}"),
            false => path.to_owned(),
        };
        let captures = self.expression.captures(&whole)?;
        Some(self.named(&captures))
    }

    fn named(&self, captures: &Captures<'_>) -> Parts {
        let names = self.expression.capture_names().flatten();
        let parts = names.filter_map(|name| {
            let part = captures.name(name)?;
            Some((name.to_owned(), part.as_str().to_owned()))
        });
        Parts(parts.collect())
    }
}

/// The name at the start of `text`, if there is one.
fn name(text: &str) -> &str {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts { &text[..end] } else { "" }
}

impl Parts {
    /// `text` with the parts in place of their `:names`; nothing if that is too long. What a part has in it is no name.
    pub fn fill(&self, text: &str) -> Option<String> {
        let mut pieces = text.split(':');
        let mut filled = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let named = |(name, part): &(String, String)| {
                Some((part.clone(), piece.strip_prefix(name.as_str())?))
            };
            match self.0.iter().find_map(named) {
                Some((part, rest)) => filled.extend([&part, rest]),
                None => filled.extend([":", piece]),
            }
            if filled.len() > MOST_FILLED {
                return None;
            }
        }
        Some(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pattern: &str, path: &str, text: &str) -> Option<String> {
        let target = Target {
            host: "shop.example.com",
            path,
        };
        let parts = Pattern::new(pattern).unwrap().parts(target)?;
        parts.fill(text)
    }

    #[test]
    fn parts_have_names() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            filled("/blog/*", "/blog/a/b", "/news/:splat"),
            some("/news/a/b")
        );
        assert_eq!(filled("/blog/*", "/blog/", "/news/:splat"), some("/news/"));
        assert_eq!(
            filled("/:y/:m.html", "/2026/11.html", "/:m-:y"),
            some("/11-2026")
        );
        assert_eq!(filled("/:y/:m", "/2026/11/1", ""), None);
        assert_eq!(filled("/a.b", "/aXb", ""), None);
        assert_eq!(
            filled("https://:sub.example.com/*", "/x", ":sub :splat"),
            some("shop x")
        );
        assert_eq!(
            filled("https://:sub.com/*", "/x", ""),
            None,
            "a name in a host has no dots"
        );
        assert_eq!(filled("/:8/x", "/:8/x", "same"), some("same"));
    }

    #[test]
    fn what_a_part_has_in_it_is_no_name() {
        assert_eq!(
            filled("/:a/:b", "/:b:b/:a", ":a-:b-:a:c").as_deref(),
            Some(":b:b-:a-:b:b:c")
        );
        let long = format!("/{}", "x".repeat(1_000));
        assert!(filled("/:a", &long, &":a".repeat(16)).is_some());
        assert_eq!(filled("/:a", &long, &":a".repeat(17)), None);
    }

    #[test]
    fn names_are_there_once() {
        assert!(Pattern::new("/*/*").unwrap_err().contains("twice"));
        assert!(Pattern::new("/:a/:a").is_err());
        let many = |count| (0..count).map(|n| format!("/:n{n}x")).collect::<String>();
        assert!(Pattern::new(&many(20)).is_ok() && Pattern::new(&many(21)).is_err());
        assert!(is_pattern("/a/:b") && is_pattern("/*") && !is_pattern("/a:1"));
    }
}
