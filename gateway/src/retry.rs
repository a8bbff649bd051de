//! Whether a request whose attempt failed may be sent again.

use http::Method;

/// How an attempt failed before any byte of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The pod does not run requests now, says so, and has run nothing.
    Misdirected,
    /// No byte of the request left.
    Unsent,
    /// The connection broke after the request was, or may have been, sent.
    Broken {
        /// The connection had served other requests, so the pod may just have ended it for idleness.
        reused: bool,
    },
    /// Another pod took over while this one had the request, or this one's lease ended.
    Overtaken,
}

/// What is known of the request.
#[derive(Debug, Clone, Copy)]
pub struct Attempted {
    /// Running it twice has the effect of running it once.
    pub idempotent: bool,
    /// All that was read of its body is still there.
    pub repeatable: bool,
    /// It was sent again before although the first attempt may have run it.
    pub risked: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send it again: it has not run.
    Again,
    /// Send it again, this once: it may have run, and that does no harm.
    Risk,
    /// It has not run, but its body is gone: the client may try again.
    BodyGone,
    /// It may have run, and must not run twice.
    GiveUp,
}

/// Decides. RFC 9110 section 9.2.2 forbids to repeat what is not idempotent unless it is known not to have run, and
/// to repeat automatically more than once.
#[must_use]
pub fn after(failure: Failure, request: Attempted) -> Next {
    match failure {
        Failure::Misdirected | Failure::Unsent if request.repeatable => Next::Again,
        Failure::Misdirected | Failure::Unsent => Next::BodyGone,
        // On a connection of its own the request itself may have brought the pod down.
        Failure::Broken { reused: false } => Next::GiveUp,
        Failure::Broken { reused: true } | Failure::Overtaken
            if request.idempotent && request.repeatable && !request.risked =>
        {
            Next::Risk
        }
        Failure::Broken { reused: true } | Failure::Overtaken => Next::GiveUp,
    }
}

/// Whether a method is idempotent by RFC 9110 section 9.2.2. Methods defined elsewhere count as not.
#[must_use]
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        const REUSED: Failure = Failure::Broken { reused: true };
        const FRESH: Failure = Failure::Broken { reused: false };
        // Idempotent, repeatable, risked.
        for (failure, (idempotent, repeatable, risked), expected) in [
            (Failure::Misdirected, (false, true, true), Next::Again),
            (Failure::Misdirected, (true, false, false), Next::BodyGone),
            (Failure::Unsent, (false, true, true), Next::Again),
            (Failure::Unsent, (true, false, false), Next::BodyGone),
            (REUSED, (true, true, false), Next::Risk),
            (REUSED, (true, true, true), Next::GiveUp),
            (REUSED, (true, false, false), Next::GiveUp),
            (REUSED, (false, true, false), Next::GiveUp),
            (FRESH, (true, true, false), Next::GiveUp),
            (Failure::Overtaken, (true, true, false), Next::Risk),
            (Failure::Overtaken, (false, true, false), Next::GiveUp),
        ] {
            let request = Attempted {
                idempotent,
                repeatable,
                risked,
            };
            assert_eq!(after(failure, request), expected, "{failure:?} {request:?}");
        }
    }

    #[test]
    fn idempotent_methods() {
        for (method, expected) in [
            ("GET", true),
            ("DELETE", true),
            ("POST", false),
            ("PATCH", false),
            ("PROPFIND", false),
        ] {
            assert_eq!(is_idempotent(&method.parse().unwrap()), expected);
        }
    }
}
