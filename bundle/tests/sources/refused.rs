//! The table of refused manifests, without a cluster.

use crate::common::App;

/// Each of them, with its text and what it says after `# here:`.
fn refused() -> Vec<(String, String, Option<String>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/tests/refused");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(path).unwrap();
            let here = text.lines().find_map(|line| line.strip_prefix("# here: "));
            let here = here.map(ToOwned::to_owned);
            (name, text, here)
        })
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cluster_refuses_is_refused_here_with_its_place() {
    let all = refused();
    assert!(all.len() > 40, "only {} manifests", all.len());
    let mut wrong = vec![];
    for (name, text, here) in all {
        let app = App::new(&[
            ("class.yaml", &text),
            ("server.js", "export default { fetch() {} };"),
            ("src/server.js", "export default { fetch() {} };"),
        ]);
        let problems = app.problems().await;
        let as_said = match (&here, &*problems) {
            (None, []) => true,
            (Some(line), [problem]) => problem.starts_with(&format!("class.yaml:{line}")),
            _ => false,
        };
        if !as_said {
            wrong.push(format!("{name}: {problems:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
