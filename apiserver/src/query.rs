//! What a list or a watch asks for: the parameters of its URL.

use std::time::Duration;

use url::form_urlencoded;

use crate::selector::Selector;
use crate::status::Refusal;
use crate::table::Include;
use crate::token::Continue;

/// The most items that a page of a list has.
const MOST_ITEMS: u64 = 1_000;
/// A watch ends by itself after so long, if the client asks for nothing else.
const WATCH: Duration = Duration::from_secs(30 * 60);
/// And at the latest then.
const LONGEST_WATCH: Duration = Duration::from_secs(2 * 3600);

/// What a list or a watch asks for.
#[derive(Debug, Clone)]
pub struct Query {
    /// Of which workers.
    pub selector: Selector,
    /// How many of a list, at most.
    pub limit: Option<usize>,
    /// Where a list goes on.
    pub proceed: Option<String>,
    /// After what a watch begins; nothing: with what there is.
    pub version: Option<String>,
    /// Whether it is a watch.
    pub watches: bool,
    /// Whether a watch tells now and then how far it is.
    pub bookmarks: bool,
    /// When a watch ends.
    pub timeout: Duration,
    /// What comes with each row of a table.
    pub include: Include,
}

/// The first value of a parameter that is not empty.
#[must_use]
pub fn parameter(query: &str, wanted: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let value = pairs.find_map(|(name, value)| (name == wanted).then(|| value.into_owned()));
    value.filter(|it| !it.is_empty())
}

/// Whether it is a watch that is asked for.
#[must_use]
pub fn watches(query: &str) -> bool {
    matches!(parameter(query, "watch").as_deref(), Some("true" | "1"))
}

/// The `resourceVersion` from which a watch, or a list of `namespace` or of all, goes on; nothing if it begins, or cannot be meant.
#[must_use]
pub fn goes_on_from(query: &str, namespace: Option<&str>) -> Option<u64> {
    let version = if watches(query) {
        parameter(query, "resourceVersion")?.parse().ok()?
    } else {
        let token = parameter(query, "continue")?;
        Continue::decode(&token, namespace).ok()?.version
    };
    Some(version).filter(|it| *it != 0)
}

impl Query {
    /// Reads the query of a URL.
    ///
    /// # Errors
    ///
    /// A parameter cannot be understood, or asks for what there is not.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let text = |name| parameter(query, name).unwrap_or_default();
        if flag(query, "sendInitialEvents")? {
            return Err(Refusal::invalid(
                "sendInitialEvents is not served: list first, and watch from the list's resourceVersion",
            ));
        }
        look_at_version_match(query)?;
        let timeout = number(query, "timeoutSeconds")?.filter(|it| *it > 0);
        let limit = number(query, "limit")?.filter(|it| *it > 0);
        // A server may give less: what is given at once is held in memory.
        let limit = limit.map(|it| it.min(MOST_ITEMS));
        Ok(Self {
            selector: Selector::parse(&text("labelSelector"), &text("fieldSelector"))?,
            limit: limit.map(|it| usize::try_from(it).unwrap_or(usize::MAX)),
            proceed: parameter(query, "continue"),
            version: parameter(query, "resourceVersion").filter(|it| it != "0"),
            watches: flag(query, "watch")?,
            bookmarks: flag(query, "allowWatchBookmarks")?,
            timeout: timeout
                .map_or(WATCH, Duration::from_secs)
                .min(LONGEST_WATCH),
            include: Include::parse(&text("includeObject"))?,
        })
    }
}

/// A list is never older than what is asked for: it is read when it is asked for. What was before is not kept.
fn look_at_version_match(query: &str) -> Result<(), Refusal> {
    let Some(wanted) = parameter(query, "resourceVersionMatch") else {
        return Ok(());
    };
    let version = parameter(query, "resourceVersion");
    let wrong = match (&*wanted, version.as_deref()) {
        _ if watches(query) => "is forbidden for a watch",
        _ if parameter(query, "continue").is_some() => "is forbidden with continue",
        (_, None) => "is forbidden without resourceVersion",
        ("Exact", Some("0")) => "cannot be Exact for the resourceVersion 0",
        ("NotOlderThan", Some(_)) => return Ok(()),
        ("Exact", Some(version)) => {
            return Err(Refusal::expired(format!(
                "what there was at the resourceVersion {version} is not kept: list without resourceVersionMatch=Exact"
            )));
        }
        _ => "may be NotOlderThan or Exact",
    };
    Err(Refusal::invalid(format!("resourceVersionMatch {wrong}")))
}

fn flag(query: &str, name: &str) -> Result<bool, Refusal> {
    match parameter(query, name).as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(Refusal::bad_request(format!(
            "{name} is {other:?}: it may be true or false"
        ))),
    }
}

fn number(query: &str, name: &str) -> Result<Option<u64>, Refusal> {
    let text = parameter(query, name);
    let parsed = text.as_deref().map(str::parse).transpose();
    parsed.map_err(|_| Refusal::bad_request(format!("{name} is a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_left_open() {
        let query = Query::parse("limit=0&resourceVersion=0&continue=").unwrap();
        assert_eq!(query.limit, None);
        assert_eq!(query.version, None);
        assert_eq!(query.proceed, None);
        assert!(!query.watches && !query.bookmarks);
        Query::parse("resourceVersion=7&resourceVersionMatch=NotOlderThan").unwrap();
    }

    #[test]
    fn what_is_said_is_read() {
        let query = "watch=1&allowWatchBookmarks=true&timeoutSeconds=7&resourceVersion=42&limit=500\
            &fieldSelector=spec.address%3Da%23b";
        let query = Query::parse(query).unwrap();
        assert!(query.watches && query.bookmarks);
        assert_eq!(query.timeout, Duration::from_secs(7));
        assert_eq!(query.version.as_deref(), Some("42"));
        assert_eq!(query.limit, Some(500));
        assert_ne!(query.selector, Selector::default());
    }

    #[test]
    fn watches_and_further_pages_go_on_from_a_version() {
        let token = Continue {
            namespace: "a".into(),
            class: "shop".into(),
            after: None,
            version: 7,
        };
        let page = format!("continue={}&resourceVersion=9", token.encode());
        for (query, expected) in [
            ("watch=1&resourceVersion=9&continue=x", Some(9)),
            ("watch=true&resourceVersion=0", None),
            ("watch=1&resourceVersion=x", None),
            ("resourceVersion=9", None),
            ("continue=x", None),
            (&page, Some(7)),
        ] {
            assert_eq!(goes_on_from(query, Some("a")), expected, "{query}");
        }
        assert_eq!(goes_on_from(&page, Some("b")), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (query, code) in [
            ("limit=many", 400),
            ("watch=maybe", 400),
            ("labelSelector=a%3Db", 400),
            ("includeObject=All", 400),
            ("watch=1&sendInitialEvents=true", 422),
            ("resourceVersionMatch=Exact&resourceVersion=7", 410),
            ("resourceVersionMatch=Exact&resourceVersion=0", 422),
            ("resourceVersionMatch=Exact", 422),
            ("resourceVersionMatch=Newest&resourceVersion=7", 422),
            ("resourceVersionMatch=Exact&continue=x", 422),
            ("resourceVersionMatch=Exact&watch=1", 422),
        ] {
            assert_eq!(Query::parse(query).unwrap_err().code, code, "{query}");
        }
    }
}
