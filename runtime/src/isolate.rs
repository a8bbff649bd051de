//! A `deno_core` runtime that is entered only while it is touched, so that many can live on one thread.

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

/// Room for V8 to unwind in once the heap limit is reached. It must hold the largest single allocation that can be under
/// way (a two-byte string of 2^29 characters), or V8 aborts the process. Touched only then.
const HEAP_HEADROOM: usize = 1_280 << 20;

/// An isolate of one instance. Not entered between calls.
///
/// Invariant: every touch of the runtime is between `enter` and `exit` on the thread that made it, strictly nested.
pub struct Isolate {
    runtime: ManuallyDrop<JsRuntime>,
    raw: v8::UnsafeRawIsolatePtr,
    handle: v8::IsolateHandle,
    heap_exhausted: Arc<AtomicBool>,
    external: ExternalMemory,
}

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
        let isolate = runtime.v8_isolate();
        let handle = isolate.thread_safe_handle();
        isolate.set_allow_atomics_wait(false); // it would block the thread
        let heap_exhausted = Arc::new(AtomicBool::new(false));
        let (exhausted, terminate) = (heap_exhausted.clone(), handle.clone());
        runtime.add_near_heap_limit_callback(move |current, _| {
            exhausted.store(true, Ordering::Relaxed);
            terminate.terminate_execution();
            current + HEAP_HEADROOM
        });
        // SAFETY: `JsRuntime::new` entered the isolate on this thread; from here on only `Entered` enters it.
        let raw = unsafe {
            let raw = runtime.v8_isolate().as_raw_isolate_ptr();
            runtime.v8_isolate().exit();
            raw
        };
        Self {
            runtime: ManuallyDrop::new(runtime),
            raw,
            handle,
            heap_exhausted,
            external,
        }
    }

    /// Enters the isolate for `f`.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut JsRuntime) -> R) -> R {
        let _entered = Entered::new(self.raw);
        f(&mut self.runtime)
    }

    /// To end what it runs, from another thread.
    pub fn handle(&self) -> &v8::IsolateHandle {
        &self.handle
    }

    /// Whether the heap limit was met; then the isolate must be discarded.
    pub fn heap_is_exhausted(&self) -> bool {
        self.heap_exhausted.load(Ordering::Relaxed)
    }

    /// Which memory limit it went over, if any.
    pub fn exhausted(&mut self) -> Option<&'static str> {
        if self.heap_is_exhausted() {
            return Some("the JavaScript heap");
        }
        // WebAssembly memories do not pass through the allocator; V8 counts them.
        let counted =
            self.with(|runtime| runtime.v8_isolate().get_heap_statistics().external_memory());
        (counted > self.external.limit()).then_some("ArrayBuffers and WebAssembly memories")
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
