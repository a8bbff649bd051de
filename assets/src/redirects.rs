//! `_redirects`: where paths lead, a line each.

use std::collections::{HashMap, HashSet};

use http::StatusCode;
use url::Url;

use crate::addresses::{Kind, Wrong, address, has_host};
use crate::paths::collapsed;
use crate::pattern::{Pattern, Target, is_pattern};
use crate::settings::HtmlHandling;
use crate::text::{Line, Lines};

/// The most rules without, and with, stars and names.
const MOST_FIXED: usize = 2_000;
const MOST_PATTERNS: usize = 100;

/// Where paths lead.
#[derive(Debug, Clone, Default)]
pub struct Redirects {
    fixed: HashMap<String, Redirect>,
    patterns: Vec<(Pattern, Redirect)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Redirect {
    to: String,
    status: StatusCode,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Led {
    /// It is sent there.
    To(StatusCode, String),
    /// It is answered as if it were for this path, as a URL has it.
    As(String),
}

impl Redirects {
    /// Reads a file. Lines that are wrong are left out, and reported.
    #[must_use]
    pub fn read(text: &str, html: HtmlHandling) -> (Self, Vec<Line>) {
        let mut reader = Reader {
            html,
            redirects: Self::default(),
            seen: HashSet::new(),
            fixed: 0,
            patterns: 0,
        };
        let mut wrong = vec![];
        for (number, line) in Lines::of(text, &mut wrong) {
            match reader.line(line) {
                Ok(()) => {}
                Err(message) => wrong.push(Line { number, message }),
            }
            if reader.patterns > MOST_PATTERNS {
                break;
            }
        }
        wrong.sort();
        (reader.redirects, wrong)
    }

    /// How many rules there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.fixed.len() + self.patterns.len()
    }

    /// Where a request is led, if anywhere.
    pub(crate) fn lead(&self, url: &Url) -> Option<Led> {
        let target = Target {
            host: url.host_str().unwrap_or_default(),
            path: url.path(),
        };
        let Redirect { to, status } = match self.fixed.get(url.path()) {
            Some(fixed) => fixed.clone(),
            None => self.patterns.iter().find_map(|(pattern, redirect)| {
                let to = pattern.parts(target)?.fill(&redirect.to)?;
                let to = to.trim();
                let scheme = to.split("://").next().unwrap_or_default();
                let is_url =
                    to.len() > scheme.len() && scheme.bytes().all(|b| b.is_ascii_alphanumeric());
                let to = if is_url { to.to_owned() } else { collapsed(to) };
                Some(Redirect { to, ..*redirect })
            })?,
        };
        let to = url.join(&to).ok()?;
        if status == StatusCode::OK {
            return Some(Led::As(to.path().to_owned()));
        }
        Some(Led::To(status, location(url, to)))
    }
}

/// What says where to go: the request's query goes along unless there is another.
fn location(url: &Url, mut to: Url) -> String {
    if to.query().is_none_or(str::is_empty) {
        to.set_query(url.query().filter(|query| !query.is_empty()));
    }
    // A path that begins so would be another host.
    if to.origin() != url.origin() || to.path().starts_with("//") {
        return to.into();
    }
    to[url::Position::BeforePath..].to_owned()
}

struct Reader {
    html: HtmlHandling,
    redirects: Redirects,
    seen: HashSet<String>,
    fixed: usize,
    patterns: usize,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), Wrong> {
        let words: Vec<&str> = (line.split_whitespace())
            .enumerate()
            .take_while(|(n, word)| *n == 0 || !word.starts_with('#'))
            .map(|(_, word)| word)
            .collect();
        let (from, to, status) = match *words {
            [from, to] => (from, to, "302"),
            [from, to, status] => (from, to, status),
            _ => {
                let count = words.len();
                return Err(format!("has {count} words, not 2 or 3: /from /to 302"));
            }
        };
        let from = address(from, Kind::Path)?;
        // After the first pattern, all rules are tried in their order.
        let is_fixed = self.patterns == 0 && !is_pattern(&from);
        self.count(is_fixed)?;
        let to = address(to, Kind::Target)?;
        let status = status_of(status)?;
        if self.is_endless(&from, &to) {
            return Err(
                "leads to itself: the end .html or /index is taken off, and this rule comes again"
                    .to_owned(),
            );
        }
        if !self.seen.insert(from.clone()) {
            return Err(format!("there is a rule for {from} already, which counts"));
        }
        if status == StatusCode::OK && has_host(&to) {
            return Err(format!("{to} has a host, and 200 is for paths alone"));
        }
        let redirect = Redirect { to, status };
        if is_fixed {
            self.redirects.fixed.insert(from, redirect);
        } else {
            self.redirects
                .patterns
                .push((Pattern::new(&from)?, redirect));
        }
        Ok(())
    }

    fn count(&mut self, is_fixed: bool) -> Result<(), Wrong> {
        if is_fixed {
            self.fixed += 1;
            if self.fixed > MOST_FIXED {
                return Err(format!(
                    "is one rule too many: {MOST_FIXED} without * and :names are allowed"
                ));
            }
        } else {
            self.patterns += 1;
            if self.patterns > MOST_PATTERNS {
                return Err(format!(
                    "is one rule too many: {MOST_PATTERNS} with * and :names, or after such a one, are allowed; this and \
                     what follows has no effect"
                ));
            }
        }
        Ok(())
    }

    fn is_endless(&self, from: &str, to: &str) -> bool {
        let is_index = to.ends_with("/index") || to.ends_with("/index.html");
        let all = from.ends_with("/*");
        let folder = from.ends_with('/') && self.html != HtmlHandling::None;
        !has_host(to) && is_index && (all || folder)
    }
}

fn status_of(text: &str) -> Result<StatusCode, Wrong> {
    let known = ["200", "301", "302", "303", "307", "308"];
    let status = known.contains(&text).then(|| text.parse().ok()).flatten();
    status.ok_or_else(|| {
        format!(
            "{text} is no status of a redirect: {} are",
            known.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(text: &str, url: &str) -> Option<Led> {
        let (redirects, wrong) = Redirects::read(text, HtmlHandling::default());
        assert_eq!(wrong, []);
        redirects.lead(&Url::parse(url).unwrap())
    }

    fn to(status: u16, to: &str) -> Option<Led> {
        Some(Led::To(
            StatusCode::from_u16(status).unwrap(),
            to.to_owned(),
        ))
    }

    #[test]
    fn paths_lead_elsewhere() {
        let rules = "# comment\n/a /b\n/c https://x.y/d#e 301 # why\n/f/* /g/:splat?h 308\n/i /j 307\n\n/p /q 200\n/n/:x //evil.com/:x";
        let led = |url: &str| led(rules, url);
        assert_eq!(led("http://h/a"), to(302, "/b"));
        assert_eq!(led("http://h/a?k=1"), to(302, "/b?k=1"));
        assert_eq!(led("http://h/c?k"), to(301, "https://x.y/d?k#e"));
        assert_eq!(led("http://h/f/a/b?k"), to(308, "/g/a/b?h"));
        assert_eq!(led("http://h/i"), to(307, "/j"));
        assert_eq!(
            led("http://h/n/1"),
            to(302, "/evil.com/1"),
            "patterns do not make hosts"
        );
        assert_eq!(led("http://h/p"), Some(Led::As("/q".to_owned())));
        assert_eq!(led("http://h/A"), None);
    }

    #[test]
    fn a_path_does_not_become_a_host() {
        let rules = "/old/* https://h.example/:splat 301";
        let asked = "https://h.example/old//evil.com/x";
        assert_eq!(led(rules, asked), to(301, "https://h.example//evil.com/x"));
    }

    #[test]
    fn fixed_rules_before_patterns_go_first() {
        let rules = "/a /1\n/* /2\n/b /3";
        assert_eq!(led(rules, "http://h/a"), to(302, "/1"));
        assert_eq!(led(rules, "http://h/b"), to(302, "/2"));
    }

    #[test]
    fn lines_that_are_wrong_are_told() {
        let text = "/a\n/b /c 404\n/d e\nhttps://x.y/f /g\n/h /i\n/h /j\n/k/* /index.html\n/l/ /l/index.html\n/m https://x.y 200\n/*/* /n";
        let (redirects, wrong) = Redirects::read(text, HtmlHandling::default());
        let lines: Vec<_> = wrong.iter().map(|line| line.number).collect();
        assert_eq!(lines, [1, 2, 3, 4, 6, 7, 8, 9, 10], "{wrong:?}");
        assert_eq!(redirects.count(), 1);
        assert!(wrong[1].message.contains("404 is no status"));
    }

    #[test]
    fn there_is_an_end_of_rules() {
        let line = |n: usize| format!("/{n} /to\n");
        let text: String = (0..2_001).map(line).collect();
        let (redirects, wrong) = Redirects::read(&text, HtmlHandling::default());
        assert_eq!(
            (redirects.count(), wrong.len(), wrong[0].number),
            (2_000, 1, 2_001)
        );
        let text: String = (0..105).map(|n| format!("/{n}/* /to\n")).collect();
        let (redirects, wrong) = Redirects::read(&text, HtmlHandling::default());
        assert_eq!(
            (redirects.count(), wrong.len(), wrong[0].number),
            (100, 1, 101)
        );
        let long = format!("/{} /to", "a".repeat(2_000));
        assert_eq!(Redirects::read(&long, HtmlHandling::default()).1.len(), 1);
    }
}
