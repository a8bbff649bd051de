use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

impl Files for BTreeSet<String> {
    fn has(&self, path: &str) -> bool {
        self.contains(path)
    }
}

fn files(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|&path| path.to_owned()).collect()
}

/// What each path means: a file, a file after `404 `, another path after `-> `, or `-`.
fn means(html: HtmlHandling, paths: &[&str], path: &str) -> String {
    let settings = Settings {
        html,
        ..Settings::default()
    };
    shown(meaning(&settings, &files(paths), path))
}

fn shown(meaning: Option<Meaning>) -> String {
    match meaning {
        None => "-".to_owned(),
        Some(Meaning::File(file)) => file,
        Some(Meaning::NotFoundPage(file)) => format!("404 {file}"),
        Some(Meaning::Elsewhere(to)) => format!("-> {to}"),
    }
}

const SITE: [&str; 8] = [
    "/index.html",
    "/page.html",
    "/folder/index.html",
    "/both.html",
    "/both/index.html",
    "/binary",
    "/style.css",
    "/deep/x/index.html",
];

/// What paths mean by each handling, in the order of the settings.
const MEANINGS: [(&str, [&str; 4]); 22] = [
    ("/", ["/index.html", "/index.html", "/index.html", "-"]),
    ("/index", ["-> /", "-> /", "-> /", "-"]),
    ("/index.html", ["-> /", "-> /", "-> /", "/index.html"]),
    ("/page", ["/page.html", "-> /page/", "/page.html", "-"]),
    ("/page/", ["-> /page", "/page.html", "-> /page", "-"]),
    (
        "/page.html",
        ["-> /page", "-> /page/", "-> /page", "/page.html"],
    ),
    ("/page/index", ["-> /page", "-> /page/", "-> /page", "-"]),
    (
        "/page/index.html",
        ["-> /page", "-> /page/", "-> /page", "-"],
    ),
    (
        "/folder",
        ["-> /folder/", "-> /folder/", "/folder/index.html", "-"],
    ),
    (
        "/folder/",
        [
            "/folder/index.html",
            "/folder/index.html",
            "-> /folder",
            "-",
        ],
    ),
    (
        "/folder.html",
        ["-> /folder/", "-> /folder/", "-> /folder", "-"],
    ),
    (
        "/folder/index",
        ["-> /folder/", "-> /folder/", "-> /folder", "-"],
    ),
    (
        "/folder/index.html",
        [
            "-> /folder/",
            "-> /folder/",
            "-> /folder",
            "/folder/index.html",
        ],
    ),
    ("/both", ["/both.html", "-> /both/", "/both.html", "-"]),
    (
        "/both/",
        ["/both/index.html", "/both/index.html", "-> /both", "-"],
    ),
    (
        "/both.html",
        ["-> /both", "/both.html", "-> /both", "/both.html"],
    ),
    (
        "/both/index.html",
        [
            "-> /both/",
            "-> /both/",
            "/both/index.html",
            "/both/index.html",
        ],
    ),
    ("/binary", ["/binary", "/binary", "/binary", "/binary"]),
    ("/binary/", ["-", "-", "-", "-"]),
    (
        "/style.css",
        ["/style.css", "/style.css", "/style.css", "/style.css"],
    ),
    ("/style", ["-", "-", "-", "-"]),
    ("/nothing", ["-", "-", "-", "-"]),
];

#[test]
fn pages_are_where_the_handling_says() {
    let handlings = [
        HtmlHandling::AutoTrailingSlash,
        HtmlHandling::ForceTrailingSlash,
        HtmlHandling::DropTrailingSlash,
        HtmlHandling::None,
    ];
    for (path, meant) in MEANINGS {
        for (handling, meant) in handlings.into_iter().zip(meant) {
            assert_eq!(means(handling, &SITE, path), meant, "{path} {handling:?}");
        }
    }
}

#[test]
fn what_is_not_found_is_handled() {
    let site = files(&["/index.html", "/404.html", "/a/404.html", "/a/b/c.txt"]);
    let means = |not_found, path: &str| {
        let settings = Settings {
            not_found,
            ..Settings::default()
        };
        shown(meaning(&settings, &site, path))
    };
    let page = NotFoundHandling::NotFoundPage;
    assert_eq!(means(page, "/a/b/x"), "404 /a/404.html");
    assert_eq!(means(page, "/b/x"), "404 /404.html");
    assert_eq!(means(page, "/a/404"), "/a/404.html");
    let app = NotFoundHandling::SinglePageApplication;
    assert_eq!(means(app, "/b/x"), "/index.html");
    assert_eq!(means(app, "/a/b/c.txt"), "/a/b/c.txt");
    assert_eq!(means(NotFoundHandling::None, "/b/x"), "-");
}

fn handlings() -> impl Strategy<Value = HtmlHandling> {
    prop_oneof![
        Just(HtmlHandling::AutoTrailingSlash),
        Just(HtmlHandling::ForceTrailingSlash),
        Just(HtmlHandling::DropTrailingSlash),
        Just(HtmlHandling::None),
    ]
}

fn paths() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "a",
        "b",
        "index",
        "index.html",
        "a.html",
        "404.html",
        ".html"
    ];
    let parts = prop::collection::vec(part, 1..4);
    (parts, any::<bool>()).prop_map(|(parts, folder)| {
        let end = if folder { "/" } else { "" };
        format!("/{}{end}", parts.join("/"))
    })
}

fn sites() -> impl Strategy<Value = BTreeSet<String>> {
    let file = paths().prop_map(|path| path.trim_end_matches('/').to_owned());
    prop::collection::btree_set(file, 0..6)
}

proptest! {
    #[test]
    fn what_is_sent_elsewhere_is_there(html in handlings(), site in sites(), path in paths()) {
        let settings = Settings { html, ..Settings::default() };
        if let Some(Meaning::Elsewhere(to)) = meaning(&settings, &site, &path) {
            let meant = meaning(&settings, &site, &to);
            prop_assert!(matches!(meant, Some(Meaning::File(_))), "{} leads to {}: {:?}", path, to, meant);
        }
    }

    #[test]
    fn only_files_that_are_there_are_served(html in handlings(), site in sites(), path in paths()) {
        for not_found in [NotFoundHandling::None, NotFoundHandling::NotFoundPage, NotFoundHandling::SinglePageApplication] {
            let settings = Settings { html, not_found, ..Settings::default() };
            if let Some(Meaning::File(file) | Meaning::NotFoundPage(file)) = meaning(&settings, &site, &path) {
                prop_assert!(site.contains(&file));
            }
        }
    }

    #[test]
    fn each_page_is_somewhere(html in handlings(), site in sites()) {
        let settings = Settings { html, ..Settings::default() };
        for file in &site {
            let found = match meaning(&settings, &site, file) {
                Some(Meaning::Elsewhere(to)) => meaning(&settings, &site, &to),
                found => found,
            };
            prop_assert!(found.is_some(), "{}", file);
        }
    }
}
