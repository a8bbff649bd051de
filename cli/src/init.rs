//! `portside init`

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ValueEnum;
use portside_crds::names::MAX_CLASS_NAME;

use crate::types;

/// Arguments of `portside init`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder to make the application in: a new one, or an empty one
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Which of the two models the application is written for
    #[arg(long, value_enum, default_value_t = Model::ServerlessWorker)]
    model: Model,
    /// The language it is written in
    #[arg(long, value_enum, default_value_t = Language::Javascript)]
    language: Language,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Model {
    ServerlessWorker,
    DurableObjects,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Javascript,
    Typescript,
}

/// A path, and what is in the file.
type File = (&'static str, &'static str);

/// Files of a folder in `starters/`.
macro_rules! files {
    ($folder:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../starters/", $folder, "/", $path)))),*]
    };
}

const SERVERLESS_WORKER_JAVASCRIPT: &[File] = files!(
    "serverless-worker-javascript": ".gitignore", "README.md", "class.yaml", "counter.js", "server.js",
);
const SERVERLESS_WORKER_TYPESCRIPT: &[File] = files!(
    "serverless-worker-typescript": ".gitignore", "README.md", "class.yaml", "counter.ts", "package.json", "server.ts",
    "tsconfig.json",
);
const DURABLE_OBJECTS_JAVASCRIPT: &[File] = files!(
    "durable-objects-javascript": ".gitignore", "README.md", "package.json", "src/counter.js", "src/index.js",
    "wrangler.jsonc",
);
const DURABLE_OBJECTS_TYPESCRIPT: &[File] = files!(
    "durable-objects-typescript": ".gitignore", "README.md", "package.json", "src/counter.ts", "src/index.ts",
    "tsconfig.json", "wrangler.jsonc",
);

/// The application's name in the files.
const NAME: &str = "my-app";

impl Args {
    /// Makes the application; in a folder that has anything in it, nothing.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            dir,
            model,
            language,
        } = self;
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("cannot open {}", dir.display()))?;
        check_empty(&dir)?;
        let files = match (model, language) {
            (Model::ServerlessWorker, Language::Javascript) => SERVERLESS_WORKER_JAVASCRIPT,
            (Model::ServerlessWorker, Language::Typescript) => SERVERLESS_WORKER_TYPESCRIPT,
            (Model::DurableObjects, Language::Javascript) => DURABLE_OBJECTS_JAVASCRIPT,
            (Model::DurableObjects, Language::Typescript) => DURABLE_OBJECTS_TYPESCRIPT,
        };
        let name = name_of(&dir);
        for (path, text) in files {
            write(&dir.join(path), &text.replace(NAME, &name))?;
        }
        if language == Language::Typescript {
            types::make(&dir)?;
        }
        let shown = quoted(&dir);
        eprintln!("made {name}; this runs it:\n  portside dev {shown}");
        if language == Language::Typescript {
            eprintln!("and this checks its types:\n  cd {shown} && npm install && npm run check");
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Refuses a folder that has anything but a repository's own folder in it.
fn check_empty(dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    let entries = fs::read_dir(dir).with_context(|| format!("cannot open {shown}"))?;
    for entry in entries {
        let name = entry
            .with_context(|| format!("cannot read {shown}"))?
            .file_name();
        if name != ".git" {
            let name = name.to_string_lossy();
            bail!("{shown} is not empty, there is {name}: name a new folder, or an empty one");
        }
    }
    Ok(())
}

/// An application's name made of its folder's: lowercase letters, digits and single `-`, beginning with a letter.
fn name_of(dir: &Path) -> String {
    let folder = dir.file_name().unwrap_or_default().to_string_lossy();
    let folder = folder.to_ascii_lowercase();
    let words = folder.split(|c: char| !c.is_ascii_alphanumeric());
    let name = words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let name = name[..name.len().min(MAX_CLASS_NAME)].trim_end_matches('-');
    if name.is_empty() {
        NAME.to_owned()
    } else {
        name.to_owned()
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:,%=".contains(c);
    if path.chars().all(is_plain) {
        path.into_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// Writes a new file, and none that is there.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", file.display());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(context)?;
    }
    let mut new = match OpenOptions::new().write(true).create_new(true).open(file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already", file.display())
        }
        opened => opened.with_context(context)?,
    };
    new.write_all(text.as_bytes()).with_context(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_be_given_to_a_shell() {
        for (path, shown) in [
            ("/home/me/app-2", "/home/me/app-2"),
            ("/My Chat", "'/My Chat'"),
            ("/it's $HOME", r"'/it'\''s $HOME'"),
        ] {
            assert_eq!(quoted(Path::new(path)), shown);
        }
    }

    #[test]
    fn a_name_is_made_of_the_folders() {
        for (folder, name) in [
            ("chat", "chat"),
            ("My Chat_2", "my-chat-2"),
            ("2-chats-", "chats"),
            ("ü", "my-app"),
            ("/", "my-app"),
        ] {
            assert_eq!(name_of(Path::new(folder)), name);
        }
        let long = name_of(Path::new(&"a-".repeat(100)));
        assert!(long.len() <= MAX_CLASS_NAME && long.ends_with('a'));
    }
}
