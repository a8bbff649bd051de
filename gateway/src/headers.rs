//! The headers of a request as a pod gets them.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Names a request in logs. A trusted proxy's is kept, for which the front door has to drop those of others.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of a request's id.
const MAX_ID: usize = 128;

/// Takes the request's id, or makes one where there is none that can be logged.
pub(crate) fn request_id(headers: &mut HeaderMap) -> HeaderValue {
    let sent = headers.get(REQUEST_ID).filter(|id| {
        (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    let id = sent.cloned().unwrap_or_else(|| {
        HeaderValue::try_from(Uuid::new_v4().to_string()).expect("a UUID is visible ASCII")
    });
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// Removes what the front door has answered for, so that the pod does not do so again.
pub(crate) fn forwarded(headers: &mut HeaderMap) {
    headers.remove(header::EXPECT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_if_it_can_be_logged() {
        let long = "a".repeat(MAX_ID + 1);
        for (sent, kept) in [
            (Some("req-1"), true),
            (Some("a b"), false),
            (Some(""), false),
            (Some(&*long), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(sent) = sent {
                headers.insert(REQUEST_ID, sent.parse().unwrap());
            }
            let id = request_id(&mut headers);
            assert_eq!(headers[REQUEST_ID], id);
            assert_eq!(Some(id.to_str().unwrap()) == sent, kept, "{sent:?}");
        }
    }
}
