//! An application's caches, as Cloudflare's Cache API has them: responses that any of its code has put there, in memory, while
//! they may be kept and there is room.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use portside_core::caching::{self, Answer, Headers, Wanted};
use portside_core::limits::{CACHE_BYTES, MAX_CACHED_BYTES};

/// What an entry takes beside its texts and its body.
const ENTRY_BYTES: usize = 256;

/// The caches of one process. Those that have not been asked for longest make room for others.
#[derive(Debug, Default)]
pub struct Caches(Mutex<State>);

/// A cache's name, and a request's URL.
type Key = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// By when they were last used.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    response: Response,
    since: SystemTime,
    lifetime: Duration,
    last_use: u64,
    bytes: usize,
}

/// A response with its whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The text beside the status.
    pub reason: String,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}

impl Caches {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a response to this URL in a cache, in place of the one before. One that may not be kept, or is too large, is not,
    /// and the one before stays.
    pub fn put(&self, cache: &str, url: &str, mut response: Response, now: SystemTime) {
        let headers = std::mem::take(&mut response.headers);
        let Some((headers, lifetime)) = caching::kept(response.status, headers, now) else {
            return;
        };
        response.headers = headers;
        let texts = response.headers.iter();
        let texts: usize = texts.map(|(name, value)| name.len() + value.len()).sum();
        let names = cache.len() + url.len() + response.reason.len();
        let bytes = ENTRY_BYTES + names + texts + response.body.len();
        if bytes > MAX_CACHED_BYTES {
            return;
        }
        let key: Key = (cache.into(), url.into());
        let mut state = self.lock();
        state.remove(&key);
        let last_use = state.next_use();
        state.by_use.insert(last_use, key.clone());
        let entry = Entry {
            response,
            since: now,
            lifetime,
            last_use,
            bytes,
        };
        state.entries.insert(key, entry);
        state.bytes += bytes;
        while state.bytes > CACHE_BYTES {
            let Some((_, oldest)) = state.by_use.first_key_value() else {
                return;
            };
            let oldest = oldest.clone();
            state.remove(&oldest);
        }
    }

    /// How a request for this URL is answered from a cache: with a 304, a 206 or a 416 where it wants that. Nothing if the cache
    /// has no response to it, or none any more.
    pub fn find(
        &self,
        cache: &str,
        url: &str,
        wanted: &Wanted<'_>,
        now: SystemTime,
    ) -> Option<Response> {
        let key: Key = (cache.into(), url.into());
        let mut state = self.lock();
        let age = state.age(&key, now)?;
        let last_use = state.next_use();
        let entry = state.entries.get_mut(&key)?;
        let before = std::mem::replace(&mut entry.last_use, last_use);
        let response = entry.response.clone();
        state.by_use.remove(&before);
        state.by_use.insert(last_use, key);
        drop(state);
        Some(response.answer(wanted, age))
    }

    /// Has a cache forget its response to this URL. Returns whether it had one.
    pub fn delete(&self, cache: &str, url: &str, now: SystemTime) -> bool {
        let key: Key = (cache.into(), url.into());
        let mut state = self.lock();
        let had = state.age(&key, now).is_some();
        state.remove(&key);
        had
    }
}

impl State {
    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.last_use);
            self.bytes -= entry.bytes;
        }
    }

    /// For how long a response is here; nothing, and it is not here any more, if it may be kept no longer.
    fn age(&mut self, key: &Key, now: SystemTime) -> Option<Duration> {
        let entry = self.entries.get(key)?;
        // A clock that was put back does not make it older.
        let age = now.duration_since(entry.since).unwrap_or_default();
        if age < entry.lifetime {
            return Some(age);
        }
        self.remove(key);
        None
    }
}

impl Response {
    fn set(&mut self, name: &str, value: String) {
        let headers = &mut self.headers;
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        headers.push((name.to_owned(), value));
    }

    fn answer(mut self, wanted: &Wanted<'_>, age: Duration) -> Self {
        let length = self.body.len();
        let mut headers = self.headers.iter();
        let before = headers.find(|(name, _)| name.eq_ignore_ascii_case("age"));
        let before = before.and_then(|(_, age)| age.trim().parse::<u64>().ok());
        let age = age.as_secs().saturating_add(before.unwrap_or(0));
        let answer = wanted.answer(self.status, &self.headers, length);
        self.set("age", age.to_string());
        self.set("cf-cache-status", "HIT".to_owned());
        let (status, reason, body) = match answer {
            Answer::Whole => return self,
            Answer::NotModified => (304, "Not Modified", Bytes::new()),
            Answer::Part(part) => {
                let bytes = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                self.set("content-range", bytes);
                self.set("content-length", part.len().to_string());
                (206, "Partial Content", self.body.slice(part))
            }
            Answer::NoSuchPart => {
                self.set("content-range", format!("bytes */{length}"));
                self.set("content-length", "0".to_owned());
                (416, "Range Not Satisfiable", Bytes::new())
            }
        };
        Self {
            status,
            reason: reason.to_owned(),
            body,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn response(bytes: usize, control: &str) -> Response {
        Response {
            status: 200,
            reason: "Fine".to_owned(),
            headers: vec![("cache-control".to_owned(), control.to_owned())],
            body: vec![7; bytes].into(),
        }
    }

    fn found(caches: &Caches, url: &str, seconds: u64) -> Option<Response> {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        caches.find("a", url, &Wanted::default(), now)
    }

    #[test]
    fn a_response_is_there_while_it_may_be_kept() {
        let caches = Caches::default();
        caches.put("a", "/1", response(3, "max-age=10"), UNIX_EPOCH);
        let hit = found(&caches, "/1", 9).unwrap();
        assert_eq!(
            (hit.status, &*hit.reason, &hit.body[..]),
            (200, "Fine", &[7; 3][..])
        );
        let told = |name, value: &str| {
            hit.headers
                .contains(&(String::from(name), value.to_owned()))
        };
        assert!(
            told("age", "9") && told("cf-cache-status", "HIT"),
            "{hit:?}"
        );
        assert_eq!(caches.find("b", "/1", &Wanted::default(), UNIX_EPOCH), None);
        // What may not be kept replaces nothing.
        caches.put("a", "/1", response(4, "no-store"), UNIX_EPOCH);
        assert_eq!(found(&caches, "/1", 9).unwrap().body.len(), 3);
        assert_eq!(found(&caches, "/1", 10), None);
        assert_eq!(caches.lock().bytes, 0);
    }

    #[test]
    fn what_is_deleted_is_gone() {
        let caches = Caches::default();
        caches.put("a", "/1", response(3, "max-age=10"), UNIX_EPOCH);
        assert!(!caches.delete("a", "/2", UNIX_EPOCH));
        assert!(caches.delete("a", "/1", UNIX_EPOCH));
        assert!(!caches.delete("a", "/1", UNIX_EPOCH));
        assert_eq!(found(&caches, "/1", 0), None);
        caches.put("a", "/1", response(3, "max-age=10"), UNIX_EPOCH);
        assert!(!caches.delete("a", "/1", UNIX_EPOCH + Duration::from_secs(10)));
    }

    #[test]
    fn what_was_not_asked_for_longest_makes_room() {
        let caches = Caches::default();
        let fifth = CACHE_BYTES / 5;
        let put = |url, bytes| caches.put("a", url, response(bytes, "max-age=10"), UNIX_EPOCH);
        for url in ["/1", "/2", "/3", "/4"] {
            put(url, fifth);
        }
        assert!(found(&caches, "/1", 0).is_some());
        put("/5", fifth);
        let kept = ["/1", "/2", "/3"].map(|url| found(&caches, url, 0).is_some());
        assert_eq!(kept, [true, false, true]);
        put("/6", MAX_CACHED_BYTES);
        assert_eq!(found(&caches, "/6", 0), None, "too large");
        // In the place of the one before.
        put("/3", 5);
        assert_eq!(found(&caches, "/3", 0).unwrap().body.len(), 5);
        let state = caches.lock();
        assert!(state.bytes < 4 * fifth);
        assert_eq!(state.by_use.len(), state.entries.len());
    }

    #[test]
    fn a_part_says_which_it_is() {
        let caches = Caches::default();
        caches.put("a", "/1", response(10, "max-age=10"), UNIX_EPOCH);
        let ask = |range| {
            let wanted = Wanted {
                range: Some(range),
                ..Wanted::default()
            };
            let hit = caches.find("a", "/1", &wanted, UNIX_EPOCH).unwrap();
            let mut headers = hit.headers.into_iter();
            let range = headers.find(|(name, _)| name == "content-range").unwrap().1;
            (hit.status, hit.body.len(), range)
        };
        assert_eq!(ask("bytes=2-4"), (206, 3, "bytes 2-4/10".to_owned()));
        assert_eq!(ask("bytes=10-"), (416, 0, "bytes */10".to_owned()));
    }
}
