//! A line for each request: what was asked for, how it was answered, how long that took, and what it has reached.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use portside_core::objects;
use portside_exchange::{FetchError, Request, Response};
use portside_sidecar::{Reached, ReachedSink, RequestName, name_of};

use super::println_flushed;

/// Of what a request has reached, so many are named.
const NAMED: usize = 3;

/// The requests that are not answered yet, by their names, each with what it has reached.
#[derive(Default)]
pub struct Requests(Mutex<HashMap<RequestName, Vec<String>>>);

/// A request that is not answered yet. If this is dropped before, its client is gone.
pub struct Asked<'a> {
    requests: &'a Requests,
    name: RequestName,
    what: String,
    begun: Instant,
    status: Option<u16>,
    is_told: bool,
}

impl Requests {
    /// Tells it what requests reach.
    pub fn sink(self: Arc<Self>) -> ReachedSink {
        Box::new(move |request, what| {
            if let Some(reached) = self.lock().get_mut(request) {
                let who = shown(what);
                if !reached.contains(&who) {
                    reached.push(who);
                }
            }
        })
    }

    /// A request has come.
    pub fn asked(&self, request: &Request, path: &str) -> Asked<'_> {
        let name = name_of(request).unwrap_or_default();
        self.lock().insert(name.clone(), vec![]);
        Asked {
            requests: self,
            name,
            what: format!("{} {path}", request.method),
            begun: Instant::now(),
            status: None,
            is_told: true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestName, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked<'_> {
    /// It is answered.
    pub fn answered(mut self, answer: &Result<Response, FetchError>) {
        let status = match answer {
            Ok(response) => response.status,
            Err(error) => error.status(),
        };
        self.status = Some(status.as_u16());
    }

    /// Nothing is to be said of it.
    pub fn forget(mut self) {
        self.is_told = false;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let reached = self.requests.lock().remove(&self.name).unwrap_or_default();
        if self.is_told {
            println_flushed(&line(&self.what, self.status, self.begun, &reached));
        }
    }
}

fn line(what: &str, status: Option<u16>, begun: Instant, reached: &[String]) -> String {
    let took = begun.elapsed().as_millis();
    let mut line = match status {
        Some(status) => format!("{what} {status} {took} ms"),
        None => format!("{what} - {took} ms, and its client is gone"),
    };
    let mut between = " ";
    for who in reached.iter().take(NAMED) {
        // A String takes all that is written.
        let _ = write!(line, "{between}{who}");
        between = ", ";
    }
    if let Some(more) = reached.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let _ = write!(line, " and {more} more");
    }
    line
}

/// A worker or an object as its own lines in the log have it, or an asset by its path.
fn shown(reached: Reached<'_>) -> String {
    match reached {
        Reached::Asset(path) => format!("asset {path}"),
        Reached::Worker(worker, name) => match objects::class_of(worker) {
            Some(class) => format!("{}({})", class.name, name.unwrap_or(worker.name())),
            None if worker.name().is_empty() => worker.script().to_owned(),
            None => worker.to_string(),
        },
    }
    .chars()
    .filter(|c| !c.is_control())
    .collect()
}

#[cfg(test)]
mod tests {
    use portside_core::ids::WorkerKey;

    use super::*;

    #[test]
    fn a_line_names_some_of_those_that_were_reached() {
        let who: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        let line = |status, reached| line("GET /x", status, Instant::now(), reached);
        assert_eq!(line(Some(200), &[]), "GET /x 200 0 ms");
        assert_eq!(line(Some(101), &who[..1]), "GET /x 101 0 ms a");
        assert_eq!(line(Some(500), &who), "GET /x 500 0 ms a, b, c and 2 more");
        assert_eq!(
            line(None, &who[..3]),
            "GET /x - 0 ms, and its client is gone a, b, c"
        );
    }

    #[test]
    fn names_do_not_rewrite_the_terminal() {
        let worker = WorkerKey::new("room.js", "a\n\x1b[2Jb").unwrap();
        assert_eq!(shown(Reached::Worker(&worker, None)), "room.js#a[2Jb");
        assert_eq!(shown(Reached::Asset("/a\n.html")), "asset /a.html");
    }
}
