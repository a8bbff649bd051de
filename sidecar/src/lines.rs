//! What the application has logged of late, for those who look from outside.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portside_core::ids::WorkerId;
use portside_manage::printable;
use portside_worker::host::{Identity, LogLine};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};

/// So many lines are kept, and so many bytes of them.
const KEPT: usize = 1_000;
const KEPT_BYTES: usize = 1 << 20;
/// Of a longer message the rest is left out.
const MOST_BYTES: usize = 16 << 10;
/// Who is so many lines behind misses some.
const BEHIND: usize = 1_000;

/// A line, or the lines of one message.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Whose it is; nothing for the server's.
    worker: Option<WorkerId>,
    text: Arc<str>,
}

/// The application's log.
pub(crate) struct Lines {
    kept: Mutex<Kept>,
    news: Sender<Line>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            news: broadcast::channel(BEHIND).0,
        }
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line.
    pub(crate) fn write(&self, mut line: LogLine<'_>) {
        line.text = &line.text[..line.text.floor_char_boundary(MOST_BYTES)];
        let worker = match line.source {
            Identity::Server => None,
            Identity::Worker(key) => Some(key.id()),
            Identity::Object(object) => Some(object.address.id()),
        };
        let line = Line {
            worker,
            text: written(line, true, Colours::default()).into(),
        };
        let mut kept = self.lock();
        kept.bytes += line.text.len();
        kept.lines.push_back(line.clone());
        while kept.lines.len() > KEPT || kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.lines.pop_front() else {
                break;
            };
            kept.bytes -= oldest.text.len();
        }
        // Held, so that whoever begins to follow sees each line once. Nobody may follow.
        let _ = self.news.send(line);
    }

    /// Reads the last `tail` lines of one worker, or of all and the server, and then those that come.
    pub(crate) fn read(&self, worker: Option<WorkerId>, tail: usize) -> Reader {
        let kept = self.lock();
        let ours = kept.lines.iter().rev().filter(|line| is_of(line, worker));
        let last: Vec<Arc<str>> = ours.take(tail).map(|line| line.text.clone()).collect();
        let news = self.news.subscribe();
        drop(kept); // whoever logs waits for it
        Reader {
            worker,
            last: last.iter().rev().map(|text| &**text).collect(),
            news,
        }
    }
}

fn is_of(line: &Line, worker: Option<WorkerId>) -> bool {
    worker.is_none() || line.worker == worker
}

/// Somebody who reads the log.
pub(crate) struct Reader {
    worker: Option<WorkerId>,
    last: String,
    news: Receiver<Line>,
}

impl Reader {
    /// What there was.
    pub(crate) fn last(&mut self) -> String {
        std::mem::take(&mut self.last)
    }

    /// What comes next, when it comes; nothing once the application is gone.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            match self.news.recv().await {
                Ok(line) if is_of(&line, self.worker) => return Some(line.text.to_string()),
                Ok(_) => {}
                Err(RecvError::Lagged(lines)) => {
                    return Some(format!(
                        "[portside] {lines} lines are left out: they came faster than they were read\n"
                    ));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// How a line is coloured: what is put before and after who wrote it, and before and after what it says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Colours {
    /// Of who wrote it.
    pub source: (&'static str, &'static str),
    /// Of what it says.
    pub text: (&'static str, &'static str),
}

/// Who wrote a line, and, if `requests`, in the course of which request, as the gateway's log calls it. Clients may have a say in what a
/// worker is called: what is in its name must not look like other lines.
fn source(line: &LogLine<'_>, requests: bool) -> String {
    let mut source = match line.source {
        Identity::Server => "server".to_owned(),
        Identity::Worker(key) if key.name().is_empty() => key.script().to_owned(),
        Identity::Worker(key) => key.to_string(),
        Identity::Object(object) => object.to_string(),
    };
    if let Some(request) = line.request.filter(|_| requests) {
        source.push_str(" request=");
        source.push_str(request);
    }
    printable(&source)
}

/// A line without control characters, which could rewrite a terminal; colours of `console.log("%c")` stay.
fn visible(line: &str) -> String {
    line.chars()
        .filter(|c| !c.is_control() || matches!(c, '\t' | '\x1b'))
        .collect()
}

/// Each line with who wrote it before it, and, if `requests`, in the course of which request.
#[must_use]
pub fn written(line: LogLine<'_>, requests: bool, colours: Colours) -> String {
    let (before, after) = colours.source;
    let source = format!("{before}[{}]{after}", source(&line, requests));
    let (start, end) = colours.text;
    let lines = line.text.split('\n');
    lines
        .map(|line| format!("{source} {start}{}{end}\n", visible(line)))
        .collect()
}

#[cfg(test)]
mod tests {
    use portside_core::ids::WorkerKey;
    use portside_worker::host::Level;

    use super::*;

    fn line<'a>(source: &'a Identity, text: &'a str) -> LogLine<'a> {
        LogLine {
            source,
            level: Level::Info,
            text,
            request: Some("r-1"),
        }
    }

    #[test]
    fn every_line_says_who_wrote_it() {
        let worker = Identity::Worker(WorkerKey::new("room.js", "lobby").unwrap());
        let plain = Colours::default();
        let text = written(line(&worker, "a\nb\r"), false, plain);
        assert_eq!(text, "[room.js#lobby] a\n[room.js#lobby] b\n");
        assert_eq!(
            written(line(&Identity::Server, "x"), true, plain),
            "[server request=r-1] x\n"
        );
    }

    #[test]
    fn a_worker_s_name_makes_no_line() {
        let name = "x\n\u{1b}[2J[server] forged";
        let worker = Identity::Worker(WorkerKey::new("room.js", name).unwrap());
        let text = written(line(&worker, "a\u{1b}[1m"), false, Colours::default());
        let expected = "[room.js#x\\n\\u{1b}[2J[server] forged] a\u{1b}[1m\n";
        assert_eq!(text, expected);
    }

    #[tokio::test]
    async fn a_worker_s_lines_are_read_each_once() {
        let lines = Lines::default();
        let key = WorkerKey::new("room.js", "lobby").unwrap();
        let worker = Identity::Worker(key.clone());
        for n in 0..3 {
            lines.write(line(&worker, &format!("old {n}")));
            lines.write(line(&Identity::Server, "other"));
        }
        let mut reader = lines.read(Some(key.id()), 2);
        lines.write(line(&Identity::Server, "other"));
        lines.write(line(&worker, "new"));
        let old = "[room.js#lobby request=r-1] old 1\n[room.js#lobby request=r-1] old 2\n";
        assert_eq!(reader.last(), old);
        assert_eq!(
            reader.next().await.as_deref(),
            Some("[room.js#lobby request=r-1] new\n")
        );
        let mut all = lines.read(None, 2);
        assert_eq!(
            all.last(),
            "[server request=r-1] other\n[room.js#lobby request=r-1] new\n"
        );
        drop(lines);
        assert_eq!(reader.next().await, None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let lines = Lines::default();
        let long = "x".repeat(KEPT_BYTES / 2);
        for _ in 0..KEPT {
            lines.write(line(&Identity::Server, "short"));
        }
        assert_eq!(lines.lock().lines.len(), KEPT);
        for _ in 0..KEPT {
            lines.write(line(&Identity::Server, &long));
        }
        assert!(lines.lock().lines.len() < KEPT_BYTES / MOST_BYTES);
        assert!(lines.lock().bytes <= KEPT_BYTES);
    }
}
