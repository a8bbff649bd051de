//! The budget for memory outside of the JavaScript heap.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deno_core::{GarbageCollected, OpState, op2, v8};
use deno_error::JsErrorBox;

/// What one isolate may hold outside of its heap: the contents of `ArrayBuffer`s and WebAssembly memories.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit,
        })
    }

    /// The budget, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Takes `bytes` of it, if they are left.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|total| *total <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }

    /// Gives back what was taken.
    pub fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes of the instance's budget, given back when this is closed or collected.
pub struct Account {
    budget: Arc<Budget>,
    bytes: Cell<usize>,
}

impl Account {
    fn close(&self) {
        self.budget.give(self.bytes.take());
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.close();
    }
}

#[expect(
    unsafe_code,
    reason = "what V8's garbage collector frees must say what it holds"
)]
// SAFETY: it owns plain memory and holds nothing of V8's heap.
unsafe impl GarbageCollected for Account {
    fn trace(&self, _visitor: &mut v8::cppgc::Visitor) {}

    fn get_name(&self) -> &'static CStr {
        c"Account"
    }
}

/// Takes bytes of the instance's budget for as long as the account lives. Collects garbage if they are not left, for
/// accounts may be among it.
#[op2]
#[cppgc]
pub(crate) fn op_memory_account(
    state: Rc<RefCell<OpState>>,
    scope: &mut v8::PinScope<'_, '_>,
    #[number] bytes: usize,
) -> Result<Account, JsErrorBox> {
    let budget = state.borrow().borrow::<Arc<Budget>>().clone();
    let taken = budget.take(bytes) || {
        if bytes <= budget.limit() {
            scope.low_memory_notification();
        }
        budget.take(bytes)
    };
    if taken {
        let bytes = Cell::new(bytes);
        return Ok(Account { budget, bytes });
    }
    Err(exhausted(&budget))
}

/// Gives the bytes of an account back.
#[op2(fast)]
pub(crate) fn op_memory_close(#[cppgc] account: &Account) {
    account.close();
}

fn exhausted(budget: &Budget) -> JsErrorBox {
    let limit = budget.limit();
    JsErrorBox::range_error(format!(
        "no memory left: the limit of memory outside of the heap is {limit} bytes"
    ))
}

/// Takes bytes of the instance's budget.
#[op2(fast)]
pub(crate) fn op_memory_take(
    state: &mut OpState,
    #[number] bytes: usize,
) -> Result<(), JsErrorBox> {
    let budget = state.borrow::<Arc<Budget>>();
    if budget.take(bytes) {
        return Ok(());
    }
    Err(exhausted(budget))
}

/// Gives bytes back that were taken.
#[op2(fast)]
pub(crate) fn op_memory_give(state: &mut OpState, #[number] bytes: usize) {
    state.borrow::<Arc<Budget>>().give(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_gives_back_once() {
        let budget = Budget::new(10);
        assert!(budget.take(6));
        let account = Account {
            budget: budget.clone(),
            bytes: Cell::new(6),
        };
        account.close();
        drop(account);
        assert!(budget.take(10));
        assert!(!budget.take(1));
    }

    #[test]
    fn a_budget_is_never_overdrawn() {
        let budget = Budget::new(10);
        assert!(budget.take(6));
        assert!(!budget.take(5));
        assert!(!budget.take(usize::MAX));
        assert!(budget.take(4));
        budget.give(4);
        assert!(budget.take(3));
    }
}
