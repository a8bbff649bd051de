//! Which file a path means, by the handling of HTML files and of what is not found.

use crate::settings::{HtmlHandling, NotFoundHandling, Settings};

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// This file; 200.
    File(String),
    /// This file, for want of one that is meant; 404.
    NotFoundPage(String),
    /// What is meant is at this path.
    Elsewhere(String),
}

/// One thing to try.
enum Step {
    /// The file, if there is one.
    Serve(String),
    /// Another path, if there is this file, and that path means it.
    Move { file: String, to: String },
}

/// Which files there are.
pub(crate) trait Files {
    /// Whether there is one with this path.
    fn has(&self, path: &str) -> bool;
}

/// What a path means, if anything; it is decoded.
pub(crate) fn meaning(settings: &Settings, files: &impl Files, path: &str) -> Option<Meaning> {
    found(settings, files, path, true)
}

fn found(settings: &Settings, files: &impl Files, path: &str, may_move: bool) -> Option<Meaning> {
    for step in steps(settings.html, path) {
        match step {
            Step::Serve(file) if files.has(&file) => return Some(Meaning::File(file)),
            Step::Move { file, to } if may_move && leads_to(settings, files, &file, &to) => {
                return Some(Meaning::Elsewhere(to));
            }
            _ => {}
        }
    }
    not_found(settings.not_found, files, path)
}

/// Whether a path that is no file's own means this file.
fn leads_to(settings: &Settings, files: &impl Files, file: &str, to: &str) -> bool {
    if !files.has(file) || files.has(to) {
        return false;
    }
    let means = found(settings, files, to, false);
    matches!(means, Some(Meaning::File(found) | Meaning::NotFoundPage(found)) if found == file)
}

fn not_found(handling: NotFoundHandling, files: &impl Files, path: &str) -> Option<Meaning> {
    match handling {
        NotFoundHandling::None => None,
        NotFoundHandling::SinglePageApplication => {
            let page = "/index.html";
            files.has(page).then(|| Meaning::File(page.to_owned()))
        }
        NotFoundHandling::NotFoundPage => {
            let mut folder = path;
            while let Some((parent, _)) = folder.rsplit_once('/') {
                let page = format!("{parent}/404.html");
                if files.has(&page) {
                    return Some(Meaning::NotFoundPage(page));
                }
                folder = parent;
            }
            None
        }
    }
}

fn serve(file: impl Into<String>) -> Step {
    Step::Serve(file.into())
}

fn moved(to: impl Into<String>, file: impl Into<String>) -> Step {
    let (file, to) = (file.into(), to.into());
    Step::Move { file, to }
}

/// What to try for a path, in order: as on Cloudflare, where the rules have grown, and where an exact name does not always
/// go first.
fn steps(handling: HtmlHandling, path: &str) -> Vec<Step> {
    let mut steps = match handling {
        HtmlHandling::None => vec![],
        HtmlHandling::AutoTrailingSlash => auto(path),
        HtmlHandling::ForceTrailingSlash => force(path),
        HtmlHandling::DropTrailingSlash => without(path),
    };
    steps.push(serve(path));
    let (page, index) = (format!("{path}.html"), format!("{path}/index.html"));
    let folder = format!("{path}/");
    steps.extend(match handling {
        HtmlHandling::None => vec![],
        HtmlHandling::AutoTrailingSlash => vec![serve(page), moved(folder, index)],
        HtmlHandling::ForceTrailingSlash => vec![moved(&*folder, page), moved(&*folder, index)],
        HtmlHandling::DropTrailingSlash => vec![serve(page), serve(index)],
    });
    steps
}

fn auto(path: &str) -> Vec<Step> {
    if let Some(stem) = path.strip_suffix("/index") {
        vec![
            serve(path),
            moved(format!("{stem}/"), format!("{path}.html")),
            moved(stem, format!("{stem}.html")),
        ]
    } else if let Some(stem) = path.strip_suffix("/index.html") {
        vec![
            moved(format!("{stem}/"), path),
            moved(stem, format!("{stem}.html")),
        ]
    } else if let Some(stem) = path.strip_suffix('/') {
        vec![
            serve(format!("{path}index.html")),
            moved(stem, format!("{stem}.html")),
        ]
    } else if let Some(stem) = path.strip_suffix(".html") {
        vec![
            moved(stem, path),
            moved(format!("{stem}/"), format!("{stem}/index.html")),
        ]
    } else {
        vec![]
    }
}

fn force(path: &str) -> Vec<Step> {
    if let Some(stem) = path.strip_suffix("/index") {
        vec![
            serve(path),
            moved(format!("{stem}/"), format!("{path}.html")),
            moved(format!("{stem}/"), format!("{stem}.html")),
        ]
    } else if let Some(stem) = path.strip_suffix("/index.html") {
        vec![
            moved(format!("{stem}/"), path),
            moved(format!("{stem}/"), format!("{stem}.html")),
        ]
    } else if let Some(stem) = path.strip_suffix('/') {
        vec![
            serve(format!("{path}index.html")),
            serve(format!("{stem}.html")),
        ]
    } else if let Some(stem) = path.strip_suffix(".html") {
        vec![
            moved(format!("{stem}/"), path),
            // Where there are both `a.html` and `a/index.html`.
            serve(path),
            moved(format!("{stem}/"), format!("{stem}/index.html")),
        ]
    } else {
        vec![]
    }
}

fn without(path: &str) -> Vec<Step> {
    if path == "/" {
        vec![serve("/index.html")]
    } else if path == "/index" {
        vec![serve(path), moved("/", "/index.html")]
    } else if path == "/index.html" {
        vec![moved("/", path)]
    } else if let Some(stem) = path.strip_suffix("/index") {
        vec![
            serve(path),
            moved(stem, format!("{stem}.html")),
            moved(stem, format!("{path}.html")),
        ]
    } else if let Some(stem) = path.strip_suffix("/index.html") {
        vec![
            moved(stem, path),
            // Where there are both `a.html` and `a/index.html`.
            serve(path),
            moved(stem, format!("{stem}.html")),
        ]
    } else if let Some(stem) = path.strip_suffix('/') {
        vec![
            moved(stem, format!("{stem}.html")),
            moved(stem, format!("{stem}/index.html")),
        ]
    } else if let Some(stem) = path.strip_suffix(".html") {
        vec![moved(stem, path), moved(stem, format!("{stem}/index.html"))]
    } else {
        vec![]
    }
}

#[cfg(test)]
mod tests;
