//! Workers as objects of the cluster, and a class that has some.

use std::time::Duration;

use serde_json::{Value, json};

use crate::class::Class;
use crate::cluster::{Cluster, until};
use crate::test::Test;

/// The APIService of the API server of workers.
pub const API_SERVICE: &str = "v1alpha1.runtime.portside.dev";

/// Secrets and ConfigMaps are brought to pods within a minute or two.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A worker that keeps the last note that it was given, and says so in its log.
pub const WORKER: &str = r#"
export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => {
      console.log(`noted ${data}`);
      storage.put("note", data);
      port.postMessage(data);
    };
  },
};
"#;

/// Gives each note to the worker that the path names.
pub const SERVER: &str = r#"
export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    const { port } = new ServerlessWorker("./notes.js", pathname.slice(1));
    const answer = new Promise((resolve, reject) => {
      port.onmessage = ({ data }) => resolve(data);
      port.onclose = ({ code }) => reject(new Error(`the worker went away: ${code}`));
    });
    port.postMessage(searchParams.get("note"));
    return new Response(await answer);
  },
};
"#;

/// A class whose workers keep a note each.
pub fn notes(replicas: u32) -> Value {
    json!({
        "code": { "inline": { "server.js": SERVER, "notes.js": WORKER } },
        "scaling": { "replicas": replicas },
    })
}

/// Has a worker note something, and so wakes it.
pub async fn note(class: &Class, worker: &str, text: &str) {
    let path = format!("/{worker}?note={text}");
    until(
        "an answer of the worker",
        Duration::from_secs(30),
        async || {
            let reply = class.site().get(&path).await;
            match (reply.status, reply.text()) {
                (200, said) if said == text => Ok(()),
                (status, said) => Err(format!("{status} {said}")),
            }
        },
    )
    .await;
}

/// Waits until the cluster has reached the API server of workers.
pub async fn registered(cluster: &Cluster) {
    let what = format!("apiservice/{API_SERVICE}");
    until("the registration", PATIENCE, async || {
        let found = cluster.get("default", &what).await;
        let found = found.ok_or("there is none")?;
        let conditions = found["status"]["conditions"].as_array();
        let available = conditions.and_then(|all| {
            let mut all = all.iter();
            all.find(|one| one["type"] == "Available" && one["status"] == "True")
        });
        available
            .map(|_| ())
            .ok_or_else(|| found["status"].to_string())
    })
    .await;
}

/// Where a namespace's workers are, or one of them, or something of it.
pub fn path(test: &Test, rest: &str) -> String {
    let namespace = &test.namespace;
    format!("/apis/runtime.portside.dev/v1alpha1/namespaces/{namespace}/serverlessworkers{rest}")
}

/// A worker of a namespace as it is listed, if it is.
pub async fn find(test: &Test, address: &str) -> Result<Value, String> {
    let get = ["-n", &test.namespace, "get", "serverlessworkers"];
    let list = test
        .cluster
        .try_kubectl(&[&get[..], &["-o", "json"]].concat())
        .await?;
    let list: Value = serde_json::from_str(&list).unwrap();
    let items = list["items"].as_array().unwrap();
    let found = items.iter().find(|one| one["spec"]["address"] == address);
    found
        .cloned()
        .ok_or_else(|| format!("it is not among {} workers: {list}", items.len()))
}

/// Waits until a worker is listed with that state.
pub async fn in_state(test: &Test, address: &str, state: &str) -> Value {
    let what = format!("{address} to be {state}");
    until(&what, Duration::from_secs(60), async || {
        match find(test, address).await? {
            one if one["status"]["state"] == state => Ok(one),
            one => Err(one["status"].to_string()),
        }
    })
    .await
}

/// Its name among objects.
pub fn name(worker: &Value) -> &str {
    worker["metadata"]["name"].as_str().unwrap()
}
