//! Where a file's module goes in the bundle.

use std::path::{Component, Path, PathBuf};

use portside_core::bundle::MADE_UP;
use sha2::{Digest, Sha256};

use crate::resolve::script_path;

/// Stands for `..` in names of files outside the folder, as in the output of esbuild.
const PARENT: &str = "_.._";

/// The application's folder, and the names that files get relative to it.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Absolute, without symbolic links.
    pub root: PathBuf,
    /// Whether modules may import files outside the folder by relative paths, as in wrangler's projects.
    pub takes_outside: bool,
}

impl Layout {
    /// The path of a file, which must be free of symbolic links, as the bundle names it.
    ///
    /// A file outside the folder belongs to a package and is named `node_modules/…`, so that neither a hoisted
    /// `node_modules` nor a workspace puts the place of the folder on this machine into the bundle. Without a package it has a
    /// name only where [`takes_outside`](Self::takes_outside) says so: `_.._/…`.
    pub fn name(&self, file: &Path) -> Option<String> {
        if let Ok(inside) = file.strip_prefix(&self.root) {
            return Some(slashed(inside));
        }
        let shared = (self.root.components())
            .zip(file.components())
            .take_while(|(ours, theirs)| ours == theirs)
            .count();
        let own: PathBuf = file.components().skip(shared).collect();
        let mut parts = own.components();
        while let Some(part) = parts.next() {
            if part == Component::Normal("node_modules".as_ref()) {
                return Some(format!("node_modules/{}", slashed(parts.as_path())));
            }
        }
        // A name that is no file's would be looked for in the process's own folder.
        if file.is_absolute()
            && let Some((folder, package)) = package_of(file)
            && let Ok(rest) = file.strip_prefix(folder)
        {
            return Some(format!("node_modules/{package}/{}", slashed(rest)));
        }
        (self.takes_outside && file.is_absolute()).then(|| {
            let up = self.root.components().count() - shared;
            format!("{}{}", format!("{PARENT}/").repeat(up), slashed(&own))
        })
    }

    /// Whether a file lies in the application's folder.
    pub fn contains(&self, file: &Path) -> bool {
        file.starts_with(&self.root)
    }

    /// The path in the bundle of the JavaScript module made from the bundler's module `id`.
    pub fn output(&self, id: &str) -> String {
        let path = Path::new(id);
        if path.is_absolute()
            && let Some(name) = self.name(path)
        {
            return script_path(&name);
        }
        let id = id
            .replace(&*self.root.to_string_lossy(), "")
            .replace('\0', "");
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
        if id.chars().all(plain) && !id.contains("..") && id.ends_with(".js") {
            return format!("{MADE_UP}/{}", id.trim_start_matches('/'));
        }
        let hash = Sha256::digest(id.as_bytes());
        let name: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{MADE_UP}/{name}.js")
    }
}

/// The nearest folder above `file` whose package.json has a name, and that name.
fn package_of(file: &Path) -> Option<(&Path, String)> {
    file.ancestors().skip(1).find_map(|folder| {
        let text = std::fs::read_to_string(folder.join("package.json")).ok()?;
        let package: serde_json::Value = serde_json::from_str(&text).ok()?;
        let name = package.get("name")?.as_str()?;
        let safe = !name.split('/').any(|part| matches!(part, "" | "." | ".."));
        safe.then(|| (folder, name.to_owned()))
    })
}

fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_depend_on_the_folders_place() {
        let mut layout = Layout {
            root: "/home/me/repo/app".into(),
            takes_outside: false,
        };
        let name = |layout: &Layout, file: &str| layout.name(Path::new(file));
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(name(&layout, "/home/me/repo/app/a/b.ts"), some("a/b.ts"));
        assert_eq!(
            name(
                &layout,
                "/home/me/repo/node_modules/.pnpm/x@1/node_modules/x/i.js"
            ),
            some("node_modules/.pnpm/x@1/node_modules/x/i.js")
        );
        assert_eq!(name(&layout, "/home/me/repo/other.js"), None);
        layout.takes_outside = true;
        assert_eq!(
            name(&layout, "/home/me/repo/other.js"),
            some("_.._/other.js")
        );
        assert_eq!(
            name(&layout, "/home/me/lib/a.ts"),
            some("_.._/_.._/lib/a.ts")
        );
        assert_eq!(name(&layout, "cloudflare:workers"), None);
    }

    #[test]
    fn made_up_modules_get_names() {
        let layout = Layout {
            root: "/app".into(),
            takes_outside: false,
        };
        assert_eq!(
            layout.output("\0rolldown/runtime.js"),
            "node_modules/.bundler/rolldown/runtime.js"
        );
        assert_eq!(layout.output("/app/a.mts"), "a.mjs");
        assert_eq!(layout.output("/app/a.json"), "a.json.js");
        assert!(
            layout
                .output("data:text/javascript,1")
                .starts_with("node_modules/.bundler/")
        );
    }
}
