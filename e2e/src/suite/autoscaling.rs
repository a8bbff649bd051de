//! An autoscaler sets how many pods a class has.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use serde_json::{Value, json};

use super::scaling::{each_has_its_entry, ledger};
use crate::class::{Class, name};
use crate::cluster::until;
use crate::load::Load;
use crate::test::Test;

/// How often the autoscaler looks, four times over.
const PATIENCE: Duration = Duration::from_secs(90);
const METRICS_API: &str = "apiservice/v1beta1.metrics.k8s.io";
const ROOT: &str = "/apis/metrics.k8s.io/v1beta1";

/// The metrics API, as a class: it tells what it was told last.
const METRICS_SERVER: &str = r#"
const METRICS = "metrics.k8s.io/v1beta1";
const PODS = { name: "pods", singularName: "", namespaced: true, kind: "PodMetrics", verbs: ["get", "list"] };

function ask(question) {
  const { port } = new ServerlessWorker("./told.js");
  return new Promise((resolve, reject) => {
    port.onmessage = ({ data }) => resolve(data);
    port.onclose = ({ code }) => reject(new Error(code));
    port.postMessage(question);
  });
}

export default {
  async fetch(request) {
    if (request.method === "PUT") return Response.json(await ask({ told: await request.json() }));
    if (new URL(request.url).pathname === `/apis/${METRICS}`) {
      return Response.json({ kind: "APIResourceList", apiVersion: "v1", groupVersion: METRICS, resources: [PODS] });
    }
    const { namespace, pods, cpu } = await ask({});
    const items = pods.map((name) => ({
      metadata: { name, namespace },
      timestamp: new Date().toISOString(),
      window: "1s",
      containers: [{ name: "sidecar", usage: { cpu, memory: "64Mi" } }],
    }));
    return Response.json({ kind: "PodMetricsList", apiVersion: METRICS, metadata: {}, items });
  },
};
"#;

const TOLD: &str = r#"
let told = { namespace: "", pods: [], cpu: "0" };
export default {
  connect({ ports: [port] }) {
    port.onmessage = ({ data }) => {
      told = data.told ?? told;
      port.postMessage(told);
    };
  },
};
"#;

/// A HorizontalPodAutoscaler finds a class's pods by its scale, and sets their number by the processor time that they use. No
/// request fails.
pub async fn an_autoscaler_follows_the_load(test: Arc<Test>) {
    let class = ledger(&test, 1).await;
    let load = Load::start(&class.site(), 4);
    autoscale(&test).await;
    // No metrics are needed for that.
    class.all_serve(2).await;
    let traefik = test.cluster.get("kube-system", "service/traefik").await;
    if traefik.is_some_and(|service| service["spec"]["ports"][1]["port"] == 443) {
        let body = AssertUnwindSafe(follows(&test, &class))
            .catch_unwind()
            .await;
        // An API that does not answer keeps namespaces from being deleted.
        test.cluster
            .kubectl(&["delete", METRICS_API, "--ignore-not-found"])
            .await;
        body.unwrap_or_else(|panic| resume_unwind(panic));
    } else {
        eprintln!("skipped: without Traefik at port 443 nobody would serve the metrics API");
    }
    class.current().await;
    load.finish().await.flawless();
    each_has_its_entry(&class).await;
}

async fn autoscale(test: &Test) {
    let spec = json!({
        "scaleTargetRef": { "apiVersion": "portside.dev/v1alpha1", "kind": "ServerlessWorkerClass", "name": "ledger" },
        "minReplicas": 2,
        "maxReplicas": 3,
        "metrics": [{ "type": "Resource", "resource": {
            "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 70 },
        } }],
        "behavior": { "scaleDown": { "stabilizationWindowSeconds": 0 } },
    });
    let rest = json!({ "spec": spec });
    test.apply("autoscaling/v2", "HorizontalPodAutoscaler", "ledger", rest)
        .await;
}

/// With much to do there are three pods, with little two.
async fn follows(test: &Arc<Test>, class: &Class) {
    serve_metrics(test).await;
    // Of the 100m that a pod asks for.
    used_until(test, class, "95m", 3).await;
    class.all_serve(3).await;
    used_until(test, class, "20m", 2).await;
    class.all_serve(2).await;
}

async fn serve_metrics(test: &Arc<Test>) {
    let metrics = test.class("metrics", json!({
        "code": { "inline": { "server.js": METRICS_SERVER, "told.js": TOLD } },
        // The API server asks with TLS, and by the Service's address.
        "ingress": { "annotations": { "traefik.ingress.kubernetes.io/router.tls": "true" } },
    }))
    .await;
    let routes = json!([{ "path": ROOT }]);
    metrics
        .patch(&json!({ "spec": { "routes": routes } }))
        .await;
    metrics.ready().await;
    let spec = json!({
        "group": "metrics.k8s.io",
        "version": "v1beta1",
        "service": { "namespace": "kube-system", "name": "traefik", "port": 443 },
        "insecureSkipTLSVerify": true,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    });
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": { "name": "v1beta1.metrics.k8s.io" },
        "spec": spec,
    });
    test.cluster.apply(&service).await;
    let wait = [
        "wait",
        "--for=condition=Available",
        METRICS_API,
        "--timeout=60s",
    ];
    test.cluster.kubectl(&wait).await;
}

/// Says again and again that each pod uses so much, until the class has so many.
async fn used_until(test: &Test, class: &Class, cpu: &str, replicas: usize) {
    until(&format!("{replicas} pods"), PATIENCE, async || {
        let pods = class.pods().await;
        let pods: Vec<&str> = pods.iter().map(name).collect();
        let told = json!({ "namespace": test.namespace, "pods": pods, "cpu": cpu });
        test.cluster.put(&format!("{ROOT}/told"), &told).await?;
        let wanted = class.get().await["spec"]["scaling"]["replicas"].clone();
        if wanted == replicas {
            return Ok(());
        }
        let scaler = test.cluster.get(&test.namespace, "hpa/ledger").await;
        let conditions = scaler.map(|one: Value| one["status"].to_string());
        Err(format!("{wanted} are wanted: {conditions:?}"))
    })
    .await;
}
