use std::os::unix::fs::symlink;

use super::*;

/// A folder with these files, the text of each being its path.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for path in files {
        write(folder.path(), path, path);
    }
    folder
}

fn write(root: &Path, path: &str, text: &str) {
    let file = root.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

fn scan(folder: &tempfile::TempDir) -> Scanned<Folder> {
    Folder::scan(&folder.path().canonicalize().unwrap()).unwrap()
}

fn paths(folder: &Folder) -> Vec<&str> {
    folder.files().map(|(path, _)| path).collect()
}

#[test]
fn all_files_are_served_but_those_that_say_how_and_what_is_secret() {
    let folder = folder(&[
        "a.txt",
        ".well-known/x",
        "b/_headers",
        "_headers",
        "_redirects",
        ".dev.vars",
        "b/.dev.vars.staging",
        ".portside/state.sqlite",
        ".env",
        "b/.env.production",
        ".git/config",
        "b/node_modules/c/index.js",
        "wrangler.jsonc",
        "class.yaml",
    ]);
    let Scanned { found, warnings } = scan(&folder);
    assert_eq!(paths(&found), ["/.well-known/x", "/a.txt", "/b/_headers"]);
    assert_eq!(warnings, []);
}

#[test]
fn files_are_left_out_by_the_ignore_file() {
    let folder = folder(&[
        "a.map",
        "b/c.map",
        "b/keep.map",
        "d/e/f",
        "g/d",
        "_headers",
        "_worker.js",
    ]);
    let ignore = "# no maps\n*.map\n!keep.map\n/d/\n!/_headers\n_worker.js\n[z-a]\n";
    write(folder.path(), IGNORE_FILE, ignore);
    let Scanned { found, warnings } = scan(&folder);
    assert_eq!(paths(&found), ["/_headers", "/b/keep.map", "/g/d"]);
    assert_eq!(
        (warnings.len(), warnings[0].line),
        (1, Some(7)),
        "{warnings:?}"
    );
}

#[test]
fn the_ignore_file_means_what_it_means_to_wrangler() {
    let folder = folder(&[
        "first",
        "SERVER.KEY",
        "private/x",
        "c",
        "{a,b}",
        "a",
        "b",
        "end ",
        "n/.env",
    ]);
    let rules = "\u{feff}first\n*.key\nPrivate/\nc\t\r\n{a,b}\nend\\ \n!n/.env\n";
    write(folder.path(), IGNORE_FILE, rules);
    let Scanned { found, warnings } = scan(&folder);
    assert_eq!(paths(&found), ["/a", "/b", "/n/.env"]);
    assert_eq!(warnings, []);
}

#[test]
fn a_file_that_another_has_replaced_is_read_and_a_pipe_is_not() {
    let folder = folder(&["a", "b"]);
    let found = scan(&folder).found;
    let tag = found.open("/a").unwrap().etag;
    let place = |name| folder.path().join(name);
    std::fs::rename(place("b"), place("a")).unwrap();
    assert_ne!(found.open("/a").unwrap().etag, tag);
    std::fs::remove_file(place("a")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(place("a"))
        .status();
    assert!(made.unwrap().success());
    assert!(found.open("/a").is_err());
    std::fs::remove_file(place("a")).unwrap();
    symlink("/etc/passwd", place("a")).unwrap();
    assert!(found.open("/a").is_err());
}

#[test]
fn links_do_not_lead_out() {
    let other = folder(&["secret"]);
    let folder = folder(&["a", "b/c"]);
    let link = |to: &Path, name: &str| symlink(to, folder.path().join(name)).unwrap();
    link(Path::new("b/c"), "inside");
    link(&other.path().join("secret"), "outside");
    link(Path::new("b"), "folder");
    link(Path::new("nowhere"), "broken");
    let Scanned { found, warnings } = scan(&folder);
    assert_eq!(paths(&found), ["/a", "/b/c", "/inside"]);
    let told: Vec<_> = warnings.iter().map(|note| &*note.path).collect();
    assert_eq!(told, ["broken", "folder", "outside"]);

    // A file that is found may become a link.
    std::fs::remove_file(folder.path().join("a")).unwrap();
    link(&other.path().join("secret"), "a");
    assert!(found.open("/a").is_err());
    assert!(found.open("/outside").is_err() && found.open("/../secret").is_err());
}

#[test]
fn a_files_tag_is_that_of_its_content() {
    let folder = folder(&["a"]);
    write(folder.path(), "b", "a");
    let found = scan(&folder).found;
    let tag = |path: &str| found.open(path).unwrap().etag;
    assert_eq!((tag("/a"), tag("/a").len()), (tag("/b"), ETAG_DIGITS + 2));
    let before = tag("/a");
    write(folder.path(), "a", "other");
    assert_ne!(tag("/a"), before, "also without a new scan");
    assert_ne!(found, scan(&folder).found);
    assert_eq!(scan(&folder).found, scan(&folder).found);
}

#[test]
fn what_is_too_large_keeps_the_folder_from_being_served() {
    let folder = folder(&["a"]);
    let file = std::fs::File::create(folder.path().join("large")).unwrap();
    file.set_len(MOST_FILE_BYTES + 1).unwrap();
    let root = folder.path().canonicalize().unwrap();
    let wrong = Folder::scan(&root).unwrap_err();
    assert_eq!(wrong[0].path, "large");
    assert!(
        wrong[0].message.contains("26 MiB, and 25 MiB"),
        "{}",
        wrong[0].message
    );
    write(folder.path(), IGNORE_FILE, "large");
    assert!(Folder::scan(&root).is_ok());
}

#[test]
fn a_pages_server_is_not_served_by_accident() {
    let folder = folder(&["a", "_worker.js/index.js"]);
    let root = folder.path().canonicalize().unwrap();
    assert_eq!(Folder::scan(&root).unwrap_err()[0].path, PAGES_SERVER);
    write(folder.path(), IGNORE_FILE, "");
    assert_eq!(scan(&folder).found.len(), 2);
}
