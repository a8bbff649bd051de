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

    /// How much of it is taken, in bytes.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
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
    with_garbage_collected(scope, &budget, bytes, |_| budget.take(bytes))?;
    let bytes = Cell::new(bytes);
    Ok(Account { budget, bytes })
}

/// Tries again after a collection of garbage.
fn with_garbage_collected(
    scope: &mut v8::PinScope<'_, '_>,
    budget: &Budget,
    bytes: usize,
    fits: impl Fn(&mut v8::Isolate) -> bool,
) -> Result<(), JsErrorBox> {
    let limit = budget.limit();
    let fitting = fits(scope)
        || bytes <= limit && {
            scope.low_memory_notification();
            fits(scope)
        };
    if fitting {
        return Ok(());
    }
    Err(JsErrorBox::range_error(format!(
        "no memory left: the limit of memory outside of the heap is {limit} bytes"
    )))
}

/// Gives the bytes of an account back.
#[op2(fast)]
pub(crate) fn op_memory_close(#[cppgc] account: &Account) {
    account.close();
}

/// What V8 counts outside of its heap, in bytes: `ArrayBuffer`s, also those that the host made without the allocator,
/// WebAssembly memories, also those that their own code has grown, and what it keeps of compiled WebAssembly.
pub fn external_memory(isolate: &mut v8::Isolate) -> usize {
    usize::try_from(isolate.adjust_amount_of_external_allocated_memory(0)).unwrap_or(0)
}

/// Asks whether the instance may have as many bytes more, before V8 allocates them and without taking them.
#[op2(nofast)] // it collects garbage
pub(crate) fn op_memory_check(
    state: Rc<RefCell<OpState>>,
    scope: &mut v8::PinScope<'_, '_>,
    #[number] bytes: usize,
) -> Result<(), JsErrorBox> {
    let budget = state.borrow().borrow::<Arc<Budget>>().clone();
    with_garbage_collected(scope, &budget, bytes, |isolate| {
        external_memory(isolate).saturating_add(bytes) <= budget.limit() && budget.take(bytes) && {
            budget.give(bytes);
            true
        }
    })
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
