//! Classes that lists had to leave out, all or in part, as none of their pods gave them a page: once one does, whoever has such a list is
//! told to list again. Until then they are told nothing, as another list would be no better.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
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
pub(super) type LeftOut = HashMap<Uuid, Arc<Class>>;

impl Follows {
    /// A list has left out workers of a class.
    pub fn left_out(&self, class: &Arc<Class>) {
        let mut state = self.lock();
        state.left_out.insert(class.uid, Arc::clone(class));
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
                    if page.is_some() {
                        self.answers(&known.class);
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
        left_out.retain(|uid, class| {
            let known = classes.get(&class.namespace, &class.name);
            let known = known.filter(|it| it.class.uid == *uid && interests.have(class));
            all.extend(known.cloned());
            known.is_some()
        });
        all
    }

    fn answers(&self, class: &Arc<Class>) {
        let mut state = self.lock();
        if state.left_out.remove(&class.uid).is_some() {
            self.metrics.missed();
            state.ring.push(class, What::Gap);
            self.publish(&state.ring);
        }
    }
}
