//! How much of what came on a way was heard, for whoever holds the client: that forgets as many messages, from the first on.

use std::collections::VecDeque;

/// The counts of one way.
#[derive(Default)]
pub(super) struct Counts {
    /// Messages that were passed on to the object.
    passed_on: u64,
    /// How many of them it has heard.
    heard: u64,
    /// Messages that were answered without the object, and that came after none that it has yet to hear.
    answered: u64,
    /// The other ones that were answered: how many of them came after how many that were passed on. As long as what the object
    /// has yet to hear at most, which has bounds.
    behind: VecDeque<(u64, u64)>,
}

impl Counts {
    /// A message is passed on to the object.
    pub(super) fn pass_on(&mut self) {
        self.passed_on += 1;
    }

    /// The object hears the next one of those that were passed on.
    pub(super) fn hear(&mut self) {
        self.heard += 1;
        while let Some((_, answered)) = self.behind.pop_front_if(|(after, _)| *after <= self.heard)
        {
            self.answered += answered;
        }
    }

    /// A message is answered without the object.
    pub(super) fn answer(&mut self) {
        if self.passed_on <= self.heard {
            self.answered += 1;
            return;
        }
        match self.behind.back_mut() {
            Some((after, answered)) if *after == self.passed_on => *answered += 1,
            _ => self.behind.push_back((self.passed_on, 1)),
        }
    }

    /// How many messages are done with, before which there is none that is not.
    pub(super) fn done(&self) -> u64 {
        self.heard + self.answered
    }
}
