//! What the pods of classes log, as Kubernetes keeps it: that takes the rights that `kubectl logs` takes, and no API server of workers.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use futures::{AsyncBufReadExt, AsyncReadExt};
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::{CLASS_LABEL, COMPONENT_LABEL, COMPONENT_SIDECAR, SIDECAR_CONTAINER};
use portside_verbs::printable;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// How often it is looked whether there are new pods.
const LOOK: Duration = Duration::from_secs(2);
/// As many lines of a process as a worker's log has at most, unless it is said how many.
pub const TAIL: i64 = 1_000;
/// A line may come in parts of this length.
const PART: u64 = 1 << 20;
/// So many pods are followed at most: each takes a connection to the cluster.
const MOST_PODS: usize = 100;
/// Lines on their way.
const WINDOW: usize = 1_000;

/// Whose log, and what of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this class alone.
    pub class: Option<String>,
    /// Of this pod alone.
    pub pod: Option<String>,
    /// Whether to go on with what comes, and with pods that come.
    pub follow: bool,
    /// So many lines of what each pod has logged so far; else all.
    pub tail: Option<i64>,
}

/// Lines, each with its end and its pod.
pub type Lines = mpsc::Receiver<anyhow::Result<Bytes>>;

/// Why there is no log: what is said, and how.
pub type Refused = (StatusCode, String);

/// The pods of classes in a namespace.
#[derive(Clone)]
struct Pods {
    client: Client,
    namespace: String,
    wanted: Wanted,
}

/// A container of a pod, from its start to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    pod: String,
    /// The pod's uid, and how often it has begun anew.
    id: (String, i32),
    /// Whether it goes on.
    goes_on: bool,
}

/// The log of the pods that are wanted.
///
/// # Errors
/// There are none, or nobody may see them.
pub async fn log(client: Client, namespace: &str, wanted: Wanted) -> Result<Lines, Refused> {
    let pods = Pods {
        client,
        namespace: namespace.to_owned(),
        wanted,
    };
    let runs = pods.runs().await?;
    if runs.is_empty() {
        pods.explain().await?;
    }
    let (lines, received) = mpsc::channel(WINDOW);
    if pods.wanted.follow {
        tokio::spawn(follow(pods, runs, lines));
    } else {
        tokio::spawn(async move {
            for run in &runs {
                let read = pods.read(run, &pods.params(None), &lines).await;
                if let Err(error) = read {
                    // Whoever reads has left, otherwise.
                    let _ = lines.send(Err(error)).await;
                    return;
                }
            }
        });
    }
    Ok(received)
}

impl Pods {
    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The containers that run or have run, in the order of their pods' names.
    async fn runs(&self) -> Result<Vec<Run>, Refused> {
        let pods = match &self.wanted.pod {
            Some(name) => vec![self.named(name).await?],
            None => {
                let mut selector = format!("{COMPONENT_LABEL}={COMPONENT_SIDECAR},{CLASS_LABEL}");
                if let Some(class) = &self.wanted.class {
                    selector = format!("{selector}={class}");
                }
                let params = ListParams::default().labels(&selector);
                self.api().list(&params).await.map_err(refused)?.items
            }
        };
        let mut runs: Vec<Run> = pods.iter().filter_map(run).collect();
        runs.sort_by(|one, other| one.pod.cmp(&other.pod));
        if runs.len() > MOST_PODS {
            let why = format!(
                "there are {} pods, and logs of at most {MOST_PODS} are read at a time: say --class or --pod",
                runs.len()
            );
            return Err((StatusCode::BAD_REQUEST, why));
        }
        Ok(runs)
    }

    async fn named(&self, name: &str) -> Result<Pod, Refused> {
        let namespace = &self.namespace;
        let pod = self.api().get_opt(name).await.map_err(refused)?;
        let missing = |why: String| (StatusCode::NOT_FOUND, why);
        let pod = pod.ok_or_else(|| {
            missing(format!(
                "there is no pod {name} in the namespace {namespace}"
            ))
        })?;
        let label = pod.labels().get(CLASS_LABEL);
        match (label, &self.wanted.class) {
            (None, _) => Err(missing(format!(
                "{name} is no pod of a class: it has no label {CLASS_LABEL}"
            ))),
            (Some(its), Some(class)) if its != class => Err(missing(format!(
                "{name} is a pod of the class {}, not of {class}",
                printable(its)
            ))),
            _ => Ok(pod),
        }
    }

    /// Says why there are no pods.
    async fn explain(&self) -> Result<(), Refused> {
        let namespace = &self.namespace;
        let missing = |why: String| Err((StatusCode::NOT_FOUND, why));
        let none = match &self.wanted.class {
            Some(class) => {
                let api: Api<ServerlessWorkerClass> =
                    Api::namespaced(self.client.clone(), namespace);
                // Who may see no classes may see pods all the same.
                if let Ok(None) = api.get_opt(class).await {
                    return missing(format!(
                        "there is no class {class} in the namespace {namespace}: kubectl portside status shows those there are"
                    ));
                }
                format!("the class {class} has no pods that have logged anything")
            }
            None => {
                format!("no class in the namespace {namespace} has pods that have logged anything")
            }
        };
        if !self.wanted.follow {
            return missing(format!("{none}; --follow waits for them"));
        }
        eprintln!("{none}: waiting for them");
        Ok(())
    }

    /// What is asked of a pod: what there is, or, with when a line came last, what came since.
    fn params(&self, since: Option<Instant>) -> LogParams {
        let seconds = |since: Instant| i64::try_from(since.elapsed().as_secs()).unwrap_or(i64::MAX);
        LogParams {
            container: Some(SIDECAR_CONTAINER.to_owned()),
            follow: self.wanted.follow,
            tail_lines: self.wanted.tail.filter(|_| since.is_none()),
            since_seconds: since.map(|since| seconds(since) + 1),
            ..LogParams::default()
        }
    }

    /// Passes on what a container logs, until it has ended, or, without `follow`, what there is.
    async fn read(
        &self,
        run: &Run,
        params: &LogParams,
        lines: &mpsc::Sender<anyhow::Result<Bytes>>,
    ) -> anyhow::Result<()> {
        let stream = match self.api().log_stream(&run.pod, params).await {
            Ok(stream) => stream,
            // It is gone, or has not begun.
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => return Ok(()),
            Err(error) => return Err(anyhow!(refused(error).1)),
        };
        let mut stream = std::pin::pin!(stream);
        loop {
            let mut line = format!("[pod/{}] ", run.pod).into_bytes();
            let before = line.len();
            let mut part = stream.as_mut().take(PART);
            let read = part.read_until(b'\n', &mut line).await;
            if read.with_context(|| format!("the log of {} ends", run.pod))? == 0 {
                return Ok(());
            }
            debug_assert!(line.len() > before);
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            if lines.send(Ok(line.into())).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Follows a container to its end, also if a connection ends before.
    async fn follow(&self, run: Run, lines: mpsc::Sender<anyhow::Result<Bytes>>) {
        let mut since = None;
        loop {
            let params = self.params(since);
            // What goes wrong with one pod while others go on is tried again.
            let _ = self.read(&run, &params, &lines).await;
            since = Some(Instant::now());
            sleep(LOOK).await;
            let goes_on = match self.runs().await {
                Ok(now) => now.iter().any(|it| it.id == run.id && it.goes_on),
                Err((StatusCode::NOT_FOUND, _)) => false,
                // The cluster does not answer now.
                Err(_) => true,
            };
            if !goes_on || lines.is_closed() {
                return;
            }
        }
    }
}

/// Follows each container of each pod that there is, and of those that come.
async fn follow(pods: Pods, mut runs: Vec<Run>, lines: mpsc::Sender<anyhow::Result<Bytes>>) {
    let mut followed = HashSet::new();
    let mut is_first = true;
    loop {
        for run in &runs {
            if followed.insert(run.id.clone()) {
                let mut pods = pods.clone();
                if !is_first {
                    // All that it says is new.
                    pods.wanted.tail = None;
                }
                let (run, lines) = (run.clone(), lines.clone());
                tokio::spawn(async move { pods.follow(run, lines).await });
            }
        }
        is_first = false;
        sleep(LOOK).await;
        match pods.runs().await {
            Ok(now) => runs = now,
            // The one pod that is followed is gone.
            Err((StatusCode::NOT_FOUND, why)) => {
                let _ = lines.send(Err(anyhow!(why))).await;
                return;
            }
            // The cluster answers again, or nobody waits for it any more.
            Err(_) if lines.is_closed() => return,
            Err(_) => {}
        }
        followed.retain(|id| runs.iter().any(|run| run.id == *id));
    }
}

/// The sidecar's present container; nothing before there is one.
fn run(pod: &Pod) -> Option<Run> {
    let mut containers = pod.status.as_ref()?.container_statuses.iter().flatten();
    let sidecar = containers.find(|one| one.name == SIDECAR_CONTAINER)?;
    let state = sidecar.state.as_ref()?;
    let has_begun = state.running.is_some() || state.terminated.is_some();
    has_begun.then(|| Run {
        pod: pod.name_any(),
        id: (pod.uid().unwrap_or_default(), sidecar.restart_count),
        goes_on: state.running.is_some(),
    })
}

/// What Kubernetes refuses, and what it takes.
fn refused(error: kube::Error) -> Refused {
    match error {
        kube::Error::Api(status) if status.code == 403 => (
            StatusCode::FORBIDDEN,
            format!(
                "{}: it takes what kubectl logs takes, get and list of pods, and get of pods/log",
                status.message
            ),
        ),
        kube::Error::Api(status) => (
            StatusCode::from_u16(status.code).unwrap_or(StatusCode::BAD_GATEWAY),
            status.message.clone(),
        ),
        error => (StatusCode::BAD_GATEWAY, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, state: &Value, restarts: i32) -> Value {
        let container = |name: &str, state: &Value, restarts: i32| json!({"name": name, "state": state, "restartCount": restarts, "ready": true, "image": "", "imageID": ""});
        json!({
            "metadata": {"name": name, "uid": name, "labels": {CLASS_LABEL: "chat"}},
            "status": {"containerStatuses": [
                container("other", &json!({"running": {}}), 9),
                container("sidecar", state, restarts),
            ]},
        })
    }

    fn running(name: &str) -> Value {
        pod(name, &json!({"running": {}}), 0)
    }

    #[test]
    fn each_container_that_has_begun_is_read_once() {
        let run = |state: Value, restarts| {
            run(&serde_json::from_value(pod("chat-1", &state, restarts)).unwrap())
        };
        let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(run(waiting, 0), None);
        let first = run(json!({"running": {}}), 0).unwrap();
        assert_eq!((&*first.pod, first.id.1), ("chat-1", 0));
        assert!(first.goes_on);
        let again = run(json!({"terminated": {"exitCode": 1}}), 1).unwrap();
        assert_ne!(first.id, again.id);
        assert!(!again.goes_on);
    }

    /// A cluster that answers so, by the path and query.
    fn cluster(answer: fn(&str) -> (u16, String)) -> Client {
        let service = tower::service_fn(move |request: Request<kube::client::Body>| async move {
            let (status, text) = answer(&request.uri().to_string());
            let body = kube::client::Body::from(text.into_bytes());
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        });
        Client::new(service, "default")
    }

    fn no(code: u16, message: &str) -> (u16, String) {
        let reason = if code == 404 { "NotFound" } else { "Forbidden" };
        let status = json!({"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code});
        (code, status.to_string())
    }

    fn two_pods(uri: &str) -> (u16, String) {
        let log = "container=sidecar&tailLines=1000";
        match uri.strip_prefix("/api/v1/namespaces/team-a/pods") {
            Some(rest) if rest.starts_with("?&labelSelector=") => {
                let items = [running("chat-2"), running("chat-1")];
                (200, json!({"metadata": {}, "items": items}).to_string())
            }
            Some("/chat-1") => (200, running("chat-1").to_string()),
            Some(rest) if rest == format!("/chat-1/log?&{log}") => {
                (200, "[server] a\n[x] b".into())
            }
            Some(rest) if rest == format!("/chat-2/log?&{log}") => (200, "[y] c\n".into()),
            _ => no(404, "not found"),
        }
    }

    async fn lines(wanted: Wanted) -> String {
        let wanted = Wanted {
            tail: Some(TAIL),
            ..wanted
        };
        let mut lines = log(cluster(two_pods), "team-a", wanted).await.unwrap();
        let mut all = String::new();
        while let Some(line) = lines.recv().await {
            all += std::str::from_utf8(&line.unwrap()).unwrap();
        }
        all
    }

    #[tokio::test]
    async fn each_line_says_whose_pod_it_is_of() {
        let all = lines(Wanted::default()).await;
        let first = "[pod/chat-1] [server] a\n[pod/chat-1] [x] b\n";
        assert_eq!(all, format!("{first}[pod/chat-2] [y] c\n"));
        let one = lines(Wanted {
            pod: Some("chat-1".to_owned()),
            ..Wanted::default()
        });
        assert_eq!(one.await, first);
    }

    #[tokio::test]
    async fn what_is_not_there_is_said() {
        let why = async |client: Client, class: Option<&str>, pod: Option<&str>| {
            let wanted = Wanted {
                class: class.map(str::to_owned),
                pod: pod.map(str::to_owned),
                ..Wanted::default()
            };
            log(client, "team-a", wanted).await.unwrap_err().1
        };
        let missing = why(cluster(two_pods), None, Some("chat-9")).await;
        assert!(
            missing.contains("no pod chat-9 in the namespace team-a"),
            "{missing}"
        );
        let other = why(cluster(two_pods), Some("shop"), Some("chat-1")).await;
        assert!(other.contains("of the class chat, not of shop"), "{other}");
        fn empty(uri: &str) -> (u16, String) {
            match uri.contains("/pods?") {
                true => (200, json!({"metadata": {}, "items": []}).to_string()),
                false => no(404, "not found"),
            }
        }
        let missing = why(cluster(empty), Some("shop"), None).await;
        assert!(missing.contains("there is no class shop"), "{missing}");
        let none = why(cluster(empty), None, None).await;
        assert!(none.contains("--follow waits"), "{none}");
        let refused = why(cluster(|_| no(403, "you may not")), None, None).await;
        assert!(refused.contains("get of pods/log"), "{refused}");
    }
}
