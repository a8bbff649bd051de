//! Stack traces for people: the application's frames only, with the paths its developer knows.

use std::borrow::Cow;

use deno_core::url::Url;

use crate::resolve;

/// Where the bundle's modules are, as V8 shows it.
const ROOT: &str = "file:///";

/// Removes this crate's and the engine's own frames from the stack traces in `text`, and the root from the others' paths.
///
/// Lines that are not frames stay as they are.
#[must_use]
pub fn readable(text: &str) -> Cow<'_, str> {
    if !text.contains("    at ") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        match location(line) {
            Some(place) if place.starts_with("ext:") || place.starts_with("portside:") => {
                // The properties of a logged error begin behind its last frame.
                if line.ends_with(" {") {
                    shown.push_str(" {");
                }
                continue;
            }
            place => {
                if index > 0 {
                    shown.push('\n');
                }
                let path = place.and_then(|place| place.strip_prefix(ROOT));
                match path {
                    Some(path) => {
                        shown.push_str(&line[..line.len() - path.len() - ROOT.len()]);
                        shown.push_str(&decoded(path));
                    }
                    None => shown.push_str(line),
                }
            }
        }
    }
    Cow::Owned(shown)
}

/// A path as its developer knows it, from one of a URL.
fn decoded(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let url = Url::parse(&format!("{ROOT}{path}"));
    let path_of = url.ok().and_then(|url| resolve::path_of(&url));
    path_of.map_or(Cow::Borrowed(path), Cow::Owned)
}

/// The part of a frame that begins with the URL: `file:///a.js:1:2)` of `    at f (file:///a.js:1:2)`.
fn location(line: &str) -> Option<&str> {
    let frame = line.trim_start().strip_prefix("at ")?;
    let frame = frame.strip_prefix("async ").unwrap_or(frame);
    match frame.rfind(" (") {
        Some(open) => Some(&frame[open + 2..]),
        None => Some(frame),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_applications_frames_stay() {
        let stack = "Error: at file:///x\n    at f (file:///lib/a.ts:1:2)\n    at async file:///b.ts:3:4\
                     \n    at async run (ext:portside/http.js:5:6)\n    at ext:core/01_core.js:7:8\
                     \n    at Array.map (<anonymous>)\n    at portside:start:1:1 {\n  cause: 1\n}";
        let shown = "Error: at file:///x\n    at f (lib/a.ts:1:2)\n    at async b.ts:3:4\
                     \n    at Array.map (<anonymous>) {\n  cause: 1\n}";
        assert_eq!(readable(stack), shown);
    }

    #[test]
    fn paths_are_as_their_developer_knows_them() {
        let stack = "Error\n    at f (file:///my%20s%C3%A9rver.js:1:2)";
        assert_eq!(readable(stack), "Error\n    at f (my sérver.js:1:2)");
    }

    #[test]
    fn other_text_stays() {
        for text in ["", "look at ext:portside/http.js", "file:///a.js\n"] {
            assert_eq!(readable(text), text);
        }
    }
}
