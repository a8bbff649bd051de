//! The folder with the files.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use sha2::{Digest, Sha256};

use crate::html::Files;
use crate::{HEADERS_FILE, IGNORE_FILE, MOST_FILE_BYTES, MOST_FILES, REDIRECTS_FILE};

/// What is not served unless `.assetsignore` says so: what says how the others are; and secrets, state, history and packages, should
/// they lie there, for instance because the folder is the whole project.
const HIDDEN: [&str; 17] = [
    "/.assetsignore",
    "/_headers",
    "/_redirects",
    "/class.yaml",
    "/wrangler.json",
    "/wrangler.jsonc",
    "/wrangler.toml",
    "/bundle.json",
    "/assets.tar.gz",
    ".portside/",
    ".wrangler/",
    ".git",
    "node_modules/",
    ".dev.vars",
    ".dev.vars.*",
    ".env",
    ".env.*",
];

/// A Pages project's server, which is no asset.
const PAGES_SERVER: &str = "_worker.js";

/// Digits of an ETag, each of which is four bits of the content's SHA-256.
const ETAG_DIGITS: usize = 32;

/// What there is to say about a file in the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Its path in the folder; empty for the folder itself.
    pub path: String,
    /// The line, if one is meant.
    pub line: Option<u32>,
    /// For people.
    pub message: String,
}

/// What was found in a folder.
#[derive(Debug)]
pub struct Scanned<T> {
    /// What can be served.
    pub found: T,
    /// What has no effect.
    pub warnings: Vec<Note>,
}

/// The files that are served.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    root: PathBuf,
    files: BTreeMap<String, File>,
}

/// A file, when it was found.
#[derive(Debug)]
struct File {
    /// Without links.
    place: PathBuf,
    stamp: Stamp,
    etag: Mutex<Option<(Stamp, String)>>,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device and inode, and when that changed: a build may set the times of its files.
    node: (u64, u64),
    changed: (i64, i64),
}

/// A file that can be read.
pub(crate) struct Opened {
    pub file: std::fs::File,
    pub bytes: u64,
    pub etag: String,
}

impl Files for Folder {
    fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }
}

impl PartialEq for Folder {
    /// Whether the same files are there, unchanged.
    fn eq(&self, other: &Self) -> bool {
        let known = |folder: &Self| -> Vec<(String, Stamp)> {
            let files = folder.files.iter();
            files
                .map(|(path, file)| (path.clone(), file.stamp))
                .collect()
        };
        self.root == other.root && known(self) == known(other)
    }
}

impl Folder {
    /// Finds the files below `root`, which must be without links.
    ///
    /// # Errors
    /// What keeps the folder from being served.
    pub fn scan(root: &Path) -> Result<Scanned<Self>, Vec<Note>> {
        let mut scan = Scan {
            root,
            ignored: Gitignore::empty(),
            files: BTreeMap::new(),
            warnings: vec![],
            wrong: vec![],
        };
        scan.ignored = scan.ignored();
        scan.folder(root, "");
        if scan.files.len() > MOST_FILES {
            let message = format!(
                "has more than {MOST_FILES} files, which are allowed: leave some out by {IGNORE_FILE}"
            );
            scan.wrong.push(Note {
                path: String::new(),
                line: None,
                message,
            });
        }
        if !root.join(IGNORE_FILE).exists() {
            scan.refuse_pages_server();
        }
        if !scan.wrong.is_empty() {
            scan.wrong.sort();
            return Err(scan.wrong);
        }
        scan.warnings.sort();
        let found = Self {
            root: root.to_owned(),
            files: scan.files,
        };
        Ok(Scanned {
            found,
            warnings: scan.warnings,
        })
    }

    /// Where it is, without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Each file's path, and where it is.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.files
            .iter()
            .map(|(path, file)| (&**path, &*file.place))
    }

    /// The text of a file that says how others are served, if it is there.
    pub fn text(&self, name: &str) -> io::Result<Option<String>> {
        match std::fs::read_to_string(self.root.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file for reading. Blocks, for longer the first time.
    ///
    /// # Errors
    /// It cannot be read, or leads out of the folder now.
    pub fn open(&self, path: &str) -> io::Result<Opened> {
        let known = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        // A pipe in its place would not be opened until somebody writes.
        let mut file = std::fs::File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&known.place)?;
        let metadata = file.metadata()?;
        let stamp = Stamp::of(&metadata);
        // Where it is now, and whether that is what was opened.
        let place = known.place.canonicalize()?;
        let is_same = place.metadata().map(|there| Stamp::of(&there).node)? == stamp.node;
        if !place.starts_with(&self.root) || !is_same || !metadata.is_file() {
            return Err(io::Error::other("it is no file of the folder any more"));
        }
        let mut etag = known.etag.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = match &*etag {
            Some((of, tag)) if *of == stamp => tag.clone(),
            _ => {
                let tag = tag_of(&mut file)?;
                *etag = Some((stamp, tag.clone()));
                tag
            }
        };
        Ok(Opened {
            file,
            bytes: stamp.bytes,
            etag: tag,
        })
    }
}

/// A line of `.assetsignore` as `ignore` takes it to mean what it means to wrangler: white space at its end counts only if it is
/// escaped, and braces are nothing else than braces.
fn rule_of(line: &str) -> String {
    let trimmed = line.trim_end();
    let is_escaped = trimmed.ends_with('\\') && trimmed.len() < line.len();
    let line = if is_escaped { line } else { trimmed };
    line.replace('{', "\\{").replace('}', "\\}")
}

/// The ETag of a file's content, quoted. Afterwards it can be read from its start.
fn tag_of(file: &mut std::fs::File) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    file.rewind()?;
    let hash = hash.finalize();
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("\"{}\"", &digits[..ETAG_DIGITS]))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            node: (metadata.dev(), metadata.ino()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

struct Scan<'r> {
    root: &'r Path,
    ignored: Gitignore,
    files: BTreeMap<String, File>,
    warnings: Vec<Note>,
    wrong: Vec<Note>,
}

impl Scan<'_> {
    fn warn(&mut self, path: &str, line: Option<u32>, message: impl Into<String>) {
        let (path, message) = (path.trim_start_matches('/').to_owned(), message.into());
        self.warnings.push(Note {
            path,
            line,
            message,
        });
    }

    fn refuse(&mut self, path: &str, message: impl Into<String>) {
        let (path, message) = (path.trim_start_matches('/').to_owned(), message.into());
        self.wrong.push(Note {
            path,
            line: None,
            message,
        });
    }

    /// What is no asset.
    fn ignored(&mut self) -> Gitignore {
        let mut builder = GitignoreBuilder::new(self.root);
        // As wrangler's; it never fails.
        let _ = builder.case_insensitive(true);
        for pattern in HIDDEN {
            // They are well-formed.
            let _ = builder.add_line(None, pattern);
        }
        let text = match std::fs::read_to_string(self.root.join(IGNORE_FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                self.refuse(IGNORE_FILE, format!("cannot be read: {error}"));
                String::new()
            }
        };
        let text = text.trim_start_matches('\u{feff}');
        for (number, line) in (1..).zip(text.lines()) {
            if let Err(error) = builder.add_line(None, &rule_of(line)) {
                self.warn(IGNORE_FILE, Some(number), format!("has no effect: {error}"));
            }
        }
        builder.build().unwrap_or_else(|error| {
            self.refuse(IGNORE_FILE, error.to_string());
            Gitignore::empty()
        })
    }

    /// Adds what is in a folder, which has this path.
    fn folder(&mut self, folder: &Path, path: &str) {
        let entries = match folder.read_dir() {
            Ok(entries) => entries,
            Err(error) => return self.refuse(path, format!("cannot be read: {error}")),
        };
        for entry in entries.flatten() {
            if self.files.len() > MOST_FILES {
                return; // the folder is refused
            }
            let name = entry.file_name();
            let path = format!("{path}/{}", name.to_string_lossy());
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let inside = Path::new(&path[1..]);
            if self.ignored.matched(inside, kind.is_dir()).is_ignore() {
                continue;
            }
            if name.to_str().is_none() {
                self.warn(
                    &path,
                    None,
                    "has a name that is not UTF-8: it is not served",
                );
            } else if kind.is_dir() {
                self.folder(&entry.path(), &path);
            } else if kind.is_symlink() {
                self.link(&entry.path(), path);
            } else if kind.is_file() {
                self.file(entry.path(), path);
            }
        }
    }

    fn link(&mut self, link: &Path, path: String) {
        let place = match link.canonicalize() {
            Ok(place) => place,
            Err(error) => {
                return self.warn(
                    &path,
                    None,
                    format!("is a link that leads nowhere: {error}"),
                );
            }
        };
        if !place.starts_with(self.root) {
            let message = "is a link that leads out of the folder: it is not served";
            self.warn(&path, None, message);
        } else if place.is_dir() {
            let message = "is a link to a folder: what is in that is not served here";
            self.warn(&path, None, message);
        } else {
            self.file(place, path);
        }
    }

    fn file(&mut self, place: PathBuf, path: String) {
        let stamp = match place.metadata() {
            Ok(metadata) if metadata.is_file() => Stamp::of(&metadata),
            // A socket, or gone again.
            _ => return,
        };
        if stamp.bytes > MOST_FILE_BYTES {
            let (has, most) = (stamp.bytes.div_ceil(1 << 20), MOST_FILE_BYTES >> 20);
            let message =
                format!("has {has} MiB, and {most} MiB are allowed: leave it out by {IGNORE_FILE}");
            return self.refuse(&path, message);
        }
        let etag = Mutex::default();
        self.files.insert(path, File { place, stamp, etag });
    }

    fn refuse_pages_server(&mut self) {
        let (file, folder) = (format!("/{PAGES_SERVER}"), format!("/{PAGES_SERVER}/"));
        let mut files = self.files.keys();
        if files.any(|path| *path == file || path.starts_with(&folder)) {
            let message = format!(
                "is a server's code, and would be served as an asset: name it in {IGNORE_FILE}, or, if it is to be an asset, add \
                 an empty {IGNORE_FILE}"
            );
            self.refuse(PAGES_SERVER, message);
        }
    }
}

/// The names of files that say how others are served, in the folder's root.
pub(crate) const SAYING: [&str; 3] = [IGNORE_FILE, HEADERS_FILE, REDIRECTS_FILE];

#[cfg(test)]
mod tests;
