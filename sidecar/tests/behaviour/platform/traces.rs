//! What a new instance finds of what ran in an isolate, or was compiled for it, before.

use crate::lab::lab;
use crate::{Case, cases};

/// This file's tests.
pub const CASES: &[Case] = cases![no_match_of_a_regular_expression];

/// The constructor has the last match, as of old, for all code to see.
async fn no_match_of_a_regular_expression() {
    let app = lab(r#"
        const found = [RegExp.input, RegExp.lastMatch, RegExp.lastParen, RegExp.leftContext, RegExp.rightContext, RegExp.$1];
        export const jobs = { found: () => found.join("|") };"#)
    .start()
    .await;
    assert_eq!(app.text("/w/found").await, "|||||");
    app.stop().await;
}
