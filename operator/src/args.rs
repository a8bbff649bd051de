//! The command line.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueEnum};
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use portside_admin::{LogArgs, listen_address};

use crate::{release, run, schema};

/// Makes what each ServerlessWorkerClass asks for: pods that run its workers, and the routes to them.
#[derive(Debug, Parser)]
#[command(name = "portside-operator", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the classes and serve them; what happens without a subcommand.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinition as YAML.
    Crds,
    /// Remove what would be in the way without an operator: the finalizers of all classes, so that they can be deleted; their data stays.
    ReleaseFinalizers(ReleaseArgs),
}

/// Settings of the controller.
#[derive(Debug, Parser)]
pub(crate) struct RunArgs {
    /// The namespace in which the operator and the gateway run
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub namespace: String,

    /// Who this process is among several operators; its pod's name
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: String,

    /// Serve this namespace only; may be repeated. All namespaces if absent
    #[arg(
        long,
        env = "PORTSIDE_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub watch_namespace: Vec<String>,

    /// The image of pods whose class names none
    #[arg(long, env = "PORTSIDE_SIDECAR_IMAGE", value_name = "IMAGE")]
    pub sidecar_image: String,

    /// When nodes pull the sidecar's image
    #[arg(
        long,
        env = "PORTSIDE_SIDECAR_PULL_POLICY",
        value_enum,
        default_value = "IfNotPresent"
    )]
    pub sidecar_pull_policy: PullPolicy,

    /// The gateway's Service in the operator's namespace
    #[arg(
        long,
        env = "PORTSIDE_GATEWAY_SERVICE",
        default_value = "portside-gateway",
        value_name = "NAME"
    )]
    pub gateway_service: String,

    /// The gateway's Service as Ingress controllers reach it by name, such as
    /// portside-gateway.portside-system.svc.cluster.local:80. Ingresses then lead there through Services of type
    /// ExternalName, which the controller has to allow; without it, through copies of the gateway's addresses
    #[arg(long, env = "PORTSIDE_GATEWAY_DNS_NAME", value_name = "HOST:PORT")]
    pub gateway_dns_name: Option<HostPort>,

    /// The Service of the API server of workers in the operator's namespace, if there is one. Its certificates are made, and looked after,
    /// in the Secrets NAME-ca and NAME-tls
    #[arg(long, env = "PORTSIDE_APISERVER", value_name = "NAME")]
    pub apiserver: Option<String>,

    /// Who may reach the port with metrics of classes' pods beside the operator and the gateway, as a JSON list of a NetworkPolicy's peers;
    /// every pod of the cluster if it is empty
    #[arg(
        long,
        env = "PORTSIDE_METRICS_FROM",
        default_value = "[]",
        value_name = "JSON"
    )]
    pub metrics_from: PolicyPeers,

    /// The IngressClass of classes that name none; the cluster's default if absent
    #[arg(long, env = "PORTSIDE_INGRESS_CLASS", value_name = "NAME")]
    pub ingress_class: Option<String>,

    /// Where probes and metrics are answered
    #[arg(
        long,
        env = "PORTSIDE_ADMIN",
        default_value = "[::]:9090",
        value_parser = listen_address,
        value_name = "ADDRESS"
    )]
    pub admin: SocketAddr,

    /// The Lease in the operator's namespace that says which operator works: another one for each installation there
    #[arg(
        long,
        env = "PORTSIDE_LEASE_NAME",
        default_value = "portside-operator",
        value_name = "NAME"
    )]
    pub lease_name: String,

    /// Work without asking whether another operator does; for development
    #[arg(long)]
    pub no_leader_election: bool,

    #[command(flatten)]
    pub log: LogArgs,
}

/// Settings of the uninstall hook.
#[derive(Debug, Parser)]
pub(crate) struct ReleaseArgs {
    /// This namespace's classes only; may be repeated. All namespaces if absent
    #[arg(
        long,
        env = "PORTSIDE_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub watch_namespace: Vec<String>,

    /// Also remove the registration of this API server of workers, and its Secrets from the namespace
    #[arg(
        long,
        env = "PORTSIDE_APISERVER",
        value_name = "NAME",
        requires = "namespace"
    )]
    pub apiserver: Option<String>,

    /// The namespace in which the API server of workers has run
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    #[command(flatten)]
    pub log: LogArgs,
}

/// Peers of a NetworkPolicy.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PolicyPeers(pub Vec<NetworkPolicyPeer>);

impl FromStr for PolicyPeers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: String| {
            format!(
                "not a JSON list of peers such as [{{\"namespaceSelector\":{{\"matchLabels\":{{\"team\":\"a\"}}}}}}]: {why}"
            )
        };
        let peers: Vec<NetworkPolicyPeer> =
            serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        // What is misspelled would be left out, and a peer without anything lets nobody in: it is an error for the API server.
        if peers.contains(&NetworkPolicyPeer::default()) {
            return Err(wrong("a peer selects nothing".to_owned()));
        }
        Ok(Self(peers))
    }
}

/// A DNS name and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// The name.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(':').and_then(|(host, port)| {
            let port = port.parse().ok().filter(|port| *port > 0)?;
            Some((host, port))
        });
        let (host, port) = parts.ok_or("not a name and a port such as gateway.example:80")?;
        let is_label = |label: &str| {
            let inner = label.trim_matches('-');
            !label.is_empty() && inner == label && label.len() <= 63
        };
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        let is_address = host.parse::<Ipv4Addr>().is_ok();
        if !host.chars().all(is_letter) || !host.split('.').all(is_label) || is_address {
            return Err("the host is not a DNS name of lower-case letters, digits, - and .");
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// A container's `imagePullPolicy`, spelled as Kubernetes does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// As a pod's specification writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl RunArgs {
    /// The Service of the API server of workers, if there is one.
    pub(crate) fn apiserver(&self) -> Option<String> {
        self.apiserver.clone().filter(|name| !name.is_empty())
    }
}

impl Args {
    /// Does what the command line says.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(args) => run::run(*args).await,
            Command::Crds => schema::print(),
            Command::ReleaseFinalizers(args) => release::run(args).await,
        }
    }
}

/// The command line with `run` put in where it names no subcommand, so that flags alone are enough.
pub(crate) fn with_default_command(
    args: impl IntoIterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    const OWN: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let mut args: Vec<OsString> = args.into_iter().collect();
    let names_command = args.get(1).is_some_and(|first| {
        first
            .to_str()
            .is_none_or(|first| !first.starts_with('-') || OWN.contains(&first))
    });
    if !names_command {
        args.insert(args.len().min(1), "run".into());
    }
    args.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: [&str; 3] = [
        "--namespace=system",
        "--pod-name=a",
        "--sidecar-image=side:1",
    ];

    fn parse(args: &[&str]) -> Result<Command, clap::Error> {
        let args = std::iter::once(&"portside-operator")
            .chain(args)
            .map(OsString::from);
        Args::try_parse_from(with_default_command(args)).map(|args| args.command)
    }

    #[test]
    fn flags_alone_mean_run() {
        let Command::Run(args) =
            parse(&[&REQUIRED[..], &["--watch-namespace=a,b"]].concat()).unwrap()
        else {
            panic!("not run");
        };
        assert_eq!(args.watch_namespace, ["a", "b"]);
        assert_eq!(args.gateway_service, "portside-gateway");
        assert_eq!(args.sidecar_pull_policy, PullPolicy::IfNotPresent);
    }

    #[test]
    fn names_have_a_host_and_a_port() {
        let host = "gateway.portside-system.svc.cluster.local".to_owned();
        let read = format!("{host}:80").parse::<HostPort>();
        assert_eq!(read, Ok(HostPort { host, port: 80 }));
        for wrong in [
            "gateway",
            "gateway:0",
            "gateway:http",
            ":80",
            "a..b:80",
            "-a:80",
            "A:80",
            "10.0.0.1:80",
            "[::1]:80",
            "http://a:80",
        ] {
            assert!(wrong.parse::<HostPort>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn peers_are_json() {
        let peers = r#"[{"namespaceSelector":{"matchLabels":{"team":"a"}}}]"#;
        let read: PolicyPeers = peers.parse().unwrap();
        assert_eq!(serde_json::to_string(&read.0).unwrap(), peers);
        assert_eq!("[]".parse(), Ok(PolicyPeers::default()));
        for wrong in ["", "{}", "monitoring", r#"[{"namespace":"monitoring"}]"#] {
            let said = wrong.parse::<PolicyPeers>().unwrap_err();
            assert!(said.starts_with("not a JSON list of peers"), "{said}");
        }
    }

    #[test]
    fn subcommands_stay() {
        assert!(matches!(parse(&["crds"]), Ok(Command::Crds)));
        let run = [&["run"], &REQUIRED[..], &["--sidecar-pull-policy", "Never"]].concat();
        assert!(matches!(parse(&run), Ok(Command::Run(_))));
        let help = parse(&["--help"]).unwrap_err();
        assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = parse(&[]).unwrap_err().to_string();
        assert!(error.contains("--sidecar-image"), "{error}");
    }
}
