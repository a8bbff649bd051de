//! What the pods of classes log, as Kubernetes keeps it: that takes the rights that `kubectl logs` takes, and no API server of workers.

mod place;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use futures::{AsyncBufReadExt, AsyncReadExt};
use http::StatusCode;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt};
use portside_crds::ServerlessWorkerClass;
use portside_crds::names::{CLASS_LABEL, COMPONENT_LABEL, COMPONENT_SIDECAR, SIDECAR_CONTAINER};
use portside_verbs::printable;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;

use place::Place;

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
}

/// What has become of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Now {
    GoesOn,
    /// It has ended; its log is there.
    Ended,
    /// It has ended, and the next one of its pod has begun; its log is there.
    Before,
    Gone,
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
    if runs.len() > MOST_PODS {
        let why = format!(
            "there are {} pods, and logs of at most {MOST_PODS} are read at a time: say --class or --pod",
            runs.len()
        );
        return Err((StatusCode::BAD_REQUEST, why));
    }
    if runs.is_empty() {
        pods.explain().await?;
    }
    let (lines, received) = mpsc::channel(WINDOW);
    if pods.wanted.follow {
        tokio::spawn(follow(pods, runs, lines));
    } else {
        tokio::spawn(async move {
            for run in &runs {
                let mut place = Place::default();
                let params = pods.params(&place, false);
                let read = pods.read(run, &params, &mut place, &lines).await;
                if let Err((_, why)) = read {
                    // Whoever reads has left, otherwise.
                    let _ = lines.send(Err(anyhow!(why))).await;
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

    /// What is asked of a pod: what there is, or what has come since a place in its log.
    fn params(&self, place: &Place, follow: bool) -> LogParams {
        let mut params = LogParams {
            container: Some(SIDECAR_CONTAINER.to_owned()),
            follow,
            // Otherwise it is read once.
            timestamps: self.wanted.follow,
            ..LogParams::default()
        };
        if !place.ask(&mut params) {
            params.tail_lines = self.wanted.tail;
        }
        params
    }

    /// Passes on what a container logs from a place on, until it has ended, or, without `follow`, what there is.
    async fn read(
        &self,
        run: &Run,
        params: &LogParams,
        place: &mut Place,
        lines: &mpsc::Sender<anyhow::Result<Bytes>>,
    ) -> Result<(), Refused> {
        let stream = match self.api().log_stream(&run.pod, params).await {
            Ok(stream) => stream,
            // It is gone, or has not begun.
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => return Ok(()),
            Err(error) => return Err(refused(error)),
        };
        let mut stream = std::pin::pin!(stream);
        let mut again = place.again();
        let (mut is_begin, mut is_new, mut at) = (true, true, None);
        loop {
            let mut line = vec![];
            let mut part = stream.as_mut().take(PART);
            let read = part.read_until(b'\n', &mut line).await;
            let breaks = |error| format!("the log of {} ends: {error}", run.pod);
            if read.map_err(|error| (StatusCode::BAD_GATEWAY, breaks(error)))? == 0 {
                return Ok(());
            }
            if is_begin && params.timestamps {
                at = place::time(&mut line);
                is_new = again.is_new(at);
            }
            is_begin = line.last() == Some(&b'\n');
            if !is_begin {
                line.push(b'\n');
            }
            if is_new {
                let line = [b"[pod/", run.pod.as_bytes(), b"] ", &*line].concat();
                if lines.send(Ok(line.into())).await.is_err() {
                    return Ok(());
                }
                // One that is cut off is read again.
                if is_begin {
                    place.passed(at);
                }
            }
        }
    }

    /// Follows a container to its end, also if a connection ends before.
    async fn follow(&self, run: Run, lines: mpsc::Sender<anyhow::Result<Bytes>>) {
        let mut place = Place::default();
        let mut now = Now::GoesOn;
        while now != Now::Gone {
            let params = LogParams {
                previous: now == Now::Before,
                ..self.params(&place, now == Now::GoesOn)
            };
            // What goes wrong with one pod while others go on is tried again, but for what takes a right.
            let read = self.read(&run, &params, &mut place, &lines).await;
            if let Err((StatusCode::FORBIDDEN, why)) = read {
                let _ = lines.send(Err(anyhow!(why))).await;
                return;
            }
            if lines.is_closed() || read.is_ok() && now != Now::GoesOn {
                return;
            }
            sleep(LOOK).await;
            now = match self.api().get_opt(&run.pod).await {
                Ok(pod) => pod.map_or(Now::Gone, |pod| run.now(&pod)),
                // The cluster does not answer now.
                Err(_) => now,
            };
        }
    }
}

/// Follows each container of each pod that there is, and of those that come.
async fn follow(pods: Pods, mut runs: Vec<Run>, lines: mpsc::Sender<anyhow::Result<Bytes>>) {
    let mut followed = Followed::new(MOST_PODS);
    let mut is_first = true;
    loop {
        let (new, left_out) = followed.take(&runs);
        for (run, one_of_few) in new {
            let mut pods = pods.clone();
            if !is_first {
                // All that it says is new.
                pods.wanted.tail = None;
            }
            let lines = lines.clone();
            tokio::spawn(async move {
                pods.follow(run, lines).await;
                drop(one_of_few);
            });
        }
        if let Some(why) = left_out {
            eprintln!("{why}");
        }
        is_first = false;
        sleep(LOOK).await;
        match pods.runs().await {
            Ok(now) => runs = now,
            // The one pod that is followed is gone, or a right is.
            Err((StatusCode::NOT_FOUND | StatusCode::FORBIDDEN, why)) => {
                let _ = lines.send(Err(anyhow!(why))).await;
                return;
            }
            // The cluster answers again, or nobody waits for it any more.
            Err(_) if lines.is_closed() => return,
            Err(_) => {}
        }
    }
}

/// Which containers are followed, or have been.
struct Followed {
    known: HashSet<(String, i32)>,
    left_out: HashSet<(String, i32)>,
    /// How many may be followed beside these.
    room: Arc<Semaphore>,
}

impl Followed {
    fn new(most: usize) -> Self {
        Self {
            known: HashSet::new(),
            left_out: HashSet::new(),
            room: Arc::new(Semaphore::new(most)),
        }
    }

    /// Those of all there are that are to be followed from now on, each with its place, which it gives back at its end; and what is to be
    /// said if there is none for some. Those are taken as soon as there is one.
    fn take(&mut self, runs: &[Run]) -> (Vec<(Run, OwnedSemaphorePermit)>, Option<String>) {
        let mut new = vec![];
        let mut left_out = vec![];
        self.known.retain(|id| runs.iter().any(|run| run.id == *id));
        for run in runs.iter().filter(|run| !self.known.contains(&run.id)) {
            match self.room.clone().try_acquire_owned() {
                Ok(one_of_few) => new.push((run.clone(), one_of_few)),
                Err(_) => left_out.push(run),
            }
        }
        self.known.extend(new.iter().map(|(run, _)| run.id.clone()));
        let one = left_out.iter().find(|run| !self.left_out.contains(&run.id));
        let why = one.map(|one| {
            format!(
                "logs of {} pods are left out, such as that of {}: no more are followed at a time; say --class or --pod",
                left_out.len(),
                printable(&one.pod)
            )
        });
        self.left_out = left_out.iter().map(|run| run.id.clone()).collect();
        (new, why)
    }
}

impl Run {
    /// What has become of it, where its pod is this one now.
    fn now(&self, pod: &Pod) -> Now {
        let (uid, restarts) = &self.id;
        let Some(sidecar) = sidecar(pod).filter(|_| pod.uid().as_ref() == Some(uid)) else {
            return Now::Gone;
        };
        let state = sidecar.state.as_ref();
        let is_running = state.is_some_and(|it| it.running.is_some());
        match sidecar.restart_count - restarts {
            0 if is_running => Now::GoesOn,
            0 => Now::Ended,
            1 => Now::Before,
            _ => Now::Gone,
        }
    }
}

fn sidecar(pod: &Pod) -> Option<&ContainerStatus> {
    let status = pod.status.as_ref()?;
    let mut containers = status.container_statuses.iter().flatten();
    containers.find(|one| one.name == SIDECAR_CONTAINER)
}

/// The sidecar's present container; nothing before there is one.
fn run(pod: &Pod) -> Option<Run> {
    let sidecar = sidecar(pod)?;
    let state = sidecar.state.as_ref()?;
    let has_begun = state.running.is_some() || state.terminated.is_some();
    has_begun.then(|| Run {
        pod: pod.name_any(),
        id: (pod.uid().unwrap_or_default(), sidecar.restart_count),
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
mod tests;
