//! Paths of URLs, and of files: a file's path begins with a slash, has its name as it is, and never `.` or `..`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What JavaScript's `encodeURIComponent` encodes.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// The path that a URL's path means: what is percent-encoded is decoded, segment by segment, but for what is not UTF-8 or
/// not encoded right. Several slashes are one.
pub(crate) fn decoded(path: &str) -> String {
    let segments: Vec<_> = path.split('/').map(segment).collect();
    collapsed(&segments.join("/"))
}

/// Text in which several slashes are one.
pub(crate) fn collapsed(text: &str) -> String {
    let mut last = ' ';
    let is_kept = move |c: &char| {
        let is_kept = *c != '/' || last != '/';
        last = *c;
        is_kept
    };
    text.chars().filter(is_kept).collect()
}

fn segment(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_encoded = |at: usize| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let mut percents = text.match_indices('%');
    if !percents.all(|(at, _)| is_encoded(at)) {
        return text.into();
    }
    percent_decode_str(text)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(text))
}

/// The one URL's path that a path is served at.
pub(crate) fn encoded(path: &str) -> String {
    let segments: Vec<String> = (path.split('/'))
        .map(|segment| utf8_percent_encode(segment, COMPONENT).to_string())
        .collect();
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_decoded_segment_by_segment() {
        assert_eq!(decoded("/a%20b//c%2Fd"), "/a b/c/d");
        assert_eq!(decoded("/%zz/%41"), "/%zz/A");
        assert_eq!(decoded("/%ff%41"), "/%ff%41", "not UTF-8: as it is");
        assert_eq!(decoded("/%2e%2e%2f%2e%2e/x"), "/../../x");
        assert_eq!(decoded("/%2F%2Fa///b"), "/a/b");
        assert_eq!(
            encoded("/ü [1]/it's (a)*!~.txt"),
            "/%C3%BC%20%5B1%5D/it's%20(a)*!~.txt"
        );
    }

    proptest! {
        #[test]
        fn a_path_is_found_where_it_is_served(path in "(/[^/]{1,6}){1,4}") {
            prop_assert_eq!(decoded(&encoded(&path)), path);
        }

        #[test]
        fn no_path_begins_another_host(path in "/.{0,20}") {
            prop_assert!(!encoded(&decoded(&path)).starts_with("//"));
        }
    }
}
