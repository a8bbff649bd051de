//! What a pod says when its code cannot be pulled.

use clap::Parser;
use portside_crds::sidecar::Termination;

use super::*;
use crate::registry::testkit::{Fault, Registry};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: ArtifactArgs,
}

async fn pull(args: &[&str]) -> Result<Option<Vec<u8>>, Termination> {
    let cli = Cli::try_parse_from([&["sidecar"], args].concat());
    let args = cli.unwrap_or_else(|error| panic!("{error}")).args;
    let pulled = args.pull(Path::new("/nowhere")).await;
    let pulled = pulled.map_err(|failure| match failure {
        Failure::Start(termination) => termination,
        Failure::Lost(why) => panic!("{why}"),
    })?;
    Ok(pulled.map(|code| code.bundle))
}

#[tokio::test]
async fn the_bundle_comes_from_where_the_class_says() {
    assert_eq!(pull(&[]).await.unwrap(), None);
    let registry = Registry::start(Some(("puller", "s3cret"))).await;
    let digest = registry.put("acme/chat:1.4", b"bundle");
    registry.put("acme/chat:1.4", b"newer");
    let reference = registry.reference("acme/chat:1.4");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".dockerconfigjson");
    let secret = ["--pull-secret-file", file.to_str().unwrap()];
    let by_tag = ["--artifact", &reference];
    let pinned = ["--artifact", &reference, "--artifact-digest", &digest];

    let refused = async |args: &[&str]| {
        let termination = pull(args).await.unwrap_err();
        assert_eq!(termination.reason, Reason::CodePullFailed);
        assert!(!termination.reason.is_final());
        let message = termination.message;
        assert!(message.starts_with(&reference), "{message}");
        message
    };
    let message = refused(&by_tag).await;
    assert!(message.contains("in spec.code.oci.pullSecret"), "{message}");
    let message = refused(&[by_tag, secret].concat()).await;
    assert!(
        message.contains("does the Secret of spec.code.oci.pullSecret exist"),
        "{message}"
    );
    std::fs::write(&file, "{}").unwrap();
    let message = refused(&[by_tag, secret].concat()).await;
    assert!(
        message.contains("no credentials for this registry"),
        "{message}"
    );
    std::fs::write(&file, "secret").unwrap();
    let message = refused(&[by_tag, secret].concat()).await;
    assert!(
        message.contains("not as docker login writes it"),
        "{message}"
    );
    std::fs::write(&file, registry.config("puller", "wrong")).unwrap();
    let message = refused(&[by_tag, secret].concat()).await;
    assert!(message.contains("may pull it"), "{message}");

    std::fs::write(&file, registry.config("puller", "s3cret")).unwrap();
    let pulled = pull(&[&by_tag[..], &secret].concat()).await.unwrap();
    assert_eq!(pulled.unwrap(), b"newer");
    let pulled = pull(&[&pinned[..], &secret].concat()).await.unwrap();
    assert_eq!(pulled.unwrap(), b"bundle");
}

#[tokio::test]
async fn only_what_may_pass_is_retried() {
    let registry = Registry::start(None).await;
    let digest = registry.put("acme/chat:1.4", b"bundle");
    let reference = registry.reference("acme/chat:1.4");
    let missing = registry.reference("acme/chat:1.5");
    let absent = pull(&["--artifact", &missing]).await.unwrap_err();
    assert_eq!(absent.reason, Reason::CodePullFailed);
    assert!(
        absent.message.contains("check spec.code.oci.reference"),
        "{}",
        absent.message
    );
    let zeros = format!("sha256:{}", "0".repeat(64));
    let absent = pull(&["--artifact", &reference, "--artifact-digest", &zeros]).await;
    let absent = absent.unwrap_err();
    assert_eq!(absent.reason, Reason::CodePullFailed);
    assert!(
        absent.message.contains("of this digest"),
        "{}",
        absent.message
    );

    registry.fail(Fault::OtherManifest, 1);
    let other = pull(&["--artifact", &reference, "--artifact-digest", &digest]).await;
    assert_eq!(other.unwrap_err().reason, Reason::CodeDigestMismatch);
    let wrong = pull(&["--artifact", "not a reference"]).await.unwrap_err();
    assert_eq!(wrong.reason, Reason::ClassInvalid);
    assert!(
        wrong.message.contains("spec.code.oci.reference"),
        "{}",
        wrong.message
    );
    let wrong = pull(&["--artifact", &reference, "--artifact-digest", "sha256:1"]).await;
    assert!(wrong.unwrap_err().message.contains("spec.code.oci.digest"));
}
