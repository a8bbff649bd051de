//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;

use clap::{Parser, Subcommand, ValueEnum};
use portside_admin::LogArgs;

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
    /// Remove the finalizers of all classes, so that they can be deleted without an operator; their data stays.
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

    /// The IngressClass of classes that name none; the cluster's default if absent
    #[arg(long, env = "PORTSIDE_INGRESS_CLASS", value_name = "NAME")]
    pub ingress_class: Option<String>,

    /// Where probes and metrics are answered
    #[arg(
        long,
        env = "PORTSIDE_ADMIN",
        default_value = "0.0.0.0:9090",
        value_name = "ADDRESS"
    )]
    pub admin: SocketAddr,

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

    #[command(flatten)]
    pub log: LogArgs,
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
