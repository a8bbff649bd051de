//! `portside push`

use std::fs::File;
use std::io::{ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, ensure};
use oci_client::Reference;
use portside_assets::{Assets, archive};
use portside_bundle::file;

use crate::bundle::shown;
use crate::registry::{Artifact, Kind, Login};
use portside_verbs::problems;
use portside_verbs::source::SourceArgs;

/// Arguments of `portside push`.
#[derive(clap::Args)]
pub struct Args {
    /// The application's folder
    dir: PathBuf,
    /// The artifact, such as registry.example/acme/chat:1.4
    reference: String,
    /// A file with credentials, as docker login writes it [default: config.json in $DOCKER_CONFIG or ~/.docker]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
}

impl Args {
    /// Bundles the folder and pushes the bundle; on problems nothing is pushed. Prints the reference with the digest.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            dir,
            reference,
            config,
            source,
        } = self;
        let reference = parsed(&reference)?;
        let login = login(config.as_deref(), &reference)?;
        let runtime = tokio::runtime::Runtime::new()?;
        let Some(bundled) = runtime.block_on(problems::bundled(&dir, &source.into())) else {
            return Ok(ExitCode::FAILURE);
        };
        let bytes = file::encode(&bundled.bundle)?;
        let assets = bundled.assets.as_ref().map(packed).transpose()?;
        let digest = runtime.block_on(push(&reference, login, bytes, assets))?;
        eprintln!("{reference}: {}", shown(&bundled));
        writeln!(std::io::stdout(), "{reference}@{digest}")?;
        Ok(ExitCode::SUCCESS)
    }
}

fn parsed(text: &str) -> anyhow::Result<Reference> {
    let reference: Reference = text.parse().with_context(|| {
        format!("{text:?} is no artifact, as registry.example/acme/chat:1.4 is")
    })?;
    ensure!(
        reference.digest().is_none(),
        "{text} has a digest, which is only known once it is pushed: leave it out"
    );
    Ok(reference)
}

/// The archive of assets, in a file without a name: it may be large.
fn packed(assets: &Assets) -> anyhow::Result<File> {
    let failed = || {
        format!(
            "the assets cannot be packed in {}",
            std::env::temp_dir().display()
        )
    };
    let mut file = tempfile::tempfile().with_context(failed)?;
    archive::pack(assets, &mut file).with_context(failed)?;
    file.rewind().with_context(failed)?;
    Ok(file)
}

/// Pushes the bundle's file and its assets' archive. Returns the manifest's digest.
async fn push(
    reference: &Reference,
    login: Login,
    bytes: Vec<u8>,
    assets: Option<File>,
) -> anyhow::Result<String> {
    let artifact = Artifact::new(reference.clone(), login.clone());
    artifact
        .push(bytes, assets)
        .await
        .map_err(|error| match error.kind {
            Kind::Denied => anyhow!("{error}; {}", login_step(&login, reference.registry())),
            _ => error.into(),
        })
}

fn login_step(login: &Login, registry: &str) -> String {
    match login {
        Login::Known(_) => "check that your credentials may push there".to_owned(),
        Login::Unusable(why) => {
            format!("there are credentials, but {why}: name a file that has them with --config")
        }
        Login::Anonymous => {
            format!("log in with `docker login {registry}`, or name a file with --config")
        }
    }
}

/// The credentials in that file, or in Docker's if there is one.
fn login(config: Option<&Path>, reference: &Reference) -> anyhow::Result<Login> {
    let docker = docker_config();
    let Some(file) = config.or(docker.as_deref()) else {
        return Ok(Login::Anonymous);
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && config.is_none() => {
            return Ok(Login::Anonymous);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", file.display()));
        }
    };
    Login::find(&text, reference).map_err(|error| anyhow!("{} {error}", file.display()))
}

/// Where `docker login` writes.
fn docker_config() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => std::env::home_dir()?.join(".docker"),
    };
    Some(folder.join("config.json"))
}

#[cfg(test)]
mod tests {
    use portside_bundle::load_made;

    use portside_bundle::Options;

    use super::*;
    use crate::registry::testkit::{Fault, Registry, basic};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_pushed_is_what_is_pulled() {
        let registry = Registry::start(Some(("ci", "s3cret"))).await;
        let app = tempfile::tempdir().unwrap();
        std::fs::write(app.path().join("server.js"), "import './a.js';").unwrap();
        std::fs::write(app.path().join("a.js"), "export default 1;").unwrap();
        let options = Options::default();
        let bundled = portside_bundle::bundle(app.path(), &options).await;
        let bundle = bundled.unwrap().bundle;
        let bytes = file::encode(&bundle).unwrap();

        let reference = parsed(&registry.reference("acme/chat:1.4")).unwrap();
        let config = app.path().join("config.json");
        std::fs::write(&config, registry.config("ci", "wrong")).unwrap();
        let wrong = login(Some(&config), &reference).unwrap();
        let error = push(&reference, wrong, bytes.clone(), None)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("denies access"), "{error}");
        assert!(error.to_string().ends_with("may push there"), "{error}");
        let nobody = push(&reference, Login::Anonymous, bytes.clone(), None).await;
        let error = nobody.unwrap_err().to_string();
        assert!(error.contains("docker login 127.0.0.1:"), "{error}");

        std::fs::write(&config, registry.config("ci", "s3cret")).unwrap();
        let right = login(Some(&config), &reference).unwrap();
        let digest = push(&reference, right.clone(), bytes.clone(), None)
            .await
            .unwrap();
        registry.fail(Fault::Unlocated, 1);
        let again = push(&reference, right, bytes, None).await.unwrap();
        assert_eq!(again, digest);

        let pulled = Artifact::new(reference, basic("ci", "s3cret")).pull().await;
        let pulled = pulled.unwrap();
        assert_eq!(pulled.digest, digest);
        assert_eq!(
            load_made(app.path(), &pulled.bytes, None).unwrap().bundle,
            bundle
        );
        let manifest = registry.manifest("acme/chat:1.4");
        assert_eq!(
            manifest["artifactType"],
            "application/vnd.portside.bundle.v1+json"
        );
        assert_eq!(
            manifest["config"]["mediaType"],
            "application/vnd.oci.empty.v1+json"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn assets_go_along() {
        let registry = Registry::start(None).await;
        let app = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| std::fs::write(app.path().join(path), text).unwrap();
        write("server.js", "export default { fetch() {} };");
        let class = "apiVersion: portside.dev/v1alpha1\nkind: ServerlessWorkerClass\nmetadata:\n  name: a\nspec:\n  \
                     code: {}\n  assets:\n    directory: public\n";
        write("class.yaml", class);
        std::fs::create_dir(app.path().join("public")).unwrap();
        write("public/a.txt", "a");
        let options = Options::default();
        let bundled = portside_bundle::bundle(app.path(), &options).await.unwrap();
        let bytes = file::encode(&bundled.bundle).unwrap();
        let archive = packed(bundled.assets.as_ref().unwrap()).unwrap();
        let reference = parsed(&registry.reference("acme/site:1")).unwrap();
        let pushed = push(&reference, Login::Anonymous, bytes, Some(archive)).await;
        pushed.unwrap();
        let manifest = registry.manifest("acme/site:1");
        assert_eq!(
            manifest["layers"][1]["mediaType"],
            "application/vnd.portside.assets.v1.tar+gzip"
        );

        let artifact = Artifact::new(reference, Login::Anonymous);
        for fault in [None, Some(Fault::Truncated)] {
            fault.into_iter().for_each(|fault| registry.fail(fault, 1));
            let pulled = artifact.pull().await.unwrap();
            let unpacked = app.path().join("unpacked");
            archive::unpack(pulled.assets.unwrap(), &unpacked).unwrap();
            let made = load_made(app.path(), &pulled.bytes, Some(&unpacked)).unwrap();
            let assets = made.assets.unwrap();
            assert_eq!(assets.files().next().unwrap().0, "/a.txt");
        }
    }

    #[test]
    fn what_cannot_be_pushed_to_is_said() {
        let digest = format!("a.b/c@sha256:{}", "0".repeat(64));
        let error = |text: &str| parsed(text).unwrap_err().to_string();
        assert!(error(&digest).contains("leave it out"));
        assert!(error("https://a.b/c").contains("is no artifact"));
        let reference = parsed("a.b/c").unwrap();
        assert_eq!(reference.whole(), "a.b/c:latest");
        let missing = login(Some(Path::new("/nowhere/config.json")), &reference);
        assert!(missing.unwrap_err().to_string().contains("/nowhere"));
    }
}
