//! A crash while clients are at work.

use std::cell::RefCell;

use futures::future::{join, join_all};
use portside_testkit::{Failed, eventually, within};

use super::App;

/// Lets each client work again and again, kills the process once they have had `enough` answers, and returns all that they had.
///
/// A client ends with its first failure, which is to be the end of its connection.
///
/// # Panics
/// When they do not have enough answers in time, or do not notice the crash.
pub async fn kill_under_load<T>(
    app: &mut App,
    enough: usize,
    clients: impl IntoIterator<Item = impl AsyncFnMut() -> Result<T, Failed>>,
) -> Vec<T> {
    let answers = RefCell::new(vec![]);
    let work = join_all(clients.into_iter().map(async |mut ask| {
        while let Ok(answer) = ask().await {
            answers.borrow_mut().push(answer);
        }
    }));
    let crash = async {
        let what = format!("{enough} answers under load");
        eventually(&what, async || {
            (answers.borrow().len() >= enough).then_some(())
        })
        .await;
        app.kill().await;
    };
    within("the end of all clients", join(work, crash)).await;
    answers.into_inner()
}
