//! The paths that code names, as URLs have it, and those that its modules get.

/// `specifier` relative to the module `referrer`, without `.` and `..`. `None` when it leaves the root.
pub(crate) fn join(referrer: &str, specifier: &str) -> Option<String> {
    let folder = match referrer.rsplit_once('/') {
        Some((folder, _)) if !specifier.starts_with('/') => folder,
        _ => "",
    };
    let mut parts: Vec<&str> = vec![];
    for part in folder.split('/').chain(specifier.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The path in the bundle of the JavaScript made from the file at `path`.
///
/// TypeScript gets JavaScript's extension, so that a worker keeps its identity (its script's path is part of it) when
/// its source is rewritten from one to the other.
pub(crate) fn script_path(path: &str) -> String {
    let (stem, extension) = path.rsplit_once('.').unwrap_or((path, ""));
    match extension {
        "js" | "mjs" | "cjs" => path.to_owned(),
        "ts" | "tsx" | "jsx" => format!("{stem}.js"),
        "mts" => format!("{stem}.mjs"),
        "cts" => format!("{stem}.cjs"),
        _ => format!("{path}.js"),
    }
}

/// The files that may be meant by `path`, best first: itself, then the TypeScript that JavaScript is made from.
pub(crate) fn source_candidates(path: &str) -> Vec<String> {
    let mut candidates = vec![path.to_owned()];
    let (stem, extension) = path.rsplit_once('.').unwrap_or((path, ""));
    let sources: &[&str] = match extension {
        "js" => &["ts", "tsx", "jsx"],
        "mjs" => &["mts"],
        "cjs" => &["cts"],
        _ => &[],
    };
    candidates.extend(sources.iter().map(|source| format!("{stem}.{source}")));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_constructing_module() {
        let some = |path: &str| Some(path.to_owned());
        assert_eq!(join("server.js", "./worker.js"), some("worker.js"));
        assert_eq!(join("server.js", "worker.js"), some("worker.js"));
        assert_eq!(join("rooms/room.js", "worker.js"), some("rooms/worker.js"));
        assert_eq!(join("rooms/room.js", "../worker.js"), some("worker.js"));
        assert_eq!(join("rooms/room.js", "/worker.js"), some("worker.js"));
        assert_eq!(join("rooms/room.js", "../../worker.js"), None);
    }

    #[test]
    fn a_workers_path_survives_a_change_of_language() {
        assert_eq!(script_path("a/room.ts"), "a/room.js");
        assert_eq!(script_path("a/room.js"), "a/room.js");
        assert_eq!(script_path("a.b/room.mts"), "a.b/room.mjs");
        assert_eq!(
            source_candidates("a/room.js"),
            ["a/room.js", "a/room.ts", "a/room.tsx", "a/room.jsx"]
        );
    }
}
