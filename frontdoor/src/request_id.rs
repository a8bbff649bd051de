//! What a request is called in logs, from the first front door it meets to the commit of what was written for it.

use http::header::{HeaderMap, HeaderValue};
use portside_exchange::REQUEST_ID;
use uuid::Uuid;

/// Bytes of a request's id.
const MAX_ID: usize = 128;

/// Takes the request's id from its headers if whoever sent it is trusted and it can be logged; else makes one. What clients choose could name two requests alike, or be a lie about another's.
pub(crate) fn take_or_make(headers: &HeaderMap, trusted: bool) -> HeaderValue {
    let sent = headers.get(REQUEST_ID).filter(|id| {
        trusted
            && (1..=MAX_ID).contains(&id.len())
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    sent.cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let text = Uuid::new_v4().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).expect("a UUID is visible ASCII")
    })
}

/// As it stands in logs.
pub(crate) fn shown(id: &HeaderValue) -> &str {
    id.to_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_if_its_sender_is_trusted_and_it_can_be_logged() {
        let long = "a".repeat(MAX_ID + 1);
        for (sent, trusted, kept) in [
            (Some("req-1"), true, true),
            (Some("req-1"), false, false),
            (Some("a b"), true, false),
            (Some(""), true, false),
            (Some(&*long), true, false),
            (None, true, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(sent) = sent {
                headers.insert(REQUEST_ID, sent.parse().unwrap());
            }
            let id = take_or_make(&headers, trusted);
            assert_eq!(Some(shown(&id)) == sent, kept, "{sent:?}");
            assert!(kept || shown(&id).len() == 36, "{id:?}");
        }
    }
}
