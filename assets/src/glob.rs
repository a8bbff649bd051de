//! Texts with stars: paths, and the specifiers of modules.

use serde::{Deserialize, Serialize};

/// Text in which each `*` stands for any text, also for none and for slashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glob(Vec<String>);

impl Glob {
    /// All but the stars stands for itself.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }

    /// Whether all of `text` is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = &*self.0 else {
            return self.0.first().is_some_and(|only| only == text);
        };
        let Some(mut rest) = text.strip_prefix(&**first) else {
            return false;
        };
        // What is between stars can only gain by standing as early as it may.
        for part in middle {
            match rest.find(&**part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(&**last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (glob, text, meant) in [
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a*", "/a", true),
            ("/a*", "/a/b", true),
            ("/a*a", "/a", false),
            ("/*/x/*", "/a/x/", true),
            ("/*/x/*", "/a/b/x", false),
            ("*", "", true),
            ("/a**b", "/ab", true),
            ("/a.b", "/aXb", false),
        ] {
            assert_eq!(Glob::new(glob).matches(text), meant, "{glob} {text}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_a_regular_expression_would_be(glob in "[/ab*]{0,8}", text in "[/ab]{0,8}") {
            let expression = regex::escape(&glob).replace("\\*", ".*");
            let expression = regex::Regex::new(&format!("^{expression}$")).unwrap();
            prop_assert_eq!(Glob::new(&glob).matches(&text), expression.is_match(&text));
        }
    }
}
