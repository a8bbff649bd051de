//! A `deno_core` runtime that is entered only while it is touched, so that many can live on one thread.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deno_core::{CompiledWasmModuleStore, JsRuntime, RuntimeOptions, SharedArrayBufferStore, v8};
use portside_core::limits::Limits;
use portside_surface::memory::{Budget, external_memory};
use portside_surface::parts::{CompiledParts, Parts, Sources};

use crate::loader::BundleLoader;
use crate::memory::ExternalMemory;

/// The JavaScript surface; made by the build script.
static SNAPSHOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/surface.snapshot"));

/// The parts of the surface that are not in the snapshot; made by the build script, too.
static PARTS: Sources = include!(concat!(env!("OUT_DIR"), "/parts.rs"));

/// Room for V8 to unwind in once the heap limit is reached, given once. It must hold the largest single allocation that can
/// be under way (a two-byte string of 2^29 characters), or V8 aborts the process. Touched only then.
const HEAP_HEADROOM: usize = 1_280 << 20;

/// What may be held beyond the limit while JavaScript runs: copies that the host makes of what is stored or sent.
const FLEETING: usize = 128 << 20;

/// Bytes of a page of WebAssembly memory.
const WASM_PAGE: usize = 1 << 16;

/// The largest memory that WebAssembly's rules allow, in pages: 16 GiB.
const WASM_MAX_PAGES: usize = 1 << 18;

/// An isolate of one instance. Not entered between calls.
///
/// Invariant: every touch of the runtime is between `enter` and `exit` on the thread that made it, strictly nested.
pub struct Isolate {
    runtime: ManuallyDrop<JsRuntime>,
    raw: v8::UnsafeRawIsolatePtr,
    usage: Arc<Usage>,
    external: ExternalMemory,
}

/// How much memory an isolate has, and what it has met of its limits. V8's callbacks refer to it until the isolate is dropped.
pub struct Usage {
    handle: v8::IsolateHandle,
    budget: Arc<Budget>,
    /// As V8 counted when it last collected garbage.
    heap_bytes: AtomicUsize,
    external_bytes: AtomicUsize,
    /// For how many nanoseconds its JavaScript has run.
    ran: AtomicU64,
    heap: AtomicBool,
    external: AtomicBool,
    will_look: AtomicBool,
}

/// Whether more than `limit` is held outside of the heap. Garbage does not count.
fn is_over(isolate: &mut v8::Isolate, limit: usize) -> bool {
    external_memory(isolate) > limit && {
        isolate.low_memory_notification();
        external_memory(isolate) > limit
    }
}

impl Usage {
    fn new(handle: v8::IsolateHandle, budget: Arc<Budget>) -> Self {
        Self {
            handle,
            budget,
            heap_bytes: AtomicUsize::new(0),
            external_bytes: AtomicUsize::new(0),
            ran: AtomicU64::new(0),
            heap: AtomicBool::new(false),
            external: AtomicBool::new(false),
            will_look: AtomicBool::new(false),
        }
    }

    fn exhaust(&self, limit: &AtomicBool) {
        limit.store(true, Ordering::Relaxed);
        self.terminate();
    }

    fn is_exhausted(&self) -> bool {
        self.heap.load(Ordering::Relaxed) || self.external.load(Ordering::Relaxed)
    }

    /// Bytes in its heap, as of its last collection of garbage, or of its beginning.
    pub fn heap_bytes(&self) -> usize {
        self.heap_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that it holds outside: what it has of its budget, or what V8 counted last if that is more, for WebAssembly grows
    /// its memories without asking.
    pub fn external_bytes(&self) -> usize {
        let counted = self.external_bytes.load(Ordering::Relaxed);
        counted.max(self.budget.used())
    }

    /// For how long its JavaScript has run, by a clock on the wall: one of the processor costs more than what many events do.
    pub fn ran(&self) -> Duration {
        Duration::from_nanos(self.ran.load(Ordering::Relaxed))
    }

    /// Its JavaScript has run for so long.
    pub fn has_run(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.ran.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Has V8 count what it has: some microseconds.
    fn measure(&self, isolate: &mut v8::Isolate) {
        let heap = isolate.get_heap_statistics().used_heap_size();
        self.heap_bytes.store(heap, Ordering::Relaxed);
        let external = external_memory(isolate);
        self.external_bytes.store(external, Ordering::Relaxed);
    }

    /// Ends what it runs.
    pub fn terminate(&self) {
        self.handle.terminate_execution();
    }

    /// Has it look whether it holds far too much outside of its heap, as soon as what it runs can be interrupted: WebAssembly
    /// grows its memories without asking. May be called on any thread.
    #[expect(unsafe_code, reason = "V8's callbacks are unsafe")]
    pub fn look(&self) {
        unsafe extern "C" fn interrupted(isolate: v8::UnsafeRawIsolatePtr, usage: *mut c_void) {
            // SAFETY: as in `collected`.
            let (mut isolate, usage) = unsafe { of_callback(isolate, usage) };
            if !usage.is_exhausted() && is_over(&mut isolate, usage.budget.limit() + FLEETING) {
                usage.exhaust(&usage.external);
            }
            usage.will_look.store(false, Ordering::Relaxed);
        }
        // One at a time: on a busy machine looking takes longer than it takes until somebody asks again.
        if !self.will_look.swap(true, Ordering::Relaxed) {
            self.handle.request_interrupt(interrupted, self.as_data());
        }
    }

    /// Looks after each garbage collection, too. What allocates after a limit was met is terminated once more: a
    /// termination holds for one call into JavaScript only.
    #[expect(unsafe_code, reason = "V8's callbacks are unsafe")]
    fn watch(&self, isolate: &mut v8::Isolate) {
        unsafe extern "C" fn collected(
            isolate: v8::UnsafeRawIsolatePtr,
            _kind: v8::GCType,
            _flags: v8::GCCallbackFlags,
            usage: *mut c_void,
        ) {
            // SAFETY: V8 passes its isolate, and what `as_data` gave it; `Isolate` keeps that longer than the isolate.
            let (mut isolate, usage) = unsafe { of_callback(isolate, usage) };
            usage.measure(&mut isolate);
            if usage.is_exhausted() {
                usage.terminate();
            } else if usage.external_bytes.load(Ordering::Relaxed) > usage.budget.limit() + FLEETING
            {
                usage.look(); // garbage that was found is not freed yet
            }
        }
        isolate.add_gc_epilogue_callback(collected, self.as_data(), v8::GCType::kGCTypeAll);
    }

    fn as_data(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

/// What one of V8's callbacks is given.
///
/// # Safety
/// `usage` is from `Usage::as_data`, and lives as long as the isolate.
#[expect(unsafe_code, reason = "V8's callbacks are unsafe")]
unsafe fn of_callback<'a>(
    isolate: v8::UnsafeRawIsolatePtr,
    usage: *mut c_void,
) -> (v8::Isolate, &'a Usage) {
    // SAFETY: the caller's.
    unsafe {
        (
            v8::Isolate::from_raw_isolate_ptr(isolate),
            &*usage.cast::<Usage>(),
        )
    }
}

/// Has V8 refuse that one WebAssembly memory grows over the largest limit that any instance of the process has. What is
/// over an instance's own limit is met by looking.
fn limit_memories(bytes: usize) {
    static LARGEST: Mutex<usize> = Mutex::new(0);
    let mut largest = LARGEST.lock().unwrap_or_else(PoisonError::into_inner);
    if bytes > *largest {
        *largest = bytes;
        let pages = (bytes / WASM_PAGE).min(WASM_MAX_PAGES);
        v8::V8::set_flags_from_string(&format!("--wasm-max-mem-pages={pages}"));
    }
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
    pub fn new(loader: Rc<BundleLoader>, limits: &Limits, compiled: Arc<CompiledParts>) -> Self {
        limit_memories(limits.external_bytes);
        let external = ExternalMemory::new(limits.external_bytes);
        let params = v8::CreateParams::default()
            .heap_limits(0, limits.heap_bytes)
            .array_buffer_allocator(external.allocator());
        let mut runtime = JsRuntime::new(RuntimeOptions {
            module_loader: Some(loader),
            extensions: portside_surface::extensions(),
            startup_snapshot: Some(SNAPSHOT),
            residual_lazy_js_sources: portside_surface::MODULES,
            skip_op_registration: true, // the snapshot has them bound
            create_params: Some(params),
            // On the way from `structuredClone` to itself: without it a transferred buffer would be copied.
            shared_array_buffer_store: Some(SharedArrayBufferStore::default()),
            // The same for a `WebAssembly.Module`, which could not be cloned at all.
            compiled_wasm_module_store: Some(CompiledWasmModuleStore::default()),
            ..Default::default()
        });
        runtime.op_state().borrow_mut().put(external.budget());
        let parts = Parts::new(PARTS, compiled);
        runtime.op_state().borrow_mut().put(parts);
        let isolate = runtime.v8_isolate();
        let handle = isolate.thread_safe_handle();
        isolate.set_allow_atomics_wait(false); // it would block the thread
        let usage = Arc::new(Usage::new(handle, external.budget()));
        let heap = usage.clone();
        runtime.add_near_heap_limit_callback(move |_, initial| {
            heap.exhaust(&heap.heap);
            initial + HEAP_HEADROOM
        });
        usage.watch(runtime.v8_isolate());
        usage.measure(runtime.v8_isolate());
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

    /// To watch what it runs, from another thread.
    pub fn usage(&self) -> Arc<Usage> {
        self.usage.clone()
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
            || self.with(|runtime| is_over(runtime.v8_isolate(), limit));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use portside_core::bundle::Bundle;

    use super::*;
    use crate::pool::IsolatePool;
    use crate::script::Scripts;

    /// What V8 counts in a heap snapshot, by the name of the count.
    fn count(runtime: &mut JsRuntime, name: &str) -> usize {
        let mut snapshot = Vec::new();
        let isolate = runtime.v8_isolate();
        isolate.take_heap_snapshot(|part| {
            snapshot.extend_from_slice(part);
            true
        });
        let text = String::from_utf8_lossy(&snapshot);
        let (_, after) = text.split_once(name).unwrap();
        let (digits, _) = after.split_once(',').unwrap();
        digits.parse().unwrap()
    }

    #[test]
    fn a_new_isolate_is_small() {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _entered = tokio.enter();
        let _flags = IsolatePool::new(1, 1, |_| {});
        let bundle = Arc::new(Bundle {
            main: "server.js".to_owned(),
            modules: BTreeMap::new(),
        });
        let script = Scripts::default().of(&bundle, "server.js");
        let loader = Rc::new(BundleLoader::new(bundle, script, false));
        let mut isolate = Isolate::new(loader, &Limits::default(), Arc::default());
        let usage = isolate.usage();
        assert!(usage.heap_bytes() > 500_000, "measured when it was made");
        let (bytes, objects) = isolate.with(|runtime| {
            runtime.v8_isolate().low_memory_notification();
            let bytes = runtime.v8_isolate().get_heap_statistics().used_heap_size();
            let measured = usage.heap_bytes();
            // Measured while V8 ends the collection.
            assert!(measured.abs_diff(bytes) < bytes / 4, "{measured}");
            (bytes, count(runtime, "\"node_count\":"))
        });
        // Some per cent above what it is. Each worker pays for more, awake and when it wakes.
        assert!(bytes < 1_225_000, "{bytes} bytes");
        assert!(objects < 29_500, "{objects} objects");
    }
}
