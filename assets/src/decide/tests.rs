use std::collections::BTreeSet;

use http::header::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::headers::Headers;
use crate::redirects::Redirects;
use crate::settings::{HtmlHandling, ServerFirst};

fn files() -> BTreeSet<String> {
    ["/index.html", "/a b.txt", "/page.html", "/[x].txt"]
        .map(str::to_owned)
        .into()
}

fn rules(settings: Settings, redirects: &str) -> Rules {
    Rules {
        settings,
        headers: Headers::default(),
        redirects: Redirects::read(redirects, HtmlHandling::default()).0,
    }
}

fn url(path: &str) -> Url {
    Url::parse(&format!("http://example.com{path}")).unwrap()
}

fn get(rules: &Rules, path: &str) -> Decision {
    decide(rules, &files(), &Method::GET, &url(path))
}

fn file(path: &str) -> Decision {
    Decision::File(StatusCode::OK, path.to_owned())
}

fn sent(to: &str) -> Decision {
    Decision::Redirect(StatusCode::TEMPORARY_REDIRECT, to.to_owned())
}

#[test]
fn a_path_has_one_way_of_being_written() {
    let rules = rules(Settings::default(), "");
    assert_eq!(get(&rules, "/a%20b.txt"), file("/a b.txt"));
    assert_eq!(get(&rules, "/%61%20b.txt?q=1"), sent("/a%20b.txt?q=1"));
    assert_eq!(get(&rules, "/[x].txt"), sent("/%5Bx%5D.txt"));
    assert_eq!(get(&rules, "//page"), sent("/page"));
    assert_eq!(get(&rules, "/%2F%2Fpage.html"), sent("/page"));
    assert_eq!(get(&rules, "/..%2fpage"), Decision::Nothing);
    assert_eq!(get(&rules, "/nothing%zz"), Decision::Nothing);
}

#[test]
fn files_are_read_only() {
    let rules = rules(Settings::default(), "/old /new 301");
    let with = |method, path| decide(&rules, &files(), &method, &url(path));
    assert_eq!(with(Method::HEAD, "/page"), file("/page.html"));
    assert_eq!(with(Method::POST, "/page"), Decision::NotAllowed);
    assert_eq!(with(Method::OPTIONS, "/page.html"), Decision::NotAllowed);
    assert_eq!(with(Method::POST, "/nothing"), Decision::Nothing);
    let moved = Decision::Redirect(StatusCode::MOVED_PERMANENTLY, "/new".to_owned());
    assert_eq!(with(Method::POST, "/old"), moved);
}

#[test]
fn redirects_with_200_say_what_is_meant() {
    let rules = rules(
        Settings::default(),
        "/p/* /page 200\n/q /nothing 200\n/r /page.html 200",
    );
    assert_eq!(get(&rules, "/p/1"), file("/page.html"));
    assert_eq!(get(&rules, "/q"), Decision::NotFound);
    assert_eq!(get(&rules, "/r"), sent("/page"));
}

#[test]
fn the_server_is_asked_where_nothing_is_found_or_it_comes_first() {
    let asks = |settings: &Settings, path: &str, navigates: bool| {
        let mut headers = HeaderMap::new();
        if navigates {
            headers.insert("sec-fetch-mode", HeaderValue::from_static("navigate"));
        }
        let rules = rules(settings.clone(), "/old /new\n/as /nothing 200");
        is_for_server(&rules, &files(), &Method::GET, &url(path), &headers)
    };
    let mut settings = Settings {
        has_server: true,
        ..Settings::default()
    };
    assert!(asks(&settings, "/nothing", false) && !asks(&settings, "/page", false));
    assert!(!asks(&settings, "/old", false) && !asks(&settings, "/as", false));
    settings.not_found = NotFoundHandling::SinglePageApplication;
    assert!(asks(&settings, "/nothing", true));
    settings.navigation_prefers_assets = true;
    assert!(asks(&settings, "/nothing", false) && !asks(&settings, "/nothing", true));
    settings.server_first = ServerFirst::new(&["/p*", "!/pa*"]);
    assert!(asks(&settings, "/p", true) && !asks(&settings, "/page", false));
    assert!(
        !asks(&settings, "/nothing", false),
        "what is not found is said by rules, too"
    );
    settings.has_server = false;
    assert!(!asks(&settings, "/p", false));
}

proptest! {
    #[test]
    fn a_redirect_stays_on_its_host(path in "/[a/\\\\%.:2fF5bBpageindxhtml?#]{0,24}", html in 0..4) {
        let html = [
            HtmlHandling::AutoTrailingSlash,
            HtmlHandling::ForceTrailingSlash,
            HtmlHandling::DropTrailingSlash,
            HtmlHandling::None,
        ][usize::try_from(html).unwrap()];
        let url = url(&path);
        let rules = rules(Settings { html, ..Settings::default() }, "");
        if let Decision::Redirect(_, to) = decide(&rules, &files(), &Method::GET, &url) {
            prop_assert_eq!(url.join(&to).unwrap().origin(), url.origin());
            prop_assert_ne!(&to[..], &url[url::Position::BeforePath..url::Position::AfterQuery]);
        }
    }
}
