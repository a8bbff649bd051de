//! Follows one pod.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use portside_manage::{Before, Event};
use tokio::time::{Instant, sleep, timeout};

use super::Follows;
use super::lines::{Lines, NoLine};
use crate::known::Pod;
use crate::object::Class;
use crate::pods::Question;
use crate::pods::workers::Wanted;

/// A pod says something at least each ten seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// Before it is tried again: first, later, and at most.
const AGAIN: Duration = Duration::from_millis(500);
const LATER: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// A pod that begins to answer so soon is taken to have done nothing before but what is told of the workers that are awake.
const YOUNG: Duration = Duration::from_secs(10);
/// How many workers are asked for at a time.
const PAGE: usize = 500;

/// Where a pod's events go on: its start, and the number of the last.
type At = Option<(String, u64)>;

/// Why following ended.
enum End {
    /// The pod ends in order.
    Orderly,
    /// It does not know any more what followed.
    Forgotten,
    /// The connection broke, or what came makes no sense.
    Broken(String),
}

/// Follows a pod, again and again, until this is aborted.
pub(super) async fn follow(follows: Arc<Follows>, class: Arc<Class>, pod: Arc<Pod>) {
    let mut following = Following {
        follows,
        class,
        pod,
        at: None,
        since: Instant::now(),
        rest: AGAIN,
    };
    loop {
        let begun = Instant::now();
        let end = following.once().await;
        if begun.elapsed() > LONGEST {
            following.rest = AGAIN;
        }
        let rest = following.ended(end);
        sleep(rest).await;
    }
}

struct Following {
    follows: Arc<Follows>,
    class: Arc<Class>,
    pod: Arc<Pod>,
    at: At,
    /// When it was tried first, or anew.
    since: Instant,
    /// How long it rests after it has ended, or forgotten, the next time: others look anew each time.
    rest: Duration,
}

impl Following {
    async fn once(&mut self) -> End {
        let question = match &self.at {
            None => Question::new(Method::GET, &["events"], &[]),
            Some((start, after)) => {
                let query = [("start", &**start), ("after", &*after.to_string())];
                Question::new(Method::GET, &["events"], &query)
            }
        };
        let answer = match self.follows.pods.ask(&self.pod, question).await {
            Ok(answer) => answer,
            Err(no_answer) => return End::Broken(no_answer.why),
        };
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::GONE => return End::Forgotten,
            other => return End::Broken(format!("it says {other}")),
        }
        let mut lines = Lines::of(answer);
        loop {
            let event = match timeout(SILENCE, lines.next()).await {
                Ok(Ok(Some(line))) => serde_json::from_slice(&line),
                Ok(Ok(None)) => return End::Broken("it has ended".to_owned()),
                Ok(Err(NoLine::Broken(why))) => return End::Broken(why),
                Ok(Err(NoLine::TooLong)) => return self.senseless(),
                Err(_) => return End::Broken("nothing is heard of it".to_owned()),
            };
            let Ok(event) = event else {
                return self.senseless();
            };
            if let Some(end) = self.told(event).await {
                return end;
            }
        }
    }

    /// Draws the consequences; returns after how long it is tried again.
    fn ended(&mut self, end: End) -> Duration {
        let (follows, class, pod) = (&self.follows, &self.class, &self.pod);
        let is_first = self.rest == AGAIN;
        match end {
            End::Broken(why) => {
                tracing::debug!(
                    namespace = pod.namespace,
                    pod = pod.name,
                    why,
                    "cannot be followed; trying again"
                );
                follows.tried(class, pod);
                let is_young = self.since.elapsed() < YOUNG;
                return if is_young { AGAIN } else { LATER };
            }
            End::Forgotten => {
                follows.missed(class, pod);
                if is_first {
                    follows.untried(class, pod);
                } else {
                    follows.tried(class, pod);
                }
            }
            End::Orderly => {
                follows.tried(class, pod);
                follows.ended(class, pod);
            }
        }
        self.at = None;
        self.since = Instant::now();
        let next = LONGEST.min(self.rest * 2);
        std::mem::replace(&mut self.rest, next)
    }

    /// Takes an event; returns why it is the last, if it is.
    async fn told(&mut self, event: Event) -> Option<End> {
        match (event, &mut self.at) {
            (Event::Begin { start, seq }, None) => {
                self.at = Some((start, seq));
                if self.follows.begun(&self.class, &self.pod) && !self.tell_of_awake().await {
                    self.follows.missed(&self.class, &self.pod);
                }
                None
            }
            (Event::Begin { start, seq }, Some(at)) if (&start, seq) == (&at.0, at.1) => {
                self.follows.resumed(&self.class, &self.pod);
                None
            }
            (
                Event::Change {
                    seq,
                    before,
                    worker,
                    gone,
                },
                Some(at),
            ) if seq == at.1 + 1 => {
                at.1 = seq;
                let told = (before, *worker, gone);
                let can_be = self.follows.told(&self.class, &self.pod, told);
                (!can_be).then(|| self.senseless())
            }
            (Event::Alive { seq }, Some(at)) if seq == at.1 => None,
            (Event::End, Some(_)) => Some(End::Orderly),
            _ => Some(self.senseless()),
        }
    }

    fn senseless(&self) -> End {
        if self.at.is_some() {
            // What it has told may not have been all.
            return End::Forgotten;
        }
        End::Broken("what it says makes no sense".to_owned())
    }

    /// Tells of those that woke before this pod was followed, to whoever has looked before. Whether that may be all that was
    /// missed.
    async fn tell_of_awake(&mut self) -> bool {
        if self.since.elapsed() > YOUNG {
            return false;
        }
        let mut wanted = Wanted {
            awake: true,
            ..Wanted::default()
        };
        loop {
            let page = self.follows.pods.page_of(&self.pod, &wanted, PAGE).await;
            let Ok(page) = page else { return false };
            for worker in page.items {
                let told = (Before::Asleep, worker, false);
                if !self.follows.told(&self.class, &self.pod, told) {
                    return false;
                }
            }
            wanted.after = page.next;
            if wanted.after.is_none() {
                return true;
            }
        }
    }
}
