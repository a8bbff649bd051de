//! The budget for memory outside of the JavaScript heap.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deno_core::{OpState, op2};
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
    let limit = budget.limit();
    Err(JsErrorBox::range_error(format!(
        "no memory left: the limit of memory outside of the heap is {limit} bytes"
    )))
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
