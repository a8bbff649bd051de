//! Applications in temporary folders.

use std::path::{Path, PathBuf};

use portside_bundle::{Bundled, Options, Problem};
use portside_core::bundle::{Bundle, Module, ModuleKind};

/// An application made of the given files.
pub struct App {
    folder: tempfile::TempDir,
}

impl App {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let app = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for (path, text) in files {
            app.write(path, text.as_bytes());
        }
        app
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let file = self.path(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir().join(path)
    }

    pub async fn bundled(&self) -> Bundled {
        let bundled = portside_bundle::bundle(self.dir(), &Options::default())
            .await
            .unwrap_or_else(|problems| panic!("{}", lines(&problems).join("\n")));
        check_imports(&bundled.bundle);
        bundled
    }

    pub async fn bundle(&self) -> Bundle {
        self.bundled().await.bundle
    }

    /// What `check` says, one line for each problem.
    pub async fn problems(&self) -> Vec<String> {
        lines(
            &portside_bundle::check(self.dir(), &Options::default())
                .await
                .problems,
        )
    }
}

/// One line for each.
pub fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

pub fn code<'b>(bundle: &'b Bundle, path: &str) -> &'b str {
    std::str::from_utf8(&module(bundle, path).code).unwrap()
}

pub fn module<'b>(bundle: &'b Bundle, path: &str) -> &'b Module {
    let paths: Vec<_> = bundle.modules.keys().collect();
    (bundle.modules.get(path)).unwrap_or_else(|| panic!("{path} is not among {paths:?}"))
}

/// The promise of every bundle: imports are relative paths to its modules, or built-in names.
fn check_imports(bundle: &Bundle) {
    for (path, module) in &bundle.modules {
        if module.kind != ModuleKind::JavaScript {
            continue;
        }
        for specifier in specifiers(std::str::from_utf8(&module.code).unwrap()) {
            if specifier.starts_with("cloudflare:") {
                continue;
            }
            assert!(specifier.starts_with('.'), "{path} imports {specifier}");
            let target = normal(&Path::new(path).parent().unwrap().join(&specifier));
            assert!(
                bundle.modules.contains_key(&target),
                "{path} imports {specifier}"
            );
        }
    }
}

/// What the lines of generated code import.
fn specifiers(code: &str) -> Vec<String> {
    let quoted = |text: &str| {
        let quote = text.chars().next().filter(|c| matches!(c, '"' | '`'))?;
        Some(text[1..].split(quote).next()?.to_owned())
    };
    let mut found = vec![];
    for line in code.lines() {
        if line.starts_with("import ") || line.starts_with("export ") {
            let source = line.rsplit_once(" from ").map(|(_, source)| source);
            found.extend(
                source
                    .or_else(|| line.strip_prefix("import "))
                    .and_then(quoted),
            );
        }
        found.extend(
            line.match_indices("import(")
                .filter_map(|(at, call)| quoted(&line[at + call.len()..])),
        );
    }
    found
}

fn normal(path: &Path) -> String {
    let mut parts: Vec<&str> = vec![];
    for part in path.to_str().unwrap().split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().unwrap();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The source, line and column that a source map gives for the first place of `text` in a module, all from 1.
pub fn original(module: &Module, text: &str) -> (String, usize, usize) {
    let map: serde_json::Value =
        serde_json::from_slice(module.source_map.as_deref().unwrap()).unwrap();
    let code = std::str::from_utf8(&module.code).unwrap();
    let before = &code[..code.find(text).unwrap()];
    let line = before.matches('\n').count();
    let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
    let mut state = [0_i64; 5];
    let mut best = None;
    for (n, segments) in map["mappings"].as_str().unwrap().split(';').enumerate() {
        state[0] = 0;
        for segment in segments.split(',').filter(|segment| !segment.is_empty()) {
            for (field, delta) in state.iter_mut().zip(vlq(segment)) {
                *field += delta;
            }
            if n == line && state[0] <= column as i64 {
                best = Some(state);
            }
        }
    }
    let [_, source, line, column, _] = best.unwrap().map(|field| field as usize);
    (
        map["sources"][source].as_str().unwrap().to_owned(),
        line + 1,
        column + 1,
    )
}

/// The numbers of a segment (ECMA-426, base64 VLQ).
fn vlq(segment: &str) -> Vec<i64> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut numbers, mut number, mut shift) = (vec![], 0_i64, 0);
    for c in segment.chars() {
        let digit = DIGITS.find(c).unwrap() as i64;
        number |= (digit & 31) << shift;
        shift += 5;
        if digit & 32 == 0 {
            numbers.push(if number & 1 == 1 {
                -(number >> 1)
            } else {
                number >> 1
            });
            (number, shift) = (0, 0);
        }
    }
    numbers
}
