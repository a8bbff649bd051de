//! Runs of the server's `scheduled` handler.

use deno_core::{OpState, op2};
use portside_worker::cell::Actor;
use portside_worker::link::{LinkId, Ran};

use crate::actors;

/// Says what became of a run: whether nothing was thrown, and whether the handler asked not to be tried again.
#[op2(fast)]
pub(crate) fn op_ran(state: &mut OpState, #[number] run: u64, succeeded: bool, no_retry: bool) {
    let ran = Ran {
        succeeded,
        no_retry,
    };
    actors::with(state, Actor::OWN.0, |instance| {
        instance.ran(LinkId(run), ran);
    });
}
