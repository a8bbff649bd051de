//! As much of a Kubernetes API server as the gateway asks for: one class, and an EndpointSlice for each of its pods.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The name that clients ask for.
pub const HOST: &str = "lab.example.com";
pub const NAMESPACE: &str = "lab";
/// Its name, as in `class.yaml` of each application.
pub const CLASS: &str = "lab";
/// A watch ends after this long, as those of a real server do, and is begun anew.
const WATCH: Duration = Duration::from_secs(60);

/// A pod as its EndpointSlice has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's name.
    pub pod: String,
    /// Where it takes requests.
    pub http: SocketAddr,
    /// Where it says whether it is active.
    pub admin: SocketAddr,
}

#[derive(Debug, Clone, Default)]
struct Objects {
    version: u64,
    endpoints: Vec<Endpoint>,
}

/// The server. It goes when it is dropped.
#[derive(Debug)]
pub struct Api {
    objects: watch::Sender<Objects>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

impl Api {
    /// Listens on a free port of `address`.
    ///
    /// # Errors
    /// It cannot.
    pub async fn start(address: std::net::IpAddr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let (objects, seen) = watch::channel(Objects::default());
        let task = tokio::spawn(serve(listener, seen));
        Ok(Self {
            objects,
            address,
            task,
        })
    }

    /// Which pods there are from now on.
    pub fn set(&self, endpoints: Vec<Endpoint>) {
        self.objects.send_modify(|objects| {
            objects.version += 1;
            objects.endpoints = endpoints;
        });
    }

    /// What clients need to find it: a kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "lab", "user": {}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
            "current-context": "lab",
        });
        config.to_string()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, objects: watch::Receiver<Objects>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let objects = objects.clone();
        tokio::spawn(async move {
            let answer = |request| {
                let objects = objects.clone();
                async move { Ok::<_, Infallible>(answer(&request, objects)) }
            };
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, objects: watch::Receiver<Objects>) -> Response<Body> {
    let classes = request.uri().path().ends_with("/serverlessworkerclasses");
    if !classes && !request.uri().path().ends_with("/endpointslices") {
        return response(StatusCode::NOT_FOUND, stream::empty().boxed());
    }
    let query = request.uri().query().unwrap_or_default();
    let parameter = |name: &str| {
        query
            .split('&')
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    if parameter("watch") == Some("true") {
        let version = parameter("resourceVersion").unwrap_or_default();
        return response(StatusCode::OK, watched(classes, version, objects));
    }
    let now = objects.borrow().clone();
    let items = if classes { vec![class()] } else { slices(&now) };
    let (version, kind) = if classes {
        ("portside.dev/v1alpha1", "ServerlessWorkerClassList")
    } else {
        ("discovery.k8s.io/v1", "EndpointSliceList")
    };
    let list = json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {"resourceVersion": now.version.to_string()},
        "items": items,
    });
    response(
        StatusCode::OK,
        stream::iter([frame(list.to_string())]).boxed(),
    )
}

fn frame(text: String) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(Bytes::from(text)))
}

fn response(
    status: StatusCode,
    body: BoxStream<'static, Result<Frame<Bytes>, Infallible>>,
) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(body));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, json);
    response
}

/// Every change since a list of `version`, as an event for each object that comes or goes; if it is not known any more what
/// there was, that, and the client lists again.
fn watched(
    classes: bool,
    version: &str,
    mut objects: watch::Receiver<Objects>,
) -> BoxStream<'static, Result<Frame<Bytes>, Infallible>> {
    let of = move |objects: &Objects| {
        if classes {
            vec![class()]
        } else {
            slices(objects)
        }
    };
    let now = objects.borrow_and_update().clone();
    if now.version.to_string() != version {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired",
            "message": "too old resource version", "code": 410,
        });
        let gone = json!({"type": "ERROR", "object": status});
        return stream::iter([frame(format!("{gone}\n"))]).boxed();
    }
    let end = Box::pin(tokio::time::sleep(WATCH));
    let changes = stream::unfold(
        (objects, end, of(&now)),
        move |(mut objects, mut end, seen)| async move {
            loop {
                tokio::select! {
                    changed = objects.changed() => changed.ok()?,
                    () = &mut end => return None,
                }
                let items = of(&objects.borrow_and_update().clone());
                let lines = events(&seen, &items);
                if !lines.is_empty() {
                    return Some((frame(lines), (objects, end, items)));
                }
            }
        },
    );
    changes.boxed()
}

fn events(before: &[Value], now: &[Value]) -> String {
    let name = |object: &Value| object["metadata"]["name"].clone();
    let mut lines = String::new();
    let mut event = |kind: &str, object: &Value| {
        lines.push_str(&json!({"type": kind, "object": object}).to_string());
        lines.push('\n');
    };
    for object in before {
        if !now.iter().any(|other| name(other) == name(object)) {
            event("DELETED", object);
        }
    }
    for object in now {
        if !before.iter().any(|other| name(other) == name(object)) {
            event("ADDED", object);
        }
    }
    lines
}

fn class() -> Value {
    json!({
        "apiVersion": "portside.dev/v1alpha1",
        "kind": "ServerlessWorkerClass",
        "metadata": {"namespace": NAMESPACE, "name": CLASS, "uid": "lab", "resourceVersion": "1"},
        "spec": {"code": {"inline": {"server.js": ""}}, "routes": [{"host": HOST}]},
    })
}

fn slices(objects: &Objects) -> Vec<Value> {
    let slices = objects.endpoints.iter().map(|endpoint| {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": NAMESPACE,
                "name": endpoint.pod,
                "resourceVersion": objects.version.to_string(),
                "labels": {"portside.dev/class": CLASS, "kubernetes.io/service-name": format!("{CLASS}-workers")},
            },
            "addressType": "IPv4",
            "ports": [
                {"name": "http", "port": endpoint.http.port()},
                {"name": "admin", "port": endpoint.admin.port()},
            ],
            "endpoints": [{
                "addresses": [endpoint.http.ip().to_string()],
                "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "name": endpoint.pod},
            }],
        })
    });
    slices.collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use portside_testkit::Site;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpStream;

    use super::*;

    const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";

    fn endpoint(pod: &str) -> Endpoint {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        Endpoint {
            pod: pod.to_owned(),
            http: address,
            admin: address,
        }
    }

    /// The events of a watch, as type and name, or a status' code.
    async fn watch(api: &Api, version: &str) -> impl AsyncFnMut() -> (String, Value) {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        let request = format!(
            "GET {SLICES}?watch=true&resourceVersion={version} HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        // From here on it is told of changes.
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "HTTP/1.1 200 OK");
        async move || {
            loop {
                let line = lines.next_line().await.unwrap().unwrap();
                if line.starts_with('{') {
                    let event: Value = serde_json::from_str(&line).unwrap();
                    let object = &event["object"];
                    let what = if object["code"].is_null() {
                        &object["metadata"]["name"]
                    } else {
                        &object["code"]
                    };
                    return (event["type"].as_str().unwrap().to_owned(), what.clone());
                }
            }
        }
    }

    #[tokio::test]
    async fn pods_are_listed_and_their_changes_watched() {
        let api = Api::start(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        let site = Site::at(&api.address.to_string());
        api.set(vec![endpoint("a"), endpoint("b")]);
        let list = site.get(SLICES).await.json();
        assert_eq!(list["items"][1]["metadata"]["name"], "b");
        let mut next = watch(&api, list["metadata"]["resourceVersion"].as_str().unwrap()).await;
        api.set(vec![endpoint("b"), endpoint("c")]);
        assert_eq!(next().await, ("DELETED".to_owned(), json!("a")));
        assert_eq!(next().await, ("ADDED".to_owned(), json!("c")));
    }

    #[tokio::test]
    async fn a_watch_of_what_is_not_known_any_more_says_so() {
        let api = Api::start(Ipv4Addr::LOCALHOST.into()).await.unwrap();
        api.set(vec![]);
        let mut next = watch(&api, "0").await;
        assert_eq!(next().await, ("ERROR".to_owned(), json!(410)));
        let classes = Site::at(&api.address.to_string())
            .get("/apis/portside.dev/v1alpha1/serverlessworkerclasses")
            .await;
        assert_eq!(
            classes.json()["items"][0]["spec"]["routes"][0]["host"],
            HOST
        );
    }
}
