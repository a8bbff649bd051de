//! What requests get, one by one: as from wrangler, by which `transcripts.txt` was written. That file says how it is to be read.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portside_assets::{Answer, Assets, HtmlHandling, NotFoundHandling, ServerFirst, Settings};
use portside_exchange::{Body, Request};
use serde_json::Value as Json;
use url::Url;

type Files = BTreeMap<String, String>;

/// The files that some lines speak of, beside those that are there already.
fn files(lines: &[&str], mut files: Files) -> Files {
    let mut name = "";
    for line in lines {
        if let Some(file) = line.strip_prefix("+ ") {
            name = file;
            files.insert(name.to_owned(), format!("{name}\n"));
        }
        if let Some(text) = line.strip_prefix("| ") {
            let file = files.get_mut(name).unwrap();
            if *file == format!("{name}\n") {
                file.clear();
            }
            *file += &format!("{text}\n");
        }
    }
    files
}

fn settings(json: &Json) -> Settings {
    let is_before = json["date"]
        .as_str()
        .is_some_and(|date| date < "2025-04-01");
    Settings {
        html: match json["html_handling"].as_str() {
            None => HtmlHandling::AutoTrailingSlash,
            Some("force-trailing-slash") => HtmlHandling::ForceTrailingSlash,
            Some("drop-trailing-slash") => HtmlHandling::DropTrailingSlash,
            Some(_) => HtmlHandling::None,
        },
        not_found: match json["not_found_handling"].as_str() {
            None => NotFoundHandling::None,
            Some("404-page") => NotFoundHandling::NotFoundPage,
            Some(_) => NotFoundHandling::SinglePageApplication,
        },
        server_first: match &json["run_worker_first"] {
            Json::Bool(true) => ServerFirst::new(&["/*"]),
            Json::Array(rules) => {
                let rules: Vec<_> = rules.iter().map(|rule| rule.as_str().unwrap()).collect();
                ServerFirst::new(&rules)
            }
            _ => ServerFirst::default(),
        },
        navigation_prefers_assets: !is_before,
        has_server: json["server"] == true,
    }
}

fn request(method: &str, target: &str) -> Request {
    let url = Url::parse(&format!("http://example.com{target}")).unwrap();
    Request {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        url: url.into(),
        headers: HeaderMap::new(),
        body: Body::Empty,
        websocket: false,
    }
}

async fn tag(assets: &Assets, target: &str) -> String {
    let Answer { response, .. } = assets.answer(&request("GET", target)).await.unwrap();
    let tag = response.headers.get("etag");
    tag.map_or("", |tag| tag.to_str().unwrap()).to_owned()
}

/// The line that says what a request got.
async fn answer(assets: &Assets, line: &str) -> String {
    let mut parts = line.split(" | ");
    let (method, target) = parts.next().unwrap().split_once(' ').unwrap();
    let mut asked = request(method, target);
    for field in parts {
        let (name, value) = field.split_once(": ").unwrap();
        let value = value.replace("TAG", &tag(assets, target).await);
        let name: HeaderName = name.parse().unwrap();
        asked
            .headers
            .insert(name, HeaderValue::from_str(&value).unwrap());
    }
    if assets.is_for_server(&asked) {
        return "= server".to_owned();
    }
    let Answer { response, .. } = assets.answer(&asked).await.unwrap();
    let mut shown: Vec<String> = vec![];
    for (name, value) in &response.headers {
        let value = value.to_str().unwrap();
        match name.as_str() {
            "content-length" => {}
            "etag" if value.len() == 34 => shown.push("etag: TAG".to_owned()),
            _ => shown.push(format!("{name}: {value}")),
        }
    }
    shown.sort();
    if let Body::Full(bytes) = &response.body
        && let Some(line) = std::str::from_utf8(bytes).unwrap().lines().next()
    {
        shown.push(line.to_owned());
    }
    let mut line = format!("= {}", response.status.as_u16());
    for field in shown {
        line += &format!(" | {field}");
    }
    line
}

fn scanned(folder: &Path, files: &Files, settings: Settings) -> Assets {
    for (name, text) in files {
        let file = folder.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    Assets::scan(folder, settings).unwrap().found
}

#[tokio::test]
async fn requests_get_what_wrangler_gives_them() {
    let table = include_str!("transcripts.txt");
    let mut sections = table.split("\n@ ");
    let common: Vec<&str> = sections.next().unwrap().lines().collect();
    let common = files(&common, Files::new());
    let (mut wrong, mut count) = (vec![], 0);
    for section in sections {
        let lines: Vec<&str> = section.lines().collect();
        let folder = tempfile::tempdir().unwrap();
        let given = serde_json::from_str(lines[0]).unwrap();
        let assets = scanned(
            folder.path(),
            &files(&lines, common.clone()),
            settings(&given),
        );
        for pair in lines.windows(2) {
            let Some(asked) = pair[0].strip_prefix("> ") else {
                continue;
            };
            count += 1;
            let answer = answer(&assets, asked).await;
            if answer != pair[1] {
                wrong.push(format!(
                    "{}\n> {asked}\n{answer}\n  not\n{}",
                    lines[0], pair[1]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count > 200, "{count}");
}
