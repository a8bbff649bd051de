//! Tells when files of a folder change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Editors write a file in several steps; changes closer together than this are one.
const SETTLE: Duration = Duration::from_millis(100);

/// A folder that is being watched: itself, and each of its folders with everything below. Not all of it at once: the
/// database lies in there, and each of its writes would be told of only to be disregarded.
pub struct Watch {
    root: PathBuf,
    /// Where something changed.
    changes: mpsc::UnboundedReceiver<PathBuf>,
    watcher: notify::RecommendedWatcher,
    /// A folder elsewhere that is watched as well.
    other: Option<PathBuf>,
}

impl Watch {
    /// Watches `dir` and everything below it, but for Portside's own state and version control.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub fn start(dir: &Path) -> notify::Result<Self> {
        let (sender, changes) = mpsc::unbounded_channel();
        let root = dir.to_path_buf();
        let filter = root.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else { return };
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            for path in event
                .paths
                .into_iter()
                .filter(|path| matters(&filter, path))
            {
                // After the end nobody listens.
                let _ = sender.send(path);
            }
        })?;
        let mut watch = Self {
            root,
            changes,
            watcher,
            other: None,
        };
        watch.watcher.watch(dir, RecursiveMode::NonRecursive)?;
        for entry in dir.read_dir()? {
            watch.follow(&entry?.path())?;
        }
        Ok(watch)
    }

    /// Also watches this folder, if it is not in the other one, in place of one that was told before.
    ///
    /// # Errors
    /// The system cannot watch it.
    pub fn also(&mut self, dir: Option<&Path>) -> notify::Result<()> {
        let dir = dir.filter(|dir| !dir.starts_with(&self.root));
        if self.other.as_deref() == dir {
            return Ok(());
        }
        if let Some(old) = self.other.take() {
            // It may be gone.
            let _ = self.watcher.unwatch(&old);
        }
        if let Some(dir) = dir {
            self.watcher.watch(dir, RecursiveMode::Recursive)?;
            self.other = Some(dir.to_owned());
        }
        Ok(())
    }

    /// Returns after the next change, once things are quiet.
    pub async fn changed(&mut self) {
        self.take_change().await;
        while tokio::time::timeout(SETTLE, self.take_change())
            .await
            .is_ok()
        {}
    }

    /// Returns after the next change.
    async fn take_change(&mut self) {
        let Some(path) = self.changes.recv().await else {
            return std::future::pending().await;
        };
        if path.parent() == Some(&self.root) {
            // A new folder cannot always be watched: it may be gone again. What is in it is read anyway.
            let _ = self.follow(&path);
        }
    }

    /// Watches what is directly in the folder, if it is a folder itself; anew, if it has taken the place of another.
    fn follow(&mut self, path: &Path) -> notify::Result<()> {
        if !matters(&self.root, path) || !path.is_dir() {
            return Ok(());
        }
        // Fails where it was not watched.
        let _ = self.watcher.unwatch(path);
        self.watcher.watch(path, RecursiveMode::Recursive)
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
