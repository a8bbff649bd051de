//! Somebody who has a cluster, this repository and its guide.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use portside_testkit::Site;
use tokio::process::Command;

use super::examples::chat_room;
use crate::cluster::Cluster;
use crate::release::{Release, image_values};
use crate::test::Test;

const GUIDE: &str = include_str!("../../../docs/kubernetes.md");

/// Where the guide's chat room is.
const HOST: &str = "chat-room.example.com";

/// The guide's commands, as they stand there, lead from a cluster without Portside to people who chat.
pub async fn the_guide_leads_to_a_chat_room(test: Arc<Test>) {
    let cluster = &test.cluster;
    let release = Release::new(cluster);
    release.remove().await;
    let install = commands("## 2. ");
    let deploy = commands("## 3. ");
    let said = run(cluster, &format!("{}\n{}", install[0], deploy[0])).await;
    assert!(said.contains(&format!("http://{HOST}/")), "{said}");
    let site = Site {
        address: cluster.settings.entry.clone(),
        host: HOST.to_owned(),
    };
    chat_room(&site).await;
    for what in ["swc/chat-room", "configmap/chat-room-code"] {
        let delete = ["-n", "default", "delete", what, "--ignore-not-found"];
        cluster
            .kubectl(&[&delete[..], &["--timeout=120s"]].concat())
            .await;
    }
    release.remove().await;
    release.install().await;
}

/// The commands that a part of the guide has, block by block.
fn commands(part: &str) -> Vec<&'static str> {
    let (_, rest) = GUIDE.split_once(&format!("\n{part}")).expect("the part");
    let part = rest.split("\n## ").next().unwrap_or(rest);
    let blocks = part.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

/// Runs commands in the repository, as a user of it does; what is built is built, and the images are those of the tests.
async fn run(cluster: &Cluster, commands: &str) -> String {
    let settings = &cluster.settings;
    let images = [
        ("image", "operator"),
        ("gateway.image", "gateway"),
        ("sidecar.image", "sidecar"),
        ("postgres.image", "postgres"),
    ];
    let images = image_values(settings, &settings.tag, &images).into_iter();
    let mut values = vec!["--set=postgres.persistence.enabled=false".to_owned()];
    values.extend(images.map(|value| format!("--set={value}")));
    if let Some(file) = &settings.values {
        values.push(format!("--values={}", file.display()));
    }
    let programs = fs::canonicalize(settings.portside.parent().unwrap()).unwrap();
    let script = format!(
        "set -euo pipefail
        make() {{ :; }}
        export PATH='{programs}':$PATH
        kubectl() {{ command '{kubectl}' \"$@\"; }}
        helm() {{
          case \"$*\" in
            *charts/portside-crds*) command '{helm}' \"$@\" --take-ownership ;;
            *) command '{helm}' \"$@\" {values} ;;
          esac
        }}
        {commands}",
        programs = programs.display(),
        kubectl = settings.kubectl.display(),
        helm = settings.helm.display(),
        values = values.join(" "),
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{commands}: {said}{errors}");
    said
}
