//! A class behind HTTPS, with a certificate of cert-manager: what docs/tasks/tls.md tells.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::process::{Child, Command};

use crate::cluster::{run, until};
use crate::page;
use crate::test::Test;

const PAGE: &str = include_str!("../../../docs/tasks/tls.md");

/// An annotation is enough: the class is served with a certificate for its hosts, and with another one once it has another host.
pub async fn cert_manager_makes_one_for_a_class(test: Arc<Test>) {
    let settings = &test.cluster.settings;
    let (Some(programs), Some(entry)) = (&settings.third_party, &settings.tls_entry) else {
        eprintln!("skipped: this needs cert-manager (scripts/third-party), and an entry for HTTPS");
        return;
    };
    let definitions = programs.join("cert-manager-definitions");
    let definitions = definitions.to_str().unwrap();
    let cluster = &test.cluster;
    cluster
        .kubectl(&["apply", "--server-side", "-f", definitions])
        .await;
    cluster.established(&["-f", definitions]).await;
    let _manager = manager(&test, programs);
    let authority = authority(&test).await;

    let files = page::files(PAGE, &test);
    cluster.try_apply(&files["issuer.yaml"]).await.unwrap();
    let class = page::chat(&test, &files, "secure").await;
    let host = test.host("chat");
    assert_eq!(
        class.get().await["status"]["url"],
        format!("https://{host}/")
    );
    served(entry, &host, authority.path()).await;

    let second = format!("second.{host}");
    let routes = json!([{ "host": host }, { "host": second }]);
    class.patch(&json!({ "spec": { "routes": routes } })).await;
    served(entry, &second, authority.path()).await;
    served(entry, &host, authority.path()).await;
    cluster.kubectl(&["delete", "clusterissuer", "own"]).await;
}

fn manager(test: &Test, programs: &Path) -> Child {
    let log = format!("{}-cert-manager.log", test.namespace);
    let log = File::create(test.cluster.settings.logs.join(log)).unwrap();
    let namespace = format!("--cluster-resource-namespace={}", test.namespace);
    Command::new(programs.join("cert-manager"))
        .arg(namespace)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Makes the authority's Secret, and returns a file with its certificate.
async fn authority(test: &Test) -> tempfile::NamedTempFile {
    let folder = tempfile::tempdir().unwrap();
    let [key, certificate] = ["tls.key", "tls.crt"].map(|name| folder.path().join(name));
    let made =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=own";
    let mut args: Vec<_> = made.split(' ').collect();
    args.extend(["-keyout", key.to_str().unwrap()]);
    args.extend(["-out", certificate.to_str().unwrap()]);
    run(Path::new("openssl"), &args, "").await.unwrap();
    let read = |path| fs::read_to_string(path).unwrap();
    let data = json!({ "tls.key": read(&key), "tls.crt": read(&certificate) });
    let secret = json!({ "type": "kubernetes.io/tls", "stringData": data });
    test.apply("v1", "Secret", "own-authority", secret).await;
    let kept = tempfile::NamedTempFile::new().unwrap();
    fs::write(kept.path(), read(&certificate)).unwrap();
    kept
}

/// Waits until a host is served over HTTPS with a certificate of the authority.
async fn served(entry: &str, host: &str, authority: &Path) {
    let (address, port) = entry.rsplit_once(':').unwrap();
    let connect = format!("{host}:{port}:{address}:{port}");
    let url = format!("https://{host}:{port}/a");
    let mut args = vec!["--silent", "--show-error", "--fail", "--noproxy", "*", &url];
    args.extend([
        "--cacert",
        authority.to_str().unwrap(),
        "--connect-to",
        &connect,
    ]);
    let what = format!("{host} over HTTPS");
    let answer = until(&what, Duration::from_secs(90), async || {
        run(Path::new("curl"), &args, "").await
    })
    .await;
    assert!(answer.contains("secure"), "{answer}");
}
