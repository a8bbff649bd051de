//! `docs/conformance.md`, written from the requirements and the names of the tests.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::requirements::{REQUIREMENTS, Status};
use crate::{Case, cases};

/// The tests of the list and its page.
pub const CASES: &[Case] = cases![
    every_requirement_has_a_test_or_a_reason,
    the_page_is_up_to_date,
];

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md");

/// Set to write the page instead of comparing it.
const BLESS: &str = "PORTSIDE_BLESS";

/// The tests by the requirements in their names: `r014_r015_…` is for 14 and 15.
fn tests() -> BTreeMap<u32, Vec<String>> {
    let mut tests = BTreeMap::<u32, Vec<String>>::new();
    let sharing = [("sharing", crate::sharing::CASES)];
    let sections = super::SECTIONS.iter().chain(crate::hostile::SECTIONS);
    for (section, cases) in sections.chain(&sharing) {
        for (name, _) in *cases {
            for number in name.split('_').map_while(number) {
                let test = format!("{section}::{name}");
                tests.entry(number).or_default().push(test);
            }
        }
    }
    tests
}

fn number(part: &str) -> Option<u32> {
    part.strip_prefix('r')?.parse().ok()
}

async fn every_requirement_has_a_test_or_a_reason() {
    let tests = tests();
    for (index, (number, _, status)) in REQUIREMENTS.iter().enumerate() {
        assert_eq!(*number as usize, index + 1, "the list has each number once");
        let exempt = matches!(status, Status::Exception(_));
        assert_ne!(
            tests.contains_key(number),
            exempt,
            "requirement {number} needs a test named r{number:03}_… or an exception, not both"
        );
    }
    let last = REQUIREMENTS.len() as u32;
    assert!(tests.keys().all(|number| (1..=last).contains(number)));
}

fn page() -> String {
    let tests = tests();
    let mut page = String::from(
        "# Conformance to the ServerlessWorker standard\n\n\
         Written from `sidecar/tests/behaviour/conformance` by\n\
         `PORTSIDE_BLESS=1 cargo test --workspace --test behaviour the_page`; do not edit it. A requirement holds when all\n\
         tests named after it pass, and the test run fails if one does not. `make apart` runs them once more, with all workers\n\
         in another pod than the server that is asked; those of `sharing` have several pods by themselves.\n\n\
         | | Requirement | Result | Tests |\n|---|---|---|---|\n",
    );
    for (number, text, status) in REQUIREMENTS {
        let result = match status {
            Status::Tested => "holds".to_owned(),
            Status::Partly(but) => format!("holds in part: {but}"),
            Status::Exception(reason) => format!("not tested: {reason}"),
        };
        let names = tests.get(number).map_or(String::new(), |tests| {
            tests
                .iter()
                .map(|test| format!("`{test}`"))
                .collect::<Vec<_>>()
                .join("<br>")
        });
        writeln!(page, "| {number} | {text} | {result} | {names} |").unwrap();
    }
    page
}

async fn the_page_is_up_to_date() {
    let (path, wanted) = (Path::new(PAGE), page());
    if std::env::var_os(BLESS).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, wanted).unwrap();
        return;
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/conformance.md is out of date: run this test with {BLESS}=1"
    );
}
