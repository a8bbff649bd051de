//! What a configuration says about how assets are served.

use serde::{Deserialize, Serialize};

use crate::glob::Glob;
use crate::headers::Headers;
use crate::redirects::Redirects;

/// Which paths mean an HTML file, and which of them are sent on to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HtmlHandling {
    /// `a.html` is at `/a`, and `a/index.html` at `/a/`.
    #[default]
    AutoTrailingSlash,
    /// Both are at `/a/`.
    ForceTrailingSlash,
    /// Both are at `/a`.
    DropTrailingSlash,
    /// Each file is where its name says.
    None,
}

/// What is answered where no file is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotFoundHandling {
    /// 404.
    #[default]
    None,
    /// 404 with the nearest `404.html`.
    NotFoundPage,
    /// 200 with `/index.html`.
    SinglePageApplication,
}

/// How assets are served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Of HTML files.
    pub html: HtmlHandling,
    /// Of paths that mean no file.
    pub not_found: NotFoundHandling,
    /// For which requests the server is asked and not the assets.
    pub server_first: ServerFirst,
    /// Whether a browser that goes to a page gets what `not_found` says, and the server is not asked.
    pub navigation_prefers_assets: bool,
    /// Whether there is a server at all. Without one, assets answer everything.
    pub has_server: bool,
}

/// For which requests the server is asked and not the assets, by their paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFirst {
    server: Vec<Glob>,
    assets: Vec<Glob>,
}

/// The most rules, and the most bytes of one.
const MOST_RULES: usize = 100;
const MOST_BYTES: usize = 100;

impl ServerFirst {
    /// For those whose paths match one of the rules, in which `*` stands for anything, and no exception: a rule that begins
    /// with `!`.
    #[must_use]
    pub fn new(rules: &[impl AsRef<str>]) -> Self {
        let mut this = Self::default();
        for rule in rules.iter().map(AsRef::as_ref) {
            match rule.strip_prefix('!') {
                Some(exception) => this.assets.push(Glob::new(exception)),
                None => this.server.push(Glob::new(rule)),
            }
        }
        this
    }

    /// What is wrong with rules: with one of them, by its place, or with all.
    #[must_use]
    pub fn check(rules: &[impl AsRef<str>]) -> Vec<(Option<usize>, String)> {
        let rules: Vec<&str> = rules.iter().map(AsRef::as_ref).collect();
        let mut wrong = vec![];
        if rules.len() > MOST_RULES {
            let message = format!("has {} rules, and {MOST_RULES} are allowed", rules.len());
            wrong.push((None, message));
        }
        for (n, rule) in rules.iter().enumerate() {
            wrong.extend(
                wrong_with(&rules, n).map(|message| (Some(n), format!("{rule:?} {message}"))),
            );
        }
        if !rules.is_empty() && rules.iter().all(|rule| rule.starts_with('!')) {
            let message = "has exceptions only: add what they are exceptions of, such as \"/*\"";
            wrong.push((None, message.to_owned()));
        }
        wrong
    }

    /// Whether there are rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.server.is_empty()
    }

    /// Who answers a request for this path, as the URL has it: the server, `true`, or assets. Nothing if no rule says.
    pub(crate) fn decides(&self, path: &str) -> Option<bool> {
        let says = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(path));
        if says(&self.assets) {
            Some(false)
        } else {
            says(&self.server).then_some(true)
        }
    }
}

/// What is wrong with the rule in that place.
fn wrong_with(rules: &[&str], n: usize) -> Option<String> {
    let rule = rules[n];
    let is_exception = rule.starts_with('!');
    if !rule.trim_start_matches('!').starts_with('/') || rule.starts_with("!!") {
        return Some("must begin with / or !/".to_owned());
    }
    if rule.len() > MOST_BYTES {
        return Some(format!("has more than {MOST_BYTES} bytes"));
    }
    if rules[..n].contains(&rule) {
        return Some("is there twice".to_owned());
    }
    let others = rules.iter().enumerate().filter(|(other, _)| *other != n);
    others
        .filter(|(_, other)| other.starts_with('!') == is_exception && **other != rule)
        .find_map(|(_, other)| {
            let start = other.strip_suffix('*')?;
            rule.starts_with(start)
                .then(|| format!("says nothing that {other:?} does not say"))
        })
}

/// How a folder's assets are served: the settings, and what is in its `_headers` and `_redirects`.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// What the configuration says.
    pub settings: Settings,
    /// `_headers`.
    pub headers: Headers,
    /// `_redirects`.
    pub redirects: Redirects,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_go_before_rules() {
        let first = ServerFirst::new(&["/api/*", "!/api/docs/*", "/o*h"]);
        assert_eq!(first.decides("/api/x"), Some(true));
        assert_eq!(first.decides("/api/docs/x"), Some(false));
        assert_eq!(first.decides("/oauth"), Some(true));
        assert_eq!(first.decides("/oauth/"), None);
        assert_eq!(first.decides("/API/x"), None);
        assert_eq!(ServerFirst::new(&["/*"]).decides("/x"), Some(true));
        assert_eq!(ServerFirst::default().decides("/x"), None);
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let wrong = |rules: &[&str]| ServerFirst::check(rules);
        let texts = |rules: &[&str]| -> Vec<String> {
            wrong(rules)
                .into_iter()
                .map(|(_, message)| message)
                .collect()
        };
        assert_eq!(texts(&["api"]), ["\"api\" must begin with / or !/"]);
        assert_eq!(wrong(&["/a", "!api"])[0].0, Some(1));
        assert_eq!(texts(&["/a", "/a"]), ["\"/a\" is there twice"]);
        assert_eq!(
            texts(&["/a/*", "/a/b"]),
            ["\"/a/b\" says nothing that \"/a/*\" does not say"]
        );
        assert!(wrong(&["/a/*", "!/a/b"]).is_empty() && wrong(&[]).is_empty());
        assert!(texts(&["!/a"])[0].contains("exceptions only"));
        assert!(texts(&[&format!("/{}", "a".repeat(100))])[0].contains("more than 100"));
        assert!(
            wrong(&vec!["/a"; 101])
                .iter()
                .any(|(place, _)| place.is_none())
        );
    }
}
