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
    thrown: String,
    request: Option<Arc<str>>,
}

impl Rejection {
    /// Whether this is why the module could not be loaded: that begins as an error does, or with what the engine calls
    /// something that is none.
    fn is(&self, failure: &str) -> bool {
        let first = |text| without_prefix(text).lines().next();
        let failure = first(beginning(failure));
        failure == first(&self.error) || failure == first(&self.thrown)
    }
}

/// Before what is no error the engine says that nobody caught it.
fn without_prefix(text: &str) -> &str {
    text.strip_prefix("Uncaught ").unwrap_or(text)
}

/// As much of a text as is kept.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

impl Instance {
    /// Logs a rejection that nobody handled, that of `error`, in the course of `request` if that is known. While the module
    /// is evaluated ([`is_loading`](Self::is_loading)) the last few wait, cut to some KiB, until that is done; one that its
    /// evaluation failed with is not logged at all: that is told once. `thrown` is what the engine calls it, of use until then.
    pub fn log_rejection(&mut self, error: &str, thrown: &str, request: Option<LinkId>) {
        let request = self.request_name(request);
        if !self.is_loading() {
            self.log_one(error, request.as_deref());
            return;
        }
        self.rejections.push_back(Rejection {
            error: beginning(error).to_owned(),
            thrown: beginning(thrown).to_owned(),
            request,
        });
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
