//! Rejections that nobody handled.

use std::sync::Arc;

use crate::host::Level;
use crate::instance::Instance;
use crate::link::LinkId;

/// How many wait at most until the module is evaluated. What its evaluation fails with is the last, or nearly.
const MAX_KEPT: usize = 8;

/// How many bytes of each are kept meanwhile: the application's texts have no bound, and count against none of its limits.
const MAX_TEXT: usize = 4096;

/// One that came while the module was evaluated.
pub(crate) struct Rejection {
    error: String,
    request: Option<Arc<str>>,
}

impl Rejection {
    /// Whether this is why the module could not be loaded, as the engine has it: that names an error as this does, but for
    /// what is no error, before which it says so.
    fn is(&self, failure: &str) -> bool {
        let failure = failure.strip_prefix("Uncaught ").unwrap_or(failure);
        self.error.lines().next() == beginning(failure).lines().next()
    }
}

/// As much of a text as is kept.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

impl Instance {
    /// Logs a rejection that nobody handled, that of `error`, in the course of `request` if that is known. While the module
    /// is evaluated the last few wait, cut to some KiB, until that is done; one that its evaluation failed with is not logged
    /// at all: that is told once.
    pub fn log_rejection(&mut self, error: &str, request: Option<LinkId>) {
        let request = self.request_name(request);
        if !self.is_loading() {
            self.log_one(error, request.as_deref());
            return;
        }
        let error = beginning(error).to_owned();
        self.rejections.push_back(Rejection { error, request });
        if self.rejections.len() > MAX_KEPT
            && let Some(first) = self.rejections.pop_front()
        {
            self.log_one(&first.error, first.request.as_deref());
        }
    }

    /// The module is evaluated, or cannot be for this reason.
    pub(crate) fn log_rejections_but(&mut self, failure: Option<&str>) {
        for rejection in std::mem::take(&mut self.rejections) {
            if !failure.is_some_and(|failure| rejection.is(failure)) {
                self.log_one(&rejection.error, rejection.request.as_deref());
            }
        }
    }

    fn log_one(&self, error: &str, request: Option<&str>) {
        let text = format!("unhandled rejection: {error}");
        self.log_for(Level::Error, &text, request);
    }
}
