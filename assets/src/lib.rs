//! Static assets: the files of a folder, served as Cloudflare serves those of a Worker.
//!
//! What a request gets is decided without I/O ([`decide`], [`html`], [`redirects`], [`headers`]) from [`Settings`], the folder's
//! `_headers` and `_redirects`, and the paths of its files. [`Assets::scan`] finds those, [`Assets::answer`] reads them, one piece at a
//! time, when they are asked for; [`archive`] is how they get to other machines.

mod addresses;
pub mod archive;
mod content;
mod decide;
mod folder;
mod glob;
mod headers;
mod html;
mod paths;
mod pattern;
mod redirects;
mod serve;
mod settings;
mod text;

pub use folder::{Note, Scanned};
pub use glob::Glob;
pub use serve::{Answer, Assets};
pub use settings::{HtmlHandling, NotFoundHandling, ServerFirst, Settings};

/// The most bytes of one file, as on Cloudflare.
pub const MOST_FILE_BYTES: u64 = 25 << 20;

/// The most files, as on Cloudflare without a plan that is paid for.
pub const MOST_FILES: usize = 20_000;

/// The most bytes of all files of an archive. A pod unpacks it to its node's disk, which other pods need as well.
pub const MOST_ARCHIVED_BYTES: u64 = 1 << 30;

/// Says which files are no assets, in the folder's root.
pub const IGNORE_FILE: &str = ".assetsignore";

/// Says what headers responses have.
pub const HEADERS_FILE: &str = "_headers";

/// Says where paths lead.
pub const REDIRECTS_FILE: &str = "_redirects";
