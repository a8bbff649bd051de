//! The headers of a request as a pod gets them.

use http::header::{self, HeaderMap};

/// Removes what the front door has answered for, so that the pod does not do so again.
pub(crate) fn forwarded(headers: &mut HeaderMap) {
    headers.remove(header::EXPECT);
}
