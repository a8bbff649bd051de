//! Counts what goes on, for those who wait until nothing does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use portside_exchange::{Body, Response};
use tokio::sync::Notify;

/// How many of something there are.
#[derive(Default)]
pub struct Count(Arc<Counted>);

#[derive(Default)]
struct Counted {
    count: AtomicUsize,
    none: Notify,
}

impl Count {
    /// Counts one, until it is dropped. Whoever counts and then looks whether it may begin is either seen by [`Count::none`], or
    /// sees what was said before that.
    pub fn one(&self) -> One {
        self.0.count.fetch_add(1, Ordering::SeqCst);
        One(self.0.clone())
    }

    /// How many there are.
    pub fn now(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Returns when there is none.
    pub async fn none(&self) {
        loop {
            let none = self.0.none.notified();
            if self.0.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// One that is counted.
pub struct One(Arc<Counted>);

impl One {
    /// Counts until the response is sent: what streams, until it ends.
    pub fn until_sent(self, response: &mut Response) {
        response.body = match std::mem::replace(&mut response.body, Body::Empty) {
            Body::Stream(stream) => Body::Stream(Box::pin(stream.inspect(move |_| {
                let _held = &self; // and dropped with the stream
            }))),
            body => body,
        };
    }
}

impl Drop for One {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}
