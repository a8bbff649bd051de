//! Tells when files of a folder change.

use std::path::Path;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Editors write a file in several steps; changes closer together than this are one.
const SETTLE: Duration = Duration::from_millis(100);

/// A folder that is being watched.
pub struct Watch {
    changes: mpsc::UnboundedReceiver<()>,
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    /// Watches `dir` and everything below it, but for Portside's own state and version control.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub fn start(dir: &Path) -> notify::Result<Self> {
        let (sender, changes) = mpsc::unbounded_channel();
        let root = dir.to_path_buf();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let Ok(event) = event else { return };
                if !matches!(event.kind, EventKind::Access(_))
                    && event.paths.iter().any(|path| matters(&root, path))
                {
                    // After the end nobody listens.
                    let _ = sender.send(());
                }
            })?;
        watcher.watch(dir, RecursiveMode::Recursive)?;
        Ok(Self {
            changes,
            _watcher: watcher,
        })
    }

    /// Returns after the next change, once things are quiet.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(SETTLE, self.changes.recv()).await {}
    }
}

fn matters(root: &Path, path: &Path) -> bool {
    let inside = path.strip_prefix(root).unwrap_or(path);
    !inside
        .components()
        .any(|part| matches!(part.as_os_str().to_str(), Some(".portside" | ".git")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_state_does_not_matter() {
        let root = Path::new("/app");
        assert!(matters(root, Path::new("/app/server.js")));
        assert!(matters(root, Path::new("/app/lib/.env")));
        assert!(!matters(root, Path::new("/app/.portside/state.sqlite-wal")));
        assert!(!matters(root, Path::new("/app/.git/index")));
    }
}
