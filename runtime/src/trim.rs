//! Gives memory of ended instances back to the system.
//!
//! Instances end on many threads, and malloc keeps what they free for the next ones: after hours of waking and sleeping that
//! is a fifth of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often to look.
const PERIOD: Duration = Duration::from_secs(10);

/// Ended instances that are worth a trim, which costs a fraction of a second of CPU.
const WORTH: usize = 256;

/// Counts instances that ended.
#[derive(Default)]
pub struct Trimmer {
    ended: AtomicUsize,
}

impl Trimmer {
    /// Starts the thread that trims; it ends with the last reference to the trimmer.
    pub fn start() -> Arc<Self> {
        let trimmer = Arc::new(Self::default());
        let watched = Arc::downgrade(&trimmer);
        std::thread::Builder::new()
            .name("trimmer".into())
            .spawn(move || {
                while let Some(trimmer) = watched.upgrade() {
                    if trimmer.ended.load(Ordering::Relaxed) >= WORTH {
                        trimmer.ended.store(0, Ordering::Relaxed);
                        trim_memory();
                    }
                    drop(trimmer);
                    std::thread::sleep(PERIOD);
                }
            })
            .expect("the system has room for a thread");
        trimmer
    }

    /// An instance ended.
    pub fn ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns free memory of every arena to the system; takes a fraction of a second. Only glibc has this, and needs it.
#[cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "a call into the C library")
)]
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
