//! What the tests are told by their environment.

use std::env;
use std::path::PathBuf;

/// The tag of an earlier version's images.
pub const BEFORE: &str = "before";

/// Where things are. `scripts/e2e` sets all of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `KUBECTL`: the program; by default the one on `PATH`. It finds the cluster by `KUBECONFIG`.
    pub kubectl: PathBuf,
    /// `PORTSIDE_E2E_KUBECTLS`: the same program in other versions, separated by colons. What needs them is left out without.
    pub kubectls: Vec<PathBuf>,
    /// `HELM`: the program; by default the one on `PATH`.
    pub helm: PathBuf,
    /// `PORTSIDE_E2E_ENTRY`: host and port where requests for every class arrive, told apart by their `Host`.
    pub entry: String,
    /// `PORTSIDE_E2E_REPOSITORY`: what comes before the images' names, by default `localhost/portside`.
    pub repository: String,
    /// `PORTSIDE_E2E_TAG`: the images' tag, by default `e2e`. The same images must be there as `<tag>-next`.
    pub tag: String,
    /// `PORTSIDE_E2E_PULL_POLICY`: by default `Never`, for images that were loaded into the nodes.
    pub pull_policy: String,
    /// `PORTSIDE_E2E_VALUES`: a file of further values for the chart.
    pub values: Option<PathBuf>,
    /// `PORTSIDE_E2E_PORTSIDE`: the command line tool, by default `target/debug/portside`.
    pub portside: PathBuf,
    /// `PORTSIDE_E2E_GATEWAY_API`: the sources of sigs.k8s.io/gateway-api, for its definitions. What needs them is left out
    /// without.
    pub gateway_api: Option<PathBuf>,
    /// `PORTSIDE_E2E_BEFORE`: the sources of an earlier version, whose images are there with the tag [`BEFORE`]. The upgrade from it is
    /// left out without.
    pub before: Option<PathBuf>,
    /// `PORTSIDE_E2E_TLS_ENTRY`: where requests over HTTPS arrive. What needs that is left out without.
    pub tls_entry: Option<String>,
    /// `PORTSIDE_E2E_THIRD_PARTY`: the folder of what `scripts/third-party` builds: Flux's controllers, Argo CD's engine, cert-manager,
    /// CloudNativePG. What needs them is left out without.
    pub third_party: Option<PathBuf>,
    /// `PORTSIDE_E2E_ENFORCED`: the cluster enforces NetworkPolicies for sure. Without it that is tried, and what needs it is left out if not.
    pub enforced: bool,
    /// `PORTSIDE_E2E_LOGS`: the folder for what failed tests leave behind.
    pub logs: PathBuf,
    /// `PORTSIDE_E2E_KEEP`: leaves Portside and the namespaces of failed tests, for a look.
    pub keep: bool,
    /// `PORTSIDE_E2E_SHORT`: what takes minutes is left out, or looked at for less time.
    pub short: bool,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn from_env() -> Result<Self, String> {
        let text =
            |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
        let folder = |name: &str| {
            let folder = env::var_os(name).filter(|folder| !folder.is_empty());
            folder.map(PathBuf::from)
        };
        Ok(Self {
            kubectl: text("KUBECTL", "kubectl").into(),
            kubectls: env::var_os("PORTSIDE_E2E_KUBECTLS").map_or_else(Vec::new, |all| {
                let all = env::split_paths(&all);
                all.filter(|it| !it.as_os_str().is_empty()).collect()
            }),
            helm: text("HELM", "helm").into(),
            entry: env::var("PORTSIDE_E2E_ENTRY").map_err(|_| {
                "PORTSIDE_E2E_ENTRY is not set: the host and port where the cluster takes requests; \
                 run `make e2e` to have all of this found or made"
            })?,
            repository: text("PORTSIDE_E2E_REPOSITORY", "localhost/portside"),
            tag: text("PORTSIDE_E2E_TAG", "e2e"),
            pull_policy: text("PORTSIDE_E2E_PULL_POLICY", "Never"),
            values: env::var_os("PORTSIDE_E2E_VALUES").map(Into::into),
            portside: text("PORTSIDE_E2E_PORTSIDE", "target/debug/portside").into(),
            gateway_api: folder("PORTSIDE_E2E_GATEWAY_API"),
            before: folder("PORTSIDE_E2E_BEFORE"),
            tls_entry: env::var("PORTSIDE_E2E_TLS_ENTRY").ok(),
            third_party: folder("PORTSIDE_E2E_THIRD_PARTY"),
            enforced: !text("PORTSIDE_E2E_ENFORCED", "").is_empty(),
            logs: text("PORTSIDE_E2E_LOGS", "target/e2e-logs").into(),
            keep: !text("PORTSIDE_E2E_KEEP", "").is_empty(),
            short: !text("PORTSIDE_E2E_SHORT", "").is_empty(),
        })
    }

    /// Enough to list the tests.
    pub fn nowhere() -> Self {
        Self {
            kubectl: "kubectl".into(),
            kubectls: vec![],
            helm: "helm".into(),
            entry: String::new(),
            repository: String::new(),
            tag: String::new(),
            pull_policy: String::new(),
            values: None,
            portside: PathBuf::new(),
            gateway_api: None,
            before: None,
            tls_entry: None,
            third_party: None,
            enforced: false,
            logs: "target/e2e-logs".into(),
            keep: false,
            short: false,
        }
    }
}
