//! What a request gets from assets, and whether the server is asked instead.

use http::{HeaderMap, Method, StatusCode};
use url::Url;

use crate::html::{Files, Meaning, meaning};
use crate::paths::{decoded, encoded};
use crate::redirects::Led;
use crate::settings::{NotFoundHandling, Rules, Settings};

/// What a request gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A file, with this status.
    File(StatusCode, String),
    /// It is sent there.
    Redirect(StatusCode, String),
    /// 405: there is a file, which can be read alone.
    NotAllowed,
    /// 404, whether there is a server or not: a redirect says so.
    NotFound,
    /// Nothing is meant. 404 if nobody else answers.
    Nothing,
}

/// What a request gets from assets.
pub(crate) fn decide(rules: &Rules, files: &impl Files, method: &Method, url: &Url) -> Decision {
    decided(rules, &rules.settings, files, method, url)
}

/// Whether the server is asked, and not assets.
pub(crate) fn is_for_server(
    rules: &Rules,
    files: &impl Files,
    method: &Method,
    url: &Url,
    headers: &HeaderMap,
) -> bool {
    let settings = &rules.settings;
    if !settings.has_server {
        return false;
    }
    if let Some(decided) = settings.server_first.decides(url.path()) {
        return decided;
    }
    let mode = headers.get("sec-fetch-mode").map(|mode| mode.as_bytes());
    let navigates = settings.navigation_prefers_assets && mode == Some(b"navigate");
    if navigates || !settings.server_first.is_empty() {
        return decide(rules, files, method, url) == Decision::Nothing;
    }
    // What is not found is the server's to answer.
    let settings = Settings {
        not_found: NotFoundHandling::None,
        ..settings.clone()
    };
    decided(rules, &settings, files, method, url) == Decision::Nothing
}

fn decided(
    rules: &Rules,
    settings: &Settings,
    files: &impl Files,
    method: &Method,
    url: &Url,
) -> Decision {
    let (path, is_led) = match rules.redirects.lead(url) {
        Some(Led::To(status, location)) => return Decision::Redirect(status, location),
        Some(Led::As(path)) => (path, true),
        None => (url.path().to_owned(), false),
    };
    let asked = decoded(&path);
    let Some(meaning) = meaning(settings, files, &asked) else {
        return if is_led {
            Decision::NotFound
        } else {
            Decision::Nothing
        };
    };
    if method != Method::GET && method != Method::HEAD {
        return Decision::NotAllowed;
    }
    let (status, file) = match meaning {
        Meaning::Elsewhere(to) => return redirect(url, &to),
        Meaning::File(file) => (StatusCode::OK, file),
        Meaning::NotFoundPage(file) => (StatusCode::NOT_FOUND, file),
    };
    // Each path has one way of being written.
    if encoded(&asked) != path {
        return redirect(url, &asked);
    }
    Decision::File(status, file)
}

fn redirect(url: &Url, to: &str) -> Decision {
    let mut location = encoded(to);
    if let Some(query) = url.query().filter(|query| !query.is_empty()) {
        location.push('?');
        location.push_str(query);
    }
    Decision::Redirect(StatusCode::TEMPORARY_REDIRECT, location)
}

#[cfg(test)]
mod tests;
