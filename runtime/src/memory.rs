//! A budget for `ArrayBuffer` memory, which V8's heap limit does not cover.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ffi::c_void;
use std::sync::Arc;

use deno_core::v8;
use portside_surface::memory::Budget;

/// One isolate's budget. Allocations over it fail, which JavaScript sees as a `RangeError`.
pub struct ExternalMemory(Arc<Budget>);

/// What malloc aligns to as well.
const ALIGN: usize = 16;

impl ExternalMemory {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Budget::new(limit))
    }

    /// The budget, in bytes.
    pub fn limit(&self) -> usize {
        self.0.limit()
    }

    /// The budget, for what else draws on it.
    pub fn budget(&self) -> Arc<Budget> {
        self.0.clone()
    }

    /// An allocator that draws on this budget.
    #[expect(unsafe_code, reason = "V8's allocator interface is unsafe")]
    pub fn allocator(&self) -> v8::UniqueRef<v8::Allocator> {
        // SAFETY: the table below takes an `Arc<Budget>` made by `into_raw`, and `release` gives it back.
        unsafe { v8::new_rust_allocator(Arc::into_raw(self.0.clone()), &VTABLE) }
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
        budget.give(bytes);
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
        budget.give(bytes);
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
