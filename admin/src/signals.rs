use tokio::signal::unix::{SignalKind, signal};

/// Resolves when the kubelet, or a person, asks the process to end: at SIGTERM or SIGINT, which do nothing else any more.
///
/// # Errors
/// The system does not let us hear of them.
pub fn asked_to_end() -> std::io::Result<impl Future<Output = ()> + use<>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
