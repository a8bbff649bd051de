//! A budget for `ArrayBuffer` memory, which V8's heap limit does not cover.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deno_core::v8;

/// One isolate's budget. Allocations over it fail, which JavaScript sees as a `RangeError`.
pub struct ExternalMemory(Arc<Budget>);

struct Budget {
    used: AtomicUsize,
    limit: usize,
}

/// What malloc aligns to as well.
const ALIGN: usize = 16;

impl ExternalMemory {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Budget {
            used: AtomicUsize::new(0),
            limit,
        }))
    }

    /// The budget, in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// An allocator that draws on this budget.
    #[expect(unsafe_code, reason = "V8's allocator interface is unsafe")]
    pub fn allocator(&self) -> v8::UniqueRef<v8::Allocator> {
        // SAFETY: the table below takes an `Arc<Budget>` made by `into_raw`, and `release` gives it back.
        unsafe { v8::new_rust_allocator(Arc::into_raw(self.0.clone()), &VTABLE) }
    }
}

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|total| *total <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }
}

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.max(1), ALIGN).ok()
}

fn allocate_with(
    budget: &Budget,
    bytes: usize,
    allocate: impl FnOnce(Layout) -> *mut u8,
) -> *mut c_void {
    let Some(layout) = layout(bytes) else {
        return std::ptr::null_mut();
    };
    if !budget.take(bytes) {
        return std::ptr::null_mut();
    }
    let memory = allocate(layout);
    if memory.is_null() {
        budget.used.fetch_sub(bytes, Ordering::Relaxed);
    }
    memory.cast()
}

#[expect(unsafe_code, reason = "V8's allocator interface is unsafe")]
static VTABLE: v8::RustAllocatorVtable<Budget> = {
    unsafe extern "C" fn zeroed(budget: &Budget, bytes: usize) -> *mut c_void {
        // SAFETY: the layout's size is not zero.
        allocate_with(budget, bytes, |layout| unsafe { alloc_zeroed(layout) })
    }
    unsafe extern "C" fn uninitialized(budget: &Budget, bytes: usize) -> *mut c_void {
        // SAFETY: the layout's size is not zero.
        allocate_with(budget, bytes, |layout| unsafe { alloc(layout) })
    }
    unsafe extern "C" fn free(budget: &Budget, memory: *mut c_void, bytes: usize) {
        let Some(layout) = layout(bytes) else { return };
        budget.used.fetch_sub(bytes, Ordering::Relaxed);
        // SAFETY: V8 frees what it got from this allocator, with the size it asked for.
        unsafe { dealloc(memory.cast(), layout) };
    }
    unsafe extern "C" fn release(budget: *const Budget) {
        // SAFETY: from `Arc::into_raw` in `ExternalMemory::allocator`, released once.
        drop(unsafe { Arc::from_raw(budget) });
    }
    v8::RustAllocatorVtable {
        allocate: zeroed,
        allocate_uninitialized: uninitialized,
        free,
        drop: release,
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_overdrawn() {
        let budget = Budget {
            used: AtomicUsize::new(0),
            limit: 10,
        };
        assert!(budget.take(6));
        assert!(!budget.take(5));
        assert!(!budget.take(usize::MAX));
        assert!(budget.take(4));
    }
}
