//! Postgres' programs on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::process::Command;

/// Where Debian and its kin keep them, in a folder for each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The oldest that the store works with.
const OLDEST: u32 = 15;

/// The programs of one version.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Those of a version, or of the first that will do: on the PATH, where `pg_config` says, or where Debian has them, the newest
    /// first.
    ///
    /// # Errors
    /// There are none; with what to install.
    pub async fn find(wanted: Option<u32>) -> anyhow::Result<Self> {
        let mut found = vec![];
        for folder in folders().await {
            let Some(version) = version(&folder).await else {
                continue;
            };
            let fits = wanted.map_or(version >= OLDEST, |wanted| version == wanted);
            if fits && folder.join("initdb").is_file() {
                return Ok(Self { folder });
            }
            found.push(version);
        }
        let step = "or name a server with --store postgres://…";
        match wanted {
            Some(wanted) => bail!(
                "the data in .portside/postgres are of Postgres {wanted}, whose programs are not here: install them, {step}, \
                 or remove that folder and what is in it"
            ),
            None if found.is_empty() => bail!(
                "--pods needs a Postgres, and there are no programs of one here: install them (Debian: apt install \
                 postgresql; macOS: brew install postgresql@17), {step}"
            ),
            None => bail!(
                "--pods needs Postgres {OLDEST} or newer, and here is only {found:?}: install a newer one, {step}"
            ),
        }
    }

    /// A program's path.
    pub fn of(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

/// The version of a server whose data are in this folder, if there are some.
pub fn version_of(data: &Path) -> anyhow::Result<Option<u32>> {
    let file = data.join("PG_VERSION");
    if !data.is_dir() {
        return Ok(None);
    }
    let shown = file.display();
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {shown}"))?;
    let version = text.trim().parse();
    Ok(Some(
        version.with_context(|| format!("{shown} has no version"))?,
    ))
}

async fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).find(|folder| folder.join("postgres").is_file());
    let mut folders: Vec<PathBuf> = on_path.into_iter().collect();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output().await {
        let folder = String::from_utf8_lossy(&output.stdout);
        folders.push(PathBuf::from(folder.trim()));
    }
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    folders.extend(versions.into_iter().map(|(_, folder)| folder));
    folders
}

/// As in `postgres (PostgreSQL) 17.6 (Debian 17.6-1)`.
async fn version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres"))
        .arg("--version")
        .output();
    let output = output.await.ok().filter(|output| output.status.success())?;
    major(&String::from_utf8(output.stdout).ok()?)
}

fn major(said: &str) -> Option<u32> {
    let mut words = said.split_whitespace();
    words.find(|word| *word == "(PostgreSQL)")?;
    let version = words.next()?;
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_said() {
        assert_eq!(
            major("postgres (PostgreSQL) 17.6 (Debian 17.6-1)"),
            Some(17)
        );
        assert_eq!(major("postgres (PostgreSQL) 19devel"), Some(19));
        assert_eq!(major("something else 17"), None);
    }

    #[tokio::test]
    async fn a_version_that_is_not_here_is_named_with_the_next_step() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(version_of(&data.path().join("data")).unwrap(), None);
        assert!(version_of(data.path()).is_err());
        std::fs::write(data.path().join("PG_VERSION"), "9\n").unwrap();
        let version = version_of(data.path()).unwrap();
        let Err(why) = Programs::find(version).await else {
            panic!("there is none that old");
        };
        assert!(
            why.to_string()
                .contains("of Postgres 9, whose programs are not here"),
            "{why}"
        );
    }
}
