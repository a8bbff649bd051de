//! Which instance JavaScript acts for: the isolate's own, or an object that lives in it.
//!
//! JavaScript names it by its number. What runs on for an object that is gone can do nothing any more.

use std::rc::Rc;

use deno_core::OpState;
use deno_error::JsErrorBox;
use portside_worker::cell::{Actor, Actors};
use portside_worker::engine::Shared;
use portside_worker::instance::Instance;

/// The instance of that number, if it is there.
pub(crate) fn find(state: &OpState, actor: u32) -> Option<Shared> {
    match Actor(actor) {
        Actor::OWN => Some(state.borrow::<Shared>().clone()),
        actor => state.try_borrow::<Rc<Actors>>()?.get(actor),
    }
}

/// The same.
///
/// # Errors
/// The object is gone.
pub(crate) fn get(state: &OpState, actor: u32) -> Result<Shared, JsErrorBox> {
    find(state, actor).ok_or_else(gone)
}

/// What is thrown at code of an object that is gone.
pub(crate) fn gone() -> JsErrorBox {
    JsErrorBox::generic("the Durable Object was reset: this instance of it is over")
}

/// Does something with the instance, if it is there.
pub(crate) fn with<R>(
    state: &OpState,
    actor: u32,
    f: impl FnOnce(&mut Instance) -> R,
) -> Option<R> {
    find(state, actor).map(|instance| f(&mut instance.borrow_mut()))
}
