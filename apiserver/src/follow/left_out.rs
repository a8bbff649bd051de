//! Classes of which lists do not have all workers: none of their pods gave them a page, or the class is newer than the list and has workers
//! from before, as one whose state was retained. Once a pod answers, whoever has such a list is told to list again. Until then they are told
//! nothing, as another list would be no better.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use portside_manage::State::Asleep;
use tokio::time::sleep;
use uuid::Uuid;

use super::{Follows, State, What};
use crate::known::Known;
use crate::object::Class;
use crate::pods::workers::Wanted;

/// How often they are asked, if none of their pods is heard before.
const AGAIN: Duration = Duration::from_secs(5);
/// How many of them are asked at once.
const AT_ONCE: usize = 8;
/// For how many workers: as many as lists ask for, so that what fails there fails here.
const PAGE: usize = 500;

/// By their uids.
pub(super) type LeftOut = HashMap<Uuid, (Arc<Class>, Why)>;

/// Why lists do not have its workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// They should.
    Silent,
    /// It has come since. Its workers that are awake are told of as they wake.
    New,
}

impl Follows {
    /// A list has left out workers of a class.
    pub fn left_out(&self, class: &Arc<Class>) {
        let mut state = self.lock();
        let silent = (Arc::clone(class), Why::Silent);
        state.left_out.insert(class.uid, silent);
    }

    /// Asks those that were left out until they answer. Does not end.
    pub(super) async fn ask_left_out(&self) {
        loop {
            tokio::select! {
                () = self.heard.notified() => {}
                () = sleep(AGAIN) => {}
            }
            let asking = stream::iter(self.all_left_out());
            asking
                .for_each_concurrent(AT_ONCE, async |known| {
                    let page = self.pods.page(&known, &Wanted::default(), PAGE).await;
                    if let Some(page) = page {
                        let mut items = page.items.iter();
                        let sleep = items.any(|it| it.state == Asleep);
                        self.answers(&known.class, sleep);
                    }
                })
                .await;
        }
    }

    /// A pod of a class is heard.
    pub(super) fn is_heard(&self, class: &Class) {
        if self.lock().left_out.contains_key(&class.uid) {
            self.heard.notify_one();
        }
    }

    /// Those of which somebody wants to know yet.
    fn all_left_out(&self) -> Vec<Known> {
        let classes = self.known.borrow().clone();
        let mut state = self.lock();
        let State {
            left_out,
            interests,
            ..
        } = &mut *state;
        let mut all = vec![];
        left_out.retain(|uid, (class, _)| {
            let known = classes.get(&class.namespace, &class.name);
            let known = known.filter(|it| it.class.uid == *uid && interests.have(class));
            all.extend(known.cloned());
            known.is_some()
        });
        all
    }

    /// A class answers; `sleep`: it has workers that do.
    fn answers(&self, class: &Arc<Class>, sleep: bool) {
        let mut state = self.lock();
        let why = state.left_out.remove(&class.uid).map(|it| it.1);
        if why == Some(Why::Silent) || (why == Some(Why::New) && sleep) {
            self.metrics.missed();
            state.ring.push(class, What::Gap);
            self.publish(&state.ring);
        }
    }
}
