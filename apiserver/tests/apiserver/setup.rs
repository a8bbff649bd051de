//! All of it, started.

use std::net::SocketAddr;
use std::time::Duration;

use portside_admin::Readiness;
use portside_apiserver::metrics::Metrics;
use portside_apiserver::process::{Process, Settings, WAITED_FOR};
use portside_apiserver::replicas::Own;
use portside_manage::API_SERVER;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, LONG};
use crate::cluster::Cluster;
use crate::pki::{self, Authority, Leaf};
use crate::pod::Pod;

/// A server of several.
pub struct Replica {
    pub name: String,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub metrics: Metrics,
    folder: TempDir,
}

/// A server between a cluster and pods.
pub struct Setup {
    pub cluster: Cluster,
    /// Signs the server's certificate, which pods trust.
    pub own: Authority,
    /// Signs the cluster's API server's.
    pub proxies: Authority,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub first: Replica,
}

impl Setup {
    pub async fn new() -> Self {
        let (cluster, own, proxies) = (
            Cluster::new(),
            Authority::new("own"),
            Authority::new("proxies"),
        );
        cluster.apply("configmaps", config_map(&proxies));
        let first = Replica::start("first", &cluster, &own).await;
        Self {
            cluster,
            own,
            proxies,
            address: first.address,
            stop: first.stop.clone(),
            first,
        }
    }

    /// Another server, after which both know of each other before long.
    pub async fn join(&self, name: &str) -> Replica {
        let replica = Replica::start(name, &self.cluster, &self.own).await;
        for it in [&self.first, &replica] {
            self.cluster.apply("pods", it.object());
        }
        replica
    }

    /// Replaces the server's certificate.
    pub fn renew(&self, authority: &Authority) {
        self.first.renew(authority);
    }

    /// Pods of which nobody knows yet.
    pub async fn pods<const N: usize>(&self, namespace: &str, names: [&str; N]) -> [Pod; N] {
        let started = names.map(|name| Pod::start(namespace, name, &self.own));
        let started = futures::future::join_all(started).await;
        started.try_into().unwrap_or_else(|_| unreachable!())
    }

    /// A class of these pods, which the server knows.
    pub async fn class(&self, namespace: &str, name: &str, pods: &[Pod]) {
        self.apply(namespace, name, pods);
        let path = format!(
            "/namespaces/{namespace}/serverlessworkers?limit=1&fieldSelector=spec.class%3D{name}"
        );
        let admin = self.client("admin").await;
        until(async || {
            let answer = admin.get(&path).await;
            let no_pod = pods.is_empty() && answer.headers.get("warning").is_some();
            no_pod || !pods.is_empty() && pods.iter().all(|it| !it.asked().is_empty())
        })
        .await;
    }

    /// The same, whatever the server makes of it.
    pub fn apply(&self, namespace: &str, name: &str, pods: &[Pod]) {
        for pod in pods {
            self.cluster.apply("pods", pod.object(name, true));
        }
        let uid = format!("{namespace}/{name}")
            .bytes()
            .fold(1, |all, it| all * 31 + u128::from(it) % 31);
        self.cluster.class(namespace, name, uid);
    }

    /// The cluster's API server, for a user.
    pub async fn client(&self, user: &str) -> Client {
        self.client_of(&self.first, user).await
    }

    /// The same, which asks one of several servers.
    pub async fn client_of(&self, replica: &Replica, user: &str) -> Client {
        let leaf = self.proxies.sign("front-proxy-client");
        let config = pki::client(&self.own, Some(&leaf));
        Client::connect(replica.address, config, Some(user))
            .await
            .unwrap()
    }
}

impl Replica {
    async fn start(name: &str, cluster: &Cluster, own: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            tls_dir: folder.path().to_owned(),
            replicas: Some(Own {
                namespace: "portside".to_owned(),
                name: name.to_owned(),
                labels: [("component".to_owned(), "apiserver".to_owned())].into(),
            }),
            namespaces: vec![],
        };
        let metrics = Metrics::register(&mut Registry::default());
        let readiness = Readiness::waiting_for(WAITED_FOR);
        let process = Process::bind(cluster.client(), settings, readiness, metrics.clone());
        let process = process.await.unwrap();
        let address = process.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(process.run(stop.clone()));
        let this = Self {
            name: name.to_owned(),
            address,
            stop,
            metrics,
            folder,
        };
        this.renew(own);
        until(async || {
            let config = pki::client(own, None);
            let Ok(client) = Client::connect(address, config, None).await else {
                return false;
            };
            client.get("/readyz").await.status == 200
        })
        .await;
        this
    }

    /// Replaces its certificate, and who signs those of replicas.
    pub fn renew(&self, authority: &Authority) {
        let folder = self.folder.path();
        write(folder, &authority.sign(API_SERVER));
        std::fs::write(folder.join("ca.crt"), authority.certificate.pem()).unwrap();
    }

    /// Its pod.
    pub fn object(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "namespace": "portside", "name": self.name, "uid": format!("uid-{}", self.name),
                "labels": { "component": "apiserver" },
            },
            "spec": { "containers": [{
                "name": "apiserver",
                "ports": [{ "name": "https", "containerPort": self.address.port() }],
            }] },
            "status": {
                "phase": "Running", "podIP": self.address.ip(),
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        })
    }
}

fn write(folder: &std::path::Path, leaf: &Leaf) {
    std::fs::write(folder.join("tls.key"), leaf.key.serialize_pem()).unwrap();
    std::fs::write(folder.join("tls.crt"), leaf.certificate.pem()).unwrap();
}

pub fn config_map(proxies: &Authority) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": "kube-system", "name": "extension-apiserver-authentication" },
        "data": {
            "requestheader-client-ca-file": proxies.certificate.pem(),
            "requestheader-allowed-names": r#"["front-proxy-client"]"#,
            "requestheader-username-headers": r#"["X-Remote-User"]"#,
            "requestheader-group-headers": r#"["X-Remote-Group"]"#,
            "requestheader-extra-headers-prefix": r#"["X-Remote-Extra-"]"#,
        },
    })
}

/// Waits for it.
pub async fn until(is: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, waiting).await.expect("it does not come");
}
