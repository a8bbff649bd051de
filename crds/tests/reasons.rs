//! Every reason has its page.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use portside_crds::Reason;

#[test]
fn every_reason_has_a_page_and_every_page_a_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons");
    let pages: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected: BTreeSet<String> = Reason::ALL.iter().map(|one| format!("{one}.md")).collect();
    assert_eq!(pages, expected);
    for reason in Reason::ALL {
        let page = std::fs::read_to_string(folder.join(format!("{reason}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {reason}\n")), "{reason}");
        for part in ["\n## See more\n", "\n## What to do\n"] {
            assert!(page.contains(part), "{reason} lacks {part:?}");
        }
    }
}
