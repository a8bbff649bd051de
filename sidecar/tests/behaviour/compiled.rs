//! A script's modules are compiled once in a process: later instances take the code of an earlier one.

use std::sync::Arc;

use portside_runtime::IsolatePool;

use crate::app::TestApp;
use crate::lab::lab;
use crate::{Case, cases};

/// These tests.
pub const CASES: &[Case] = cases![
    the_code_that_ran_is_kept,
    the_code_of_another_instance_is_taken,
];

/// A function of some kilobytes of bytecode, if it is compiled.
fn user() -> String {
    let steps: String = (0..500).map(|n| format!("sum += {n} * sum;")).collect();
    format!(
        "export const jobs = {{ ping: () => 'pong', long() {{ let sum = 0; {steps} return 'pong'; }} }};"
    )
}

async fn start() -> (TestApp, Arc<IsolatePool>) {
    let isolates = Arc::new(IsolatePool::new(2, 8, |_| {}));
    let mut setup = lab(&user());
    setup.isolates = Some(isolates.clone());
    (setup.start().await, isolates)
}

/// Asks one worker until it has given away its code. The server gives its own meanwhile.
async fn code_after(job: &str) -> usize {
    let (app, isolates) = start().await;
    for _ in 0..16 {
        assert_eq!(app.text(&format!("/w/{job}")).await, "pong");
    }
    let code = isolates.code_bytes();
    assert!(code > 0, "nothing is kept");
    app.stop().await;
    code
}

async fn the_code_that_ran_is_kept() {
    let (short, long) = (code_after("ping").await, code_after("long").await);
    assert!(long > short + 4_000, "{short} {long}");
}

/// V8 refuses code that is not that of the source; then it is given up.
async fn the_code_of_another_instance_is_taken() {
    let (app, isolates) = start().await;
    for _ in 0..16 {
        assert_eq!(app.text("/first/long").await, "pong");
    }
    let code = isolates.code_bytes();
    for name in ["second", "third"] {
        assert_eq!(app.text(&format!("/{name}/ping")).await, "pong");
    }
    assert_eq!(isolates.code_bytes(), code);
    app.stop().await;
}
