//! The definition: that its file is as the types are, and that clusters and people can use it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use portside_crds::plain::Plain;
use portside_crds::schema::{YAML, crd, open_api};
use serde_json::Value;

const HEADER: &str = "\
# What a ServerlessWorkerClass is. Made from the types in crds/src/class; after a change of them, make it again with
# PORTSIDE_BLESS=1 cargo test -p portside-crds --test generated
";

#[test]
fn the_file_is_as_the_types_are() {
    let now = serde_json::to_value(crd()).unwrap();
    let now = format!("{HEADER}{}", serde_saphyr::to_string(&Plain(&now)).unwrap());
    if std::env::var_os("PORTSIDE_BLESS").is_some() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/generated/serverlessworkerclasses.yaml"
        );
        std::fs::write(file, now).unwrap();
    } else {
        let stale = "stale: PORTSIDE_BLESS=1 cargo test -p portside-crds --test generated";
        assert!(now == YAML, "{stale}");
    }
}

/// Client-side `kubectl apply` keeps the whole definition in an annotation, which must stay far below 256 KiB.
#[test]
fn the_definition_is_small() {
    let size = serde_json::to_vec(&crd()).unwrap().len();
    assert!(size < 40 << 10, "{size} bytes");
}

#[test]
fn every_field_is_described() {
    fn walk(schema: &Value, path: &str, bare: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            if field["description"]
                .as_str()
                .is_none_or(|text| text.len() < 5)
            {
                bare.push(path.clone());
            }
            walk(field, &path, bare);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(&schema[inner], path, bare);
            }
        }
    }
    let mut bare = vec![];
    let schema = open_api();
    walk(&schema, "", &mut bare);
    assert_eq!(bare, Vec::<String>::new());
    assert!(
        schema["properties"]["spec"]["properties"]
            .as_object()
            .unwrap()
            .len()
            >= 10
    );
}

#[test]
fn an_unseen_class_counts_as_in_progress() {
    let status = &open_api()["properties"]["status"];
    assert_eq!(status["default"]["observedGeneration"], -1);
}

#[test]
fn it_can_be_scaled_and_listed() {
    let crd = serde_json::to_value(crd()).unwrap();
    let version = &crd["spec"]["versions"][0];
    let scale = &version["subresources"]["scale"];
    assert_eq!(scale["specReplicasPath"], ".spec.scaling.replicas");
    assert_eq!(scale["statusReplicasPath"], ".status.replicas");
    assert_eq!(scale["labelSelectorPath"], ".status.selector");
    let columns: Vec<_> = (version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter())
    .map(|column| column["name"].as_str().unwrap())
    .collect();
    let expected = [
        "Ready", "Reason", "URL", "Digest", "Replicas", "Serving", "Awake", "Age",
    ];
    assert_eq!(columns, expected);
    assert_eq!(crd["spec"]["names"]["shortNames"][0], "swc");
    assert_eq!(crd["spec"]["names"]["plural"], "serverlessworkerclasses");
}
