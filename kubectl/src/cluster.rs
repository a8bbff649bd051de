//! The way to workers of a cluster: its API server of workers, by way of Kubernetes' own.

use anyhow::{Context, anyhow};
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use portside_manage::Problem;
use portside_verbs::{Body, Question, Target, Way, lines};
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

impl Target for Cluster {
    async fn way(&self) -> anyhow::Result<Box<dyn Way>> {
        let (client, namespace) = self.connect().await?;
        Ok(Box::new(ToWorkers {
            client,
            namespace,
            class: self.class.clone(),
        }))
    }
}

/// See the module.
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
            Ask::Follow => self.follow().await,
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
        let query = translate::by_address(address, self.class.as_deref());
        let (parts, list) = self.json("", &query).await?;
        if !parts.status.is_success() {
            return Ok(Err(refused(parts.status, &list)?));
        }
        let found = object::page(list)?.items;
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

    /// What happens from now on.
    async fn follow(&self) -> anyhow::Result<Response<Body>> {
        let first = translate::list(&[("limit", "1")], self.class.as_deref());
        let (parts, list) = self.json("", &first).await?;
        if !parts.status.is_success() {
            return refused(parts.status, &list);
        }
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        let watch = [("watch", "true"), ("resourceVersion", version)];
        let query = translate::list(&watch, self.class.as_deref());
        let response = self.get("", &query).await?;
        Ok(response.map(|body| {
            let news = lines(body).try_filter_map(async |line| object::event(&line));
            let frames = news.map_ok(hyper::body::Frame::data);
            StreamBody::new(frames).boxed_unsync()
        }))
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
            body: bytes::Bytes::new(),
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

fn empty() -> Body {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// What goes wrong, as a pod would say it, from what Kubernetes says.
fn refused(status: StatusCode, said: &Json) -> anyhow::Result<Response<Body>> {
    let not_served = translate::is_not_served(status, said);
    match not_served.or(said["message"].as_str()) {
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
