//! A `deno_core` runtime that is entered only while it is touched, so that many can live on one thread.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deno_core::{CompiledWasmModuleStore, JsRuntime, RuntimeOptions, SharedArrayBufferStore, v8};
use portside_core::bundle::Bundle;
use portside_core::limits::Limits;

use crate::loader::BundleLoader;
use crate::memory::ExternalMemory;

/// The JavaScript surface; made by the build script.
static SNAPSHOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/surface.snapshot"));

/// Room for V8 to unwind in once the heap limit is reached, given once. It must hold the largest single allocation that can
/// be under way (a two-byte string of 2^29 characters), or V8 aborts the process. Touched only then.
const HEAP_HEADROOM: usize = 1_280 << 20;

/// An isolate of one instance. Not entered between calls.
///
/// Invariant: every touch of the runtime is between `enter` and `exit` on the thread that made it, strictly nested.
pub struct Isolate {
    runtime: ManuallyDrop<JsRuntime>,
    raw: v8::UnsafeRawIsolatePtr,
    usage: Arc<Usage>,
    external: ExternalMemory,
}

/// What an isolate has met of its memory limits. V8's callbacks refer to it until the isolate is dropped.
struct Usage {
    handle: v8::IsolateHandle,
    external_limit: usize,
    heap: AtomicBool,
    external: AtomicBool,
}

/// What V8 counts: also what the host made into an `ArrayBuffer` without the allocator.
fn external_memory(isolate: &mut v8::Isolate) -> usize {
    isolate.get_heap_statistics().external_memory()
}

impl Usage {
    fn new(handle: v8::IsolateHandle, external_limit: usize) -> Self {
        Self {
            handle,
            external_limit,
            heap: AtomicBool::new(false),
            external: AtomicBool::new(false),
        }
    }

    fn exhaust(&self, limit: &AtomicBool) {
        limit.store(true, Ordering::Relaxed);
        self.handle.terminate_execution();
    }

    fn is_exhausted(&self) -> bool {
        self.heap.load(Ordering::Relaxed) || self.external.load(Ordering::Relaxed)
    }

    /// Looks after each garbage collection, which V8 makes when external memory has grown much, too. What allocates after
    /// a limit was met is terminated once more: a termination holds for one call into JavaScript only.
    #[expect(unsafe_code, reason = "V8's callbacks are unsafe")]
    fn watch(self: &Arc<Self>, isolate: &mut v8::Isolate) {
        unsafe extern "C" fn collected(
            isolate: v8::UnsafeRawIsolatePtr,
            _kind: v8::GCType,
            _flags: v8::GCCallbackFlags,
            usage: *mut c_void,
        ) {
            // SAFETY: V8 passes its isolate, and what `watch` gave it; `Isolate` keeps that longer than the isolate.
            let (mut isolate, usage) = unsafe {
                (
                    v8::Isolate::from_raw_isolate_ptr(isolate),
                    &*usage.cast::<Usage>(),
                )
            };
            if usage.is_exhausted() {
                usage.handle.terminate_execution();
            } else if external_memory(&mut isolate) > usage.external_limit + EXTERNAL_GARBAGE {
                usage.exhaust(&usage.external);
            }
        }
        let this = Arc::as_ptr(self).cast_mut().cast::<c_void>();
        isolate.add_gc_epilogue_callback(collected, this, v8::GCType::kGCTypeAll);
    }
}

/// What may be counted beyond the limit while JavaScript runs: garbage that V8 lets gather, and frees on other threads.
const EXTERNAL_GARBAGE: usize = 128 << 20;

struct Entered(v8::UnsafeRawIsolatePtr);

impl Entered {
    #[expect(unsafe_code, reason = "V8's enter is unsafe")]
    fn new(raw: v8::UnsafeRawIsolatePtr) -> Self {
        // SAFETY: the `Isolate` that owns `raw` is alive while this guard is, and both stay on its thread.
        unsafe { v8::Isolate::ref_from_raw_isolate_ptr(&raw).enter() };
        Self(raw)
    }
}

impl Drop for Entered {
    #[expect(unsafe_code, reason = "V8's exit is unsafe")]
    fn drop(&mut self) {
        // SAFETY: guards nest strictly, so the current isolate is the one entered in `new`.
        unsafe { v8::Isolate::ref_from_raw_isolate_ptr(&self.0).exit() };
    }
}

impl Isolate {
    /// A new isolate with the surface in it and nothing of the application yet. Takes about 3 ms.
    ///
    /// Must be called at the top of a thread's stack, outside of any other isolate.
    #[expect(unsafe_code, reason = "V8's raw isolate pointer is unsafe")]
    pub fn new(bundle: Arc<Bundle>, limits: &Limits) -> Self {
        let external = ExternalMemory::new(limits.external_bytes);
        let params = v8::CreateParams::default()
            .heap_limits(0, limits.heap_bytes)
            .array_buffer_allocator(external.allocator());
        let mut runtime = JsRuntime::new(RuntimeOptions {
            module_loader: Some(Rc::new(BundleLoader::new(bundle))),
            extensions: portside_surface::extensions(),
            startup_snapshot: Some(SNAPSHOT),
            skip_op_registration: true, // the snapshot has them bound
            create_params: Some(params),
            // On the way from `structuredClone` to itself: without it a transferred buffer would be copied.
            shared_array_buffer_store: Some(SharedArrayBufferStore::default()),
            // The same for a `WebAssembly.Module`, which could not be cloned at all.
            compiled_wasm_module_store: Some(CompiledWasmModuleStore::default()),
            ..Default::default()
        });
        runtime.op_state().borrow_mut().put(external.budget());
        let isolate = runtime.v8_isolate();
        let handle = isolate.thread_safe_handle();
        isolate.set_allow_atomics_wait(false); // it would block the thread
        let usage = Arc::new(Usage::new(handle, external.limit()));
        let heap = usage.clone();
        runtime.add_near_heap_limit_callback(move |_, initial| {
            heap.exhaust(&heap.heap);
            initial + HEAP_HEADROOM
        });
        usage.watch(runtime.v8_isolate());
        // SAFETY: `JsRuntime::new` entered the isolate on this thread; from here on only `Entered` enters it.
        let raw = unsafe {
            let raw = runtime.v8_isolate().as_raw_isolate_ptr();
            runtime.v8_isolate().exit();
            raw
        };
        Self {
            runtime: ManuallyDrop::new(runtime),
            raw,
            usage,
            external,
        }
    }

    /// Enters the isolate for `f`.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut JsRuntime) -> R) -> R {
        let _entered = Entered::new(self.raw);
        f(&mut self.runtime)
    }

    /// To end what it runs, from another thread.
    pub fn handle(&self) -> v8::IsolateHandle {
        self.usage.handle.clone()
    }

    /// Whether a memory limit was met while JavaScript ran; then nothing of it may run any more, and the isolate must be
    /// discarded.
    pub fn is_exhausted(&self) -> bool {
        self.usage.is_exhausted()
    }

    /// Which memory limit it went over, if any.
    pub fn exhausted(&mut self) -> Option<&'static str> {
        if self.usage.heap.load(Ordering::Relaxed) {
            return Some("the JavaScript heap");
        }
        let limit = self.external.limit();
        let over = self.usage.external.load(Ordering::Relaxed)
            || self.with(|runtime| {
                let isolate = runtime.v8_isolate();
                external_memory(isolate) > limit && {
                    isolate.low_memory_notification(); // garbage does not count
                    external_memory(isolate) > limit
                }
            });
        over.then_some("ArrayBuffers and WebAssembly memories")
    }
}

impl Drop for Isolate {
    #[expect(unsafe_code, reason = "the runtime must be dropped while entered")]
    fn drop(&mut self) {
        // SAFETY: dropped once, on its own thread. V8 asserts that the isolate is current and exits it itself.
        unsafe {
            v8::Isolate::ref_from_raw_isolate_ptr(&self.raw).enter();
            ManuallyDrop::drop(&mut self.runtime);
        }
    }
}
