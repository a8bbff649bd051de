//! What many senders share of the process's memory.

use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of all sockets of the process that may wait together, each socket's one message aside that waits alone.
pub const SHARED_WINDOW_BYTES: usize = 64 << 20;

static SHARED_WINDOW: LazyLock<SharedWindow> =
    LazyLock::new(|| SharedWindow::new(SHARED_WINDOW_BYTES));

/// The bytes that many senders share.
#[derive(Debug, Clone)]
pub struct SharedWindow(Arc<Semaphore>);

/// Bytes of a shared window. They are free again when this is dropped.
#[derive(Debug)]
pub struct Share {
    _permits: OwnedSemaphorePermit,
}

impl SharedWindow {
    /// Of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// The process's, of [`SHARED_WINDOW_BYTES`].
    #[must_use]
    pub fn of_process() -> Self {
        SHARED_WINDOW.clone()
    }

    /// So many bytes, if they are there and nobody waits for others.
    #[must_use]
    pub fn take_if_room(&self, bytes: usize) -> Option<Share> {
        let bytes = u32::try_from(bytes).ok()?;
        let _permits = Arc::clone(&self.0).try_acquire_many_owned(bytes).ok()?;
        Some(Share { _permits })
    }

    /// Waits for so many bytes; for ever, if they are more than all.
    pub async fn take(&self, bytes: usize) -> Share {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match Arc::clone(&self.0).acquire_many_owned(bytes).await {
            Ok(_permits) => Share { _permits },
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }
}
