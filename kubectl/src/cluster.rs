//! The way to workers of a cluster: its API server of workers, by way of Kubernetes' own.

mod kubernetes;
pub mod log;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use futures::future::{BoxFuture, ready};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use portside_manage::Problem;
use portside_verbs::{Body, Question, Scope, Target, Way, lines};
use serde_json::Value as Json;

use crate::object;
use crate::translate::{self, Ask, Worker};

/// Which cluster, and what of it.
#[derive(Debug, Clone, clap::Args)]
pub struct Cluster {
    /// The namespace of the application [default: that of the context]
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// The context of the kubeconfig [default: the current one]
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
}

/// Which workers of a cluster.
#[derive(Debug, Clone, clap::Args)]
pub struct InCluster {
    #[command(flatten)]
    cluster: Cluster,
    /// Only workers of this class
    #[arg(short, long, global = true, value_name = "NAME")]
    class: Option<String>,
}

impl Cluster {
    /// A client, and the namespace.
    ///
    /// # Errors
    /// There is no such cluster in the kubeconfig.
    pub async fn connect(&self) -> anyhow::Result<(Client, String)> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match Kubeconfig::read() {
            Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
            // Perhaps in a pod of the cluster.
            Err(_) if self.context.is_none() => return self.inferred().await,
            Err(error) => Err(error),
        };
        let config = config.context(
            "which cluster? There is no usable kubeconfig: look with kubectl config get-contexts",
        )?;
        self.client(config)
    }

    /// Looks whether what a file says of the namespace goes with what was asked for.
    ///
    /// # Errors
    /// They differ.
    pub fn must_mean(&self, namespace: Option<&str>) -> anyhow::Result<()> {
        match (&self.namespace, namespace) {
            (Some(asked), Some(named)) if asked != named => Err(anyhow!(
                "class.yaml names the namespace {named}, and --namespace {asked}: leave one of them out"
            )),
            _ => Ok(()),
        }
    }

    async fn inferred(&self) -> anyhow::Result<(Client, String)> {
        let config = Config::infer().await.context(
            "which cluster? There is no kubeconfig, and this is no pod of a cluster: set KUBECONFIG",
        )?;
        self.client(config)
    }

    fn client(&self, config: Config) -> anyhow::Result<(Client, String)> {
        let namespace = self.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        Ok((Client::try_from(config)?, namespace))
    }
}

impl InCluster {
    /// The pods of the namespace.
    ///
    /// # Errors
    /// As [`Cluster::connect`].
    pub async fn pods(&self) -> anyhow::Result<Api<Pod>> {
        let (client, namespace) = self.cluster.connect().await?;
        Ok(Api::namespaced(client, &namespace))
    }
}

/// Which pods.
#[derive(Debug, Clone, clap::Args)]
pub struct InPod {
    /// Only those of this pod
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pod: Option<String>,
}

impl Scope for InPod {
    fn query(&self) -> Vec<(&'static str, &str)> {
        let pod = self.pod.as_deref();
        pod.map(|pod| ("pod", pod)).into_iter().collect()
    }
}

impl Target for InCluster {
    type Scope = InPod;
    const IS_CLUSTER: bool = true;

    async fn way(&self) -> anyhow::Result<Box<dyn Way>> {
        let (client, namespace) = self.cluster.connect().await?;
        Ok(Box::new(ToWorkers {
            client,
            namespace,
            class: self.class.clone(),
        }))
    }
}

type Lines = BoxStream<'static, anyhow::Result<Bytes>>;

/// See the module.
#[derive(Clone)]
pub struct ToWorkers {
    client: Client,
    namespace: String,
    class: Option<String>,
}

impl ToWorkers {
    /// To the workers of a namespace, or of one class there.
    #[cfg(test)]
    pub fn new(client: Client, namespace: &str, class: Option<&str>) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            class: class.map(str::to_owned),
        }
    }

    async fn answer(&self, question: Question) -> anyhow::Result<Response<Body>> {
        let ask = match translate::ask(&question, self.class.as_deref()) {
            Ok(ask) => ask,
            Err(why) => return problem(StatusCode::BAD_REQUEST, why),
        };
        match ask {
            Ask::List(query) => {
                let (parts, list) = self.json("", &query).await?;
                if !parts.status.is_success() {
                    return refused(parts.status, &list);
                }
                answered(&object::page(list)?)
            }
            Ask::Follow { kubernetes } => self.follow(kubernetes).await,
            Ask::Log(wanted) => {
                match log::log(self.client.clone(), &self.namespace, wanted).await {
                    Ok(lines) => Ok(streamed(stream::unfold(lines, async |mut lines| {
                        Some((lines.recv().await?, lines))
                    }))),
                    Err((status, why)) => problem(status, why),
                }
            }
            Ask::Of(worker, what) => {
                let name = match self.name(&worker).await? {
                    Ok(name) => name,
                    Err(answer) => return Ok(answer),
                };
                let path = match what.subresource {
                    Some(subresource) => format!("/{name}/{subresource}"),
                    None => format!("/{name}"),
                };
                let mut response = self.send(&question, &path, &what.query).await?;
                if !response.status().is_success() {
                    let status = response.status();
                    let body = response.into_body().collect().await?.to_bytes();
                    let said = serde_json::from_slice(&body).unwrap_or(Json::Null);
                    return refused(status, &said);
                }
                if what.is_worker {
                    let body = response.into_body().collect().await?.to_bytes();
                    return answered(&object::worker(serde_json::from_slice(&body)?)?);
                }
                if what.says_nothing {
                    *response.body_mut() = empty();
                }
                Ok(response)
            }
        }
    }

    /// The name of a worker's object, or the answer that says why there is none.
    async fn name(&self, worker: &Worker) -> anyhow::Result<Result<String, Response<Body>>> {
        let address = match worker {
            Worker::Object(name) => return Ok(Ok(name.clone())),
            Worker::Address(address) => address,
        };
        let mut found = vec![];
        let mut next = None;
        loop {
            let mut query = translate::by_address(address, self.class.as_deref());
            query.extend(next.map(|next| ("continue".to_owned(), next)));
            let (parts, list) = self.json("", &query).await?;
            if !parts.status.is_success() {
                return Ok(Err(refused(parts.status, &list)?));
            }
            let page = object::page(list)?;
            found.extend(page.items);
            // An address is that of one worker in each class, and of other classes there may be more.
            if page.next.is_none() {
                break;
            }
            next = page.next;
        }
        let namespace = &self.namespace;
        Ok(match &*found {
            [one] => Ok(one.object.clone()),
            [] => Err(problem(
                StatusCode::NOT_FOUND,
                format!(
                    "there is no worker {address} in the namespace {namespace}, stored or awake"
                ),
            )?),
            some => {
                let names: Vec<&str> = some.iter().map(|it| &*it.object).collect();
                let why = format!(
                    "several classes have a worker {address}: say --class, or one of {}",
                    names.join(", ")
                );
                Err(problem(StatusCode::CONFLICT, why)?)
            }
        })
    }

    /// What happens from now on, and what Kubernetes tells meanwhile if that is wanted.
    async fn follow(&self, kubernetes: bool) -> anyhow::Result<Response<Body>> {
        let first = translate::list(&[("limit", "1")], self.class.as_deref());
        let (parts, list) = self.json("", &first).await?;
        if !parts.status.is_success() {
            return refused(parts.status, &list);
        }
        let version = list["metadata"]["resourceVersion"].as_str();
        let version = version.unwrap_or_default().to_owned();
        let first = self.watch(&version).await?;
        let watched = (self.clone(), first, version);
        // A watch ends after a while, and goes on where it was.
        let news = stream::try_unfold(watched, async |(way, mut lines, mut version)| {
            loop {
                let Some(line) = lines.try_next().await? else {
                    lines = way.watch(&version).await?;
                    continue;
                };
                let (event, at) = object::event(&line)?;
                version = at.unwrap_or(version);
                if let Some(event) = event {
                    return Ok(Some((event, (way, lines, version))));
                }
            }
        });
        if !kubernetes {
            return Ok(streamed(news));
        }
        let told = kubernetes::events(self.client.clone(), &self.namespace, self.class.clone());
        // Without news of workers it is over; the other half may end alone.
        let ends = stream::once(async { None });
        let news = news.map(Some).chain(ends).boxed();
        let both = stream::select(news, told.map(|line| Some(Ok(line))).boxed());
        let both = both.take_while(|line| ready(line.is_some()));
        Ok(streamed(both.filter_map(ready)))
    }

    /// The lines of a watch from there on.
    async fn watch(&self, version: &str) -> anyhow::Result<Lines> {
        let watch = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
        ];
        let query = translate::list(&watch, self.class.as_deref());
        let (parts, body) = self.get("", &query).await?.into_parts();
        if parts.status.is_success() {
            return Ok(lines(body).boxed());
        }
        let body = body.collect().await?.to_bytes();
        let said: Json = serde_json::from_slice(&body).unwrap_or(Json::Null);
        let why = said["message"]
            .as_str()
            .unwrap_or("the cluster does not answer");
        Err(anyhow!(portside_verbs::printable(why)))
    }

    async fn json(
        &self,
        path: &str,
        query: &[(String, String)],
    ) -> anyhow::Result<(http::response::Parts, Json)> {
        let (parts, body) = self.get(path, query).await?.into_parts();
        for warning in parts.headers.get_all(http::header::WARNING) {
            // A class whose pods do not answer: what is shown is not all.
            let text = String::from_utf8_lossy(warning.as_bytes()).into_owned();
            eprintln!(
                "warning: {}",
                portside_verbs::printable(translate::warning(&text))
            );
        }
        let body = body.collect().await?.to_bytes();
        Ok((parts, serde_json::from_slice(&body).unwrap_or(Json::Null)))
    }

    async fn get(&self, path: &str, query: &[(String, String)]) -> anyhow::Result<Response<Body>> {
        let question = Question {
            method: http::Method::GET,
            path: vec![],
            query: vec![],
            body: Bytes::new(),
        };
        self.send(&question, path, query).await
    }

    async fn send(
        &self,
        question: &Question,
        path: &str,
        query: &[(String, String)],
    ) -> anyhow::Result<Response<Body>> {
        let uri = translate::uri(&self.namespace, path, query);
        let request = Request::builder()
            .method(question.method.clone())
            .uri(uri)
            .header(http::header::CONTENT_TYPE, "application/json");
        let body = kube::client::Body::from(question.body.clone());
        let response = self.client.send(request.body(body)?).await?;
        Ok(response.map(|body| body.map_err(anyhow::Error::from).boxed_unsync()))
    }
}

impl Way for ToWorkers {
    fn ask(&self, question: Question) -> BoxFuture<'_, anyhow::Result<Response<Body>>> {
        self.answer(question).boxed()
    }

    fn unreachable(&self) -> String {
        "the cluster does not answer".to_owned()
    }
}

/// An answer as a pod would give it.
fn answered(answer: &impl serde::Serialize) -> anyhow::Result<Response<Body>> {
    let body = Full::from(serde_json::to_vec(answer)?);
    let body = body.map_err(|never| match never {}).boxed_unsync();
    Ok(Response::new(body))
}

/// An answer that goes on.
fn streamed(lines: impl Stream<Item = anyhow::Result<Bytes>> + Send + 'static) -> Response<Body> {
    let frames = lines.map_ok(hyper::body::Frame::data);
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn empty() -> Body {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// What goes wrong, as a pod would say it, from what Kubernetes says.
fn refused(status: StatusCode, said: &Json) -> anyhow::Result<Response<Body>> {
    let not_served = translate::is_not_served(status, said);
    match not_served.or(said["message"].as_str()) {
        Some(message) if status == StatusCode::FORBIDDEN => problem(
            status,
            format!(
                "{message}: the roles portside-workers-view and portside-workers-edit give that, see docs/tasks/workers.md"
            ),
        ),
        Some(message) => problem(status, message),
        None => Err(anyhow!("the cluster answers {status}")),
    }
}

fn problem(status: StatusCode, error: impl Into<String>) -> anyhow::Result<Response<Body>> {
    let mut response = answered(&Problem {
        error: error.into(),
    })?;
    *response.status_mut() = status;
    Ok(response)
}

#[cfg(test)]
mod tests;
