//! Which responses a cache keeps, for how long, and how it answers with them: HTTP's rules for caches (RFC 9111), as far as
//! Cloudflare's Cache API goes by them.

use std::ops::Range;
use std::time::{Duration, SystemTime};

/// Names and values of headers, in their order.
pub type Headers = Vec<(String, String)>;

/// For how long responses are kept that do not say: by their status, as Cloudflare does. Others are not kept.
const BY_STATUS: [(&[u16], Duration); 3] = [
    (&[200, 206, 301], Duration::from_secs(120 * 60)),
    (&[302, 303], Duration::from_secs(20 * 60)),
    (&[404, 410], Duration::from_secs(3 * 60)),
];

/// A header's value, of several those that stand in the list that they make.
fn value(headers: &[(String, String)], wanted: &str) -> Option<String> {
    let mut values = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
        .map(|(_, value)| value.trim());
    let first = values.next()?.to_owned();
    Some(values.fold(first, |all, value| format!("{all}, {value}")))
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// The directives of `Cache-Control` that matter.
#[derive(Default)]
struct Directives {
    is_refused: bool,
    max_age: Option<Duration>,
    shared_max_age: Option<Duration>,
    /// Headers that are not to be kept.
    private: Vec<String>,
}

impl Directives {
    fn read(text: &str) -> Self {
        let mut read = Self::default();
        for directive in items(text) {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (directive, None),
            };
            // What is no number has ended already.
            let seconds =
                || Duration::from_secs(value.and_then(|text| text.parse().ok()).unwrap_or(0));
            match (name.to_ascii_lowercase().as_str(), value) {
                ("no-store", _) | ("no-cache" | "private", None) => read.is_refused = true,
                ("no-cache" | "private", Some(names)) => {
                    read.private
                        .extend(names.split(',').map(|name| name.trim().to_owned()));
                }
                ("max-age", _) => read.max_age = Some(seconds()),
                ("s-maxage", _) => read.shared_max_age = Some(seconds()),
                _ => {}
            }
        }
        read
    }
}

/// The items of a list, in which commas between quotes separate nothing.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let items = text.split(move |c| {
        is_quoted ^= c == '"';
        c == ',' && !is_quoted
    });
    items.map(str::trim).filter(|item| !item.is_empty())
}

/// What of a response's headers a cache keeps, and for how long from `now` on; nothing if it does not keep the response.
///
/// One that sets cookies is for one client, and is not kept, unless `Cache-Control: private=Set-Cookie` says that it may be
/// without.
#[must_use]
pub fn kept(status: u16, mut headers: Headers, now: SystemTime) -> Option<(Headers, Duration)> {
    let control = value(&headers, "cache-control").unwrap_or_default();
    let control = Directives::read(&control);
    let is_private = |name: &str| {
        let mut private = control.private.iter();
        private.any(|private| private.eq_ignore_ascii_case(name))
    };
    headers.retain(|(name, _)| !is_private(name));
    if control.is_refused || value(&headers, "set-cookie").is_some() {
        return None;
    }
    let told = control.shared_max_age.or(control.max_age);
    let lifetime = match (told, value(&headers, "expires")) {
        (Some(age), _) => age,
        (None, Some(expires)) => {
            let made = value(&headers, "date").and_then(|text| date(&text));
            let ends = date(&expires)?;
            ends.duration_since(made.unwrap_or(now)).ok()?
        }
        (None, None) => {
            let known = BY_STATUS.iter();
            let mut known = known.filter(|(statuses, _)| statuses.contains(&status));
            known.next()?.1
        }
    };
    let age = value(&headers, "age").and_then(|text| text.parse().ok());
    let left = lifetime.checked_sub(Duration::from_secs(age.unwrap_or(0)))?;
    (!left.is_zero()).then_some((headers, left))
}

/// What a request wants to have only under a condition, or in part: the values of its headers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'r> {
    /// `If-None-Match`
    pub none_match: Option<&'r str>,
    /// `If-Modified-Since`
    pub modified_since: Option<&'r str>,
    /// `Range`
    pub range: Option<&'r str>,
}

/// How it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// With all of the response.
    Whole,
    /// It has it already: 304.
    NotModified,
    /// With these bytes of the body: 206.
    Part(Range<usize>),
    /// There are no such bytes: 416.
    NoSuchPart,
}

impl Wanted<'_> {
    /// How the request is answered with a response that is kept, whose body has `length` bytes.
    #[must_use]
    pub fn answer(&self, status: u16, headers: &[(String, String)], length: usize) -> Answer {
        if self.is_known(headers) {
            return Answer::NotModified;
        }
        match self.range.and_then(|range| part(range, length)) {
            Some(part) if status == 200 => part,
            _ => Answer::Whole,
        }
    }

    fn is_known(&self, headers: &[(String, String)]) -> bool {
        if let Some(tags) = self.none_match {
            let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
            let known = value(headers, "etag").map(|tag| opaque(&tag));
            return known.is_some_and(|known| {
                tags.trim() == "*" || items(tags).any(|tag| opaque(tag) == known)
            });
        }
        let since = self.modified_since.and_then(date);
        let modified = value(headers, "last-modified").and_then(|text| date(&text));
        matches!((since, modified), (Some(since), Some(modified)) if modified <= since)
    }
}

/// The one range of bytes that is asked for. Several, or other units, are not looked at.
fn part(range: &str, length: usize) -> Option<Answer> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let number = |text: &str| text.parse::<usize>().ok();
    let (start, end) = if first.is_empty() {
        (length.saturating_sub(number(last)?), length)
    } else {
        let end = match last {
            "" => length,
            last => number(last)?.saturating_add(1).min(length),
        };
        let start = number(first)?;
        if !last.is_empty() && number(last)? < start {
            return None;
        }
        (start, end)
    };
    Some(match start < end {
        true => Answer::Part(start..end),
        false => Answer::NoSuchPart,
    })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn headers(lines: &[&str]) -> Headers {
        let lines = lines.iter().map(|line| line.split_once(": ").unwrap());
        lines
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// In 1994, at 08:49:37 on November 6th.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    /// For how many seconds it is kept.
    fn seconds(status: u16, lines: &[&str]) -> Option<u64> {
        let (_, lifetime) = kept(status, headers(lines), now())?;
        Some(lifetime.as_secs())
    }

    #[test]
    fn responses_say_how_long_they_are_kept() {
        for (lines, expected) in [
            (vec!["Cache-Control: max-age=60"], Some(60)),
            (
                vec!["cache-control: public, Max-Age=60, s-maxage=7"],
                Some(7),
            ),
            (
                vec!["Cache-Control: public", "Cache-Control: s-maxage=\"8\""],
                Some(8),
            ),
            (vec!["Cache-Control: max-age=60", "Age: 20"], Some(40)),
            (vec!["Cache-Control: max-age=60", "Age: 60"], None),
            (vec!["Cache-Control: max-age=0"], None),
            (vec!["Cache-Control: max-age=soon"], None),
            (vec!["Cache-Control: no-store, max-age=60"], None),
            (vec!["Cache-Control: private, max-age=60"], None),
            (vec!["Cache-Control: no-cache"], None),
            (vec!["Expires: Sun, 06 Nov 1994 08:50:37 GMT"], Some(60)),
            (
                vec![
                    "Date: Sun, 06 Nov 1994 08:50:07 GMT",
                    "Expires: Sun, 06 Nov 1994 08:50:37 GMT",
                ],
                Some(30),
            ),
            (
                vec![
                    "Cache-Control: max-age=5",
                    "Expires: Sun, 06 Nov 1994 08:50:37 GMT",
                ],
                Some(5),
            ),
            (vec!["Expires: Sun, 06 Nov 1994 08:49:37 GMT"], None),
            (vec!["Expires: 0"], None),
        ] {
            assert_eq!(seconds(500, &lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn others_are_kept_by_their_status() {
        assert_eq!(seconds(200, &[]), Some(7_200));
        assert_eq!(seconds(200, &["Cache-Control: public"]), Some(7_200));
        assert_eq!(seconds(303, &[]), Some(1_200));
        assert_eq!(seconds(404, &[]), Some(180));
        assert_eq!(seconds(500, &[]), None);
    }

    #[test]
    fn cookies_are_not_kept() {
        let cookie = "Set-Cookie: a=1";
        assert_eq!(seconds(200, &[cookie, "Cache-Control: max-age=60"]), None);
        let lines = headers(&[
            cookie,
            "Cache-Control: max-age=60, private=\"x-mine, set-cookie\"",
            "X-Mine: 1",
            "X-Yours: 2",
        ]);
        let (kept, _) = kept(200, lines, now()).unwrap();
        let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Cache-Control", "X-Yours"]);
    }

    #[test]
    fn who_has_it_gets_no_body() {
        let kept = headers(&[
            "ETag: \"a\"",
            "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
        ]);
        let none_match = |tags| Wanted {
            none_match: Some(tags),
            modified_since: Some("Sun, 06 Nov 1994 08:49:37 GMT"),
            range: None,
        };
        for (tags, expected) in [
            ("\"a\"", Answer::NotModified),
            ("\"b\", W/\"a\"", Answer::NotModified),
            ("*", Answer::NotModified),
            ("\"b\"", Answer::Whole),
        ] {
            assert_eq!(none_match(tags).answer(200, &kept, 5), expected, "{tags}");
        }
        let since = |date| Wanted {
            modified_since: Some(date),
            ..Wanted::default()
        };
        let same = since("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(same.answer(200, &kept, 5), Answer::NotModified);
        assert_eq!(same.answer(200, &headers(&[]), 5), Answer::Whole);
        let before = since("Sun, 06 Nov 1994 08:49:36 GMT");
        assert_eq!(before.answer(200, &kept, 5), Answer::Whole);
        assert_eq!(since("today").answer(200, &kept, 5), Answer::Whole);
    }

    #[test]
    fn ranges_are_of_bytes() {
        let part = |range| {
            let wanted = Wanted {
                range: Some(range),
                ..Wanted::default()
            };
            wanted.answer(200, &[], 10)
        };
        for (range, expected) in [
            ("bytes=2-4", Answer::Part(2..5)),
            ("bytes=8-", Answer::Part(8..10)),
            ("bytes=8-100", Answer::Part(8..10)),
            ("bytes=-3", Answer::Part(7..10)),
            ("bytes=-30", Answer::Part(0..10)),
            ("bytes=10-", Answer::NoSuchPart),
            ("bytes=-0", Answer::NoSuchPart),
            ("bytes=4-2", Answer::Whole),
            ("bytes=0-1,4-5", Answer::Whole),
            ("lines=1-2", Answer::Whole),
        ] {
            assert_eq!(part(range), expected, "{range}");
        }
    }
}
