//! Rejections that nobody handled.

use std::sync::Arc;

use crate::host::Level;
use crate::instance::Instance;
use crate::link::LinkId;

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
        self.error.lines().next() == failure.lines().next()
    }
}

impl Instance {
    /// Logs a rejection that nobody handled, that of `error`, in the course of `request` if that is known. While the module
    /// is evaluated only afterwards, and not at all if that is what its evaluation failed with: that is told once.
    pub fn log_rejection(&mut self, error: String, request: Option<LinkId>) {
        let request = self.request_name(request);
        let rejection = Rejection { error, request };
        if self.is_loading() {
            self.rejections.push(rejection);
        } else {
            self.log_one(&rejection);
        }
    }

    /// The module is evaluated, or cannot be for this reason.
    pub(crate) fn log_rejections_but(&mut self, failure: Option<&str>) {
        for rejection in std::mem::take(&mut self.rejections) {
            if !failure.is_some_and(|failure| rejection.is(failure)) {
                self.log_one(&rejection);
            }
        }
    }

    fn log_one(&self, rejection: &Rejection) {
        let text = format!("unhandled rejection: {}", rejection.error);
        self.log_for(Level::Error, &text, rejection.request.as_deref());
    }
}
