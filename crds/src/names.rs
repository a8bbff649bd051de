//! Names, labels and places of what is made for a class.

use std::collections::BTreeMap;

/// The longest name of a class: what is made for it has longer ones, of which labels take 63 characters.
pub const MAX_CLASS_NAME: usize = 40;

/// The operator's field manager.
pub const FIELD_MANAGER: &str = "portside-operator";

/// The finalizer of classes whose state is deleted with them.
pub const FINALIZER: &str = "portside.dev/data";

/// The label that names the class, on all that is made for it.
pub const CLASS_LABEL: &str = "portside.dev/class";

/// The label that says what part of Portside a pod is.
pub const COMPONENT_LABEL: &str = "portside.dev/component";

/// [`COMPONENT_LABEL`] of the pods that run workers.
pub const COMPONENT_SIDECAR: &str = "sidecar";

/// The label that says what manages an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// [`MANAGED_BY_LABEL`] of all that is made for classes.
pub const MANAGED_BY: &str = "portside";

/// The label that says what application an object is of.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";

/// [`NAME_LABEL`] of all that is made for classes.
pub const NAME: &str = "serverless-worker-class";

/// The label that says what installation of the application an object is of: the class.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";

/// The Deployment's annotation with a hash of what the class asks for.
pub const INPUTS_ANNOTATION: &str = "portside.dev/inputs";

/// The Deployment's annotation with the version of the operator that wrote its pod template.
pub const OPERATOR_VERSION_ANNOTATION: &str = "portside.dev/operator-version";

/// The Deployment's annotation with the operator that wrote it: its namespace and lease.
pub const OPERATOR_ANNOTATION: &str = "portside.dev/operator";

/// The annotation of the Deployment and its pods with the number of their revision, the greater being the newer. Pods that
/// have none share the class's workers with nobody.
pub const REVISION_ANNOTATION: &str = "portside.dev/revision";

/// The Deployment's annotation with a hash of its pod template, but for the revision: with another one comes another revision.
pub const TEMPLATE_ANNOTATION: &str = "portside.dev/template";

/// The container that runs the workers.
pub const SIDECAR_CONTAINER: &str = "sidecar";

/// The pods' volume with the code.
pub const APP_VOLUME: &str = "app";

/// The pods' volume with the database's URL, and its certificate authority's certificates.
pub const DATABASE_VOLUME: &str = "database";

/// The pods' volume with the values of `spec.env` that are kept elsewhere.
pub const ENV_VOLUME: &str = "env";

/// The pods' volume with the credentials for the code's registry.
pub const PULL_VOLUME: &str = "pull";

/// The pods' volume with what they need for the API server of workers: whom to let in, and a token that says who they are.
pub const RUNTIME_VOLUME: &str = "runtime";

/// The pods' volume for what is gone with them.
pub const TMP_VOLUME: &str = "tmp";

/// All volumes of a pod but the class's own.
pub const VOLUMES: [&str; 6] = [
    APP_VOLUME,
    DATABASE_VOLUME,
    ENV_VOLUME,
    PULL_VOLUME,
    RUNTIME_VOLUME,
    TMP_VOLUME,
];

/// Those of [`VOLUMES`] that only the sidecar mounts.
pub const SECRET_VOLUMES: [&str; 4] = [DATABASE_VOLUME, ENV_VOLUME, PULL_VOLUME, RUNTIME_VOLUME];

/// The port for requests, by name.
pub const HTTP_PORT_NAME: &str = "http";

/// The port for requests.
pub const HTTP_PORT: u16 = 8080;

/// The port for probes, metrics and ownership, by name.
pub const ADMIN_PORT_NAME: &str = "admin";

/// The port for probes, metrics and ownership.
pub const ADMIN_PORT: u16 = 9090;

/// The port at which the pods of a class reach each other's workers, by name.
pub const PEER_PORT_NAME: &str = "peer";

/// The port at which the pods of a class reach each other's workers.
pub const PEER_PORT: u16 = 7070;

/// The port at which pods answer the API server of workers, by name.
pub const MANAGE_PORT_NAME: &str = "manage";

/// The port at which pods answer the API server of workers.
pub const MANAGE_PORT: u16 = 9091;

/// Where the sidecar finds what it needs for the API server of workers.
pub const RUNTIME_DIR: &str = "/etc/portside/runtime";

/// The file in [`RUNTIME_DIR`], and the key in a ConfigMap, with the certificates of whoever signs that server's.
pub const RUNTIME_CA_FILE: &str = "ca.crt";

/// The file in [`RUNTIME_DIR`] with the token by which a pod proves to the API server of workers who it is.
pub const RUNTIME_TOKEN_FILE: &str = "token";

/// The APIService by which the cluster finds the API server of workers.
pub const API_SERVICE: &str = "v1alpha1.runtime.portside.dev";

/// Where the sidecar finds the code and its manifest.
pub const APP_DIR: &str = "/app";

/// The effective manifest's file in [`APP_DIR`], and its key in the code's ConfigMap.
pub const MANIFEST_FILE: &str = "class.yaml";

/// The file in [`APP_DIR`], or key in a ConfigMap, that is a whole bundle.
pub const BUNDLE_FILE: &str = "bundle.json";

/// The file in [`APP_DIR`], or key in a ConfigMap, with the assets that belong to a bundle.
pub const ASSETS_FILE: &str = "assets.tar.gz";

/// Where the sidecar finds a file for each entry of env whose value is kept elsewhere, named as the entry.
pub const ENV_DIR: &str = "/etc/portside/env";

/// Where the sidecar finds the database's URL.
pub const DATABASE_URL_FILE: &str = "/etc/portside/database/url";

/// Where the sidecar finds the certificates of the authority that has signed the database's, if the class names one.
pub const DATABASE_CA_FILE: &str = "/etc/portside/database/ca.crt";

/// The key of a Secret of type kubernetes.io/dockerconfigjson.
pub const PULL_SECRET_KEY: &str = ".dockerconfigjson";

/// Where the sidecar finds the credentials for the registry that has the code.
pub const PULL_SECRET_FILE: &str = "/etc/portside/pull/.dockerconfigjson";

/// The name the class goes by outside its namespace, as `--class` of the sidecar takes it.
#[must_use]
pub fn qualified(namespace: &str, class: &str) -> String {
    format!("{namespace}/{class}")
}

/// The ConfigMap with the class's code. `digest` is the code's: `sha256:` and hexadecimal digits.
#[must_use]
pub fn code_config_map(class: &str, digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    let short = hex.get(..10).unwrap_or(hex);
    format!("{class}-code-{short}")
}

/// The ConfigMap with the certificates of those who sign for the API server of workers, if there is one.
#[must_use]
pub fn runtime(class: &str) -> String {
    format!("{class}-runtime")
}

/// The Deployment, and the ServiceAccount, headless Service, PodDisruptionBudget and NetworkPolicy that go with it.
#[must_use]
pub fn workers(class: &str) -> String {
    format!("{class}-workers")
}

/// The Service, and its EndpointSlice, through which an Ingress reaches the gateway.
#[must_use]
pub fn gateway(class: &str) -> String {
    format!("{class}-gateway")
}

/// The Ingress or HTTPRoute.
#[must_use]
pub fn ingress(class: &str) -> String {
    class.to_owned()
}

/// The Job that deletes the workers' state.
#[must_use]
pub fn purge(class: &str) -> String {
    format!("{class}-purge")
}

/// The labels of all that is made for a class.
#[must_use]
pub fn labels(class: &str) -> BTreeMap<String, String> {
    [
        (MANAGED_BY_LABEL, MANAGED_BY),
        (NAME_LABEL, NAME),
        (INSTANCE_LABEL, class),
        (CLASS_LABEL, class),
    ]
    .map(|(label, value)| (label.to_owned(), value.to_owned()))
    .into()
}

/// The labels of the class's pods.
#[must_use]
pub fn pod_labels(class: &str) -> BTreeMap<String, String> {
    let mut labels = labels(class);
    labels.insert(COMPONENT_LABEL.to_owned(), COMPONENT_SIDECAR.to_owned());
    labels
}

/// What the class's Deployment, Service and others select its pods by. Never changes: a Deployment's selector cannot.
#[must_use]
pub fn pod_selector(class: &str) -> BTreeMap<String, String> {
    [(CLASS_LABEL, class), (COMPONENT_LABEL, COMPONENT_SIDECAR)]
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .into()
}

/// [`pod_selector`] as text, for `status.selector` and list requests.
#[must_use]
pub fn selector_text(class: &str) -> String {
    let all: Vec<String> = pod_selector(class)
        .iter()
        .map(|(label, value)| format!("{label}={value}"))
        .collect();
    all.join(",")
}

/// The key that each file of a class's code has in its ConfigMap.
///
/// Keys are made of letters, digits, `-`, `_` and `.`, at most 253 of them: `/` becomes `__`, others `_`. Files whose
/// keys would be equal, too long, or taken by the manifest get a suffix, by the order of their paths.
#[must_use]
pub fn file_keys<'p>(paths: impl IntoIterator<Item = &'p str>) -> BTreeMap<&'p str, String> {
    let sorted: std::collections::BTreeSet<&str> = paths.into_iter().collect();
    let mut taken: std::collections::BTreeSet<String> = [MANIFEST_FILE.to_owned()].into();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    sorted
        .into_iter()
        .map(|path| {
            let mut base: String = path.replace('/', "__");
            base = base
                .chars()
                .map(|c| if plain(c) { c } else { '_' })
                .collect();
            base.truncate(240);
            let mut key = base.clone();
            let mut number = 1;
            while matches!(&*key, "." | "..") || !taken.insert(key.clone()) {
                number += 1;
                key = format!("{base}-{number}");
            }
            (path, key)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_labels() {
        let class = "c".repeat(MAX_CLASS_NAME);
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(code_config_map("chat", &digest), "chat-code-aaaaaaaaaa");
        for name in [
            code_config_map(&class, &digest),
            workers(&class),
            gateway(&class),
            purge(&class),
            runtime(&class),
        ] {
            assert!(name.len() <= 63, "{name}");
        }
        assert_eq!(
            selector_text("chat"),
            "portside.dev/class=chat,portside.dev/component=sidecar"
        );
    }

    #[test]
    fn every_file_has_a_key_of_its_own() {
        let long = "d/".repeat(200);
        let paths = [
            "a/b.js",
            "a__b.js",
            "é.js",
            "ü.js",
            "class.yaml",
            "x.ts",
            &long,
        ];
        let keys = file_keys(paths);
        assert_eq!(keys["x.ts"], "x.ts");
        assert_eq!(keys["a/b.js"], "a__b.js");
        assert_eq!(keys["a__b.js"], "a__b.js-2");
        assert_eq!(keys["class.yaml"], "class.yaml-2");
        let distinct: std::collections::BTreeSet<_> = keys.values().collect();
        assert_eq!(distinct.len(), paths.len());
        for key in distinct {
            assert!(key.len() <= 253, "{key}");
            assert!(
                key.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            );
        }
    }
}
