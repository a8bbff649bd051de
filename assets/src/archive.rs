//! Assets in one file, for machines that do not have their folder: a tar with gzip, which has the files that are served and those
//! that say how. Equal folders give equal archives.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, EntryType, Header};

use crate::folder::SAYING;
use crate::{Assets, IGNORE_FILE, MOST_ARCHIVED_BYTES, MOST_FILE_BYTES, MOST_FILES};

/// The longest name of a file, in bytes.
const MOST_NAME_BYTES: u64 = 4 << 10;

/// The most entries of an archive: a file can have one for its name, too.
const MOST_ENTRIES: usize = 2 * (MOST_FILES + SAYING.len());

/// The most bytes of a tar that has as much as is allowed: of each entry, a header, a name and what fills a block.
const MOST_UNPACKED_BYTES: u64 = MOST_ARCHIVED_BYTES + MOST_ENTRIES as u64 * (3 << 10);

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It is no archive, or has been damaged.
    #[error("the assets' archive cannot be read: {0}")]
    Malformed(io::Error),
    /// It has what no folder of assets has.
    #[error("the assets' archive has {path}, which {what}")]
    Unfit {
        /// Its name there.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It has more than is allowed.
    #[error("the assets' archive has more than {0}")]
    TooLarge(String),
    /// There is no room for it.
    #[error("the assets cannot be unpacked to {}: {error}", folder.display())]
    NoRoom {
        /// Where to.
        folder: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// Writes the archive of a folder's assets.
///
/// # Errors
/// A file cannot be read, `to` cannot be written, or there is more than an archive may have.
pub fn pack(assets: &Assets, to: impl Write) -> io::Result<()> {
    let mut tar = Builder::new(GzEncoder::new(to, Compression::default()));
    let saying = SAYING.map(|name| (name.to_owned(), assets.root().join(name)));
    let served = assets
        .files()
        .map(|(path, place)| (path[1..].to_owned(), place.to_owned()));
    let mut files: Vec<_> = saying
        .into_iter()
        .filter(|(_, place)| place.is_file())
        .collect();
    files.extend(served);
    files.sort();
    files.dedup();
    let mut total = 0;
    for (path, place) in files {
        let file = std::fs::File::open(&place)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        let bytes = file.metadata()?.len();
        header.set_size(bytes);
        total += bytes;
        if total > MOST_ARCHIVED_BYTES {
            let most = MOST_ARCHIVED_BYTES >> 20;
            return Err(io::Error::other(format!(
                "the assets have more than {most} MiB together: leave some out by {IGNORE_FILE}"
            )));
        }
        let mut content = file.take(bytes);
        tar.append_data(&mut header, path, &mut content)?;
        if content.limit() > 0 {
            let what = format!("{} became shorter while it was read", place.display());
            return Err(io::Error::other(what));
        }
    }
    tar.into_inner()?.finish()?;
    Ok(())
}

/// Unpacks an archive to a folder, which is made anew: what an earlier process has left there goes.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack(from: impl Read, folder: &Path) -> Result<(), UnpackError> {
    let no_room = |error| UnpackError::NoRoom {
        folder: folder.to_owned(),
        error,
    };
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(no_room(error)),
        _ => std::fs::create_dir_all(folder).map_err(no_room)?,
    }
    let mut archive = Archive::new(GzDecoder::new(from).take(MOST_UNPACKED_BYTES));
    let (mut count, mut total) = (0, 0);
    let mut long_name = None;
    // As they are: read for us, names would be in memory however long they are.
    let entries = archive.entries().map_err(UnpackError::Malformed)?;
    for entry in entries.raw(true) {
        let mut entry = entry.map_err(UnpackError::Malformed)?;
        let path = match long_name.take() {
            Some(path) => path,
            None => entry.path().map_err(UnpackError::Malformed)?.into_owned(),
        };
        let (kind, bytes) = (entry.header().entry_type(), entry.size());
        count += 1;
        if count > MOST_ENTRIES {
            return Err(UnpackError::TooLarge(format!("{MOST_FILES} files")));
        }
        let what = match kind {
            EntryType::GNULongName if bytes <= MOST_NAME_BYTES => {
                long_name = Some(name_in(&mut entry)?);
                continue;
            }
            EntryType::GNULongName => "has too long a name",
            EntryType::Directory => continue,
            EntryType::Regular if !is_inside(&path) => "leads out of the folder",
            EntryType::Regular if bytes > MOST_FILE_BYTES => "is larger than a file may be",
            EntryType::Regular => "",
            _ => "is not a file",
        };
        if !what.is_empty() {
            let path = path.display().to_string();
            return Err(UnpackError::Unfit { path, what });
        }
        total += bytes;
        if total > MOST_ARCHIVED_BYTES {
            let most = MOST_ARCHIVED_BYTES >> 20;
            return Err(UnpackError::TooLarge(format!("{most} MiB")));
        }
        write(&mut entry, &folder.join(path), bytes).map_err(no_room)??;
    }
    Ok(())
}

/// The name that is an entry's content.
fn name_in(entry: &mut impl Read) -> Result<PathBuf, UnpackError> {
    let mut name = String::new();
    let read = entry.read_to_string(&mut name);
    read.map_err(UnpackError::Malformed)?;
    Ok(name.trim_end_matches('\0').into())
}

/// Whether a path is a plain one.
fn is_inside(path: &Path) -> bool {
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Writes an entry's content. The outer error is that of the folder.
fn write(entry: &mut impl Read, place: &Path, bytes: u64) -> io::Result<Result<(), UnpackError>> {
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = std::fs::File::create(place)?;
    let mut buffer = vec![0; 64 << 10];
    let mut left = bytes;
    while left > 0 {
        let read = match entry.read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        let read = match read {
            Ok(read) => read,
            Err(error) => return Ok(Err(UnpackError::Malformed(error))),
        };
        file.write_all(&buffer[..read])?;
        left = left.saturating_sub(read as u64);
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests;
