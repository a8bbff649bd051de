//! The cluster's API server: classes, pods and a ConfigMap to watch, and who may do what.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// What happened to objects: the plural, how, and the object.
type Happened = (&'static str, &'static str, Value);

/// A cluster. Cloning gives another handle.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    happened: Mutex<Vec<Happened>>,
    count: watch::Sender<usize>,
    /// Refused: user and namespace.
    refused: Mutex<Vec<(String, Option<String>)>>,
    reviews: Mutex<Vec<Value>>,
}

impl Cluster {
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            happened: Mutex::default(),
            count: watch::Sender::new(0),
            refused: Mutex::default(),
            reviews: Mutex::default(),
        }))
    }

    pub fn client(&self) -> Client {
        let this = self.clone();
        let service = tower::service_fn(move |request| {
            let this = this.clone();
            async move { Ok::<_, Infallible>(this.answer(request).await) }
        });
        Client::new(service, "default")
    }

    fn happens(&self, plural: &'static str, how: &'static str, mut object: Value) {
        let mut happened = self.0.happened.lock().unwrap();
        object["metadata"]["resourceVersion"] = json!((happened.len() + 1).to_string());
        happened.push((plural, how, object));
        self.0.count.send_replace(happened.len());
    }

    /// Whether anything was there before is not asked: a watch takes both alike.
    pub fn apply(&self, plural: &'static str, object: Value) {
        self.happens(plural, "MODIFIED", object);
    }

    pub fn delete(&self, plural: &'static str, object: Value) {
        self.happens(plural, "DELETED", object);
    }

    pub fn class(&self, namespace: &str, name: &str, uid: u128) -> Value {
        let uid = uuid::Uuid::from_u128(uid);
        let class = json!({
            "apiVersion": "portside.dev/v1alpha1", "kind": "ServerlessWorkerClass",
            "metadata": { "namespace": namespace, "name": name, "uid": uid },
        });
        self.apply("serverlessworkerclasses", class.clone());
        class
    }

    /// This user may not do anything there, or, without a namespace, nothing about all of them.
    pub fn refuse(&self, user: &str, namespace: Option<&str>) {
        let refused = (user.to_owned(), namespace.map(str::to_owned));
        self.0.refused.lock().unwrap().push(refused);
    }

    /// What was asked of who may do what.
    pub fn reviews(&self) -> Vec<Value> {
        self.0.reviews.lock().unwrap().clone()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Answer> {
        let (head, body) = request.into_parts();
        let plural = head.uri.path().rsplit('/').next().unwrap().to_owned();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let body = body.collect().await.unwrap().to_bytes();
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        match &*plural {
            "tokenreviews" => whole(&review_token(asked)),
            "subjectaccessreviews" => whole(&self.review_access(asked)),
            _ if query.contains("watch=true") => self.watch(plural, &query),
            _ => whole(&self.list(&plural)),
        }
    }

    fn list(&self, plural: &str) -> Value {
        let happened = self.0.happened.lock().unwrap();
        let mut objects: BTreeMap<String, Value> = BTreeMap::new();
        for (_, how, object) in happened.iter().filter(|it| it.0 == plural) {
            let key = format!(
                "{}/{}",
                object["metadata"]["namespace"], object["metadata"]["name"]
            );
            if *how == "DELETED" {
                objects.remove(&key);
            } else {
                objects.insert(key, object.clone());
            }
        }
        let items: Vec<Value> = objects.into_values().collect();
        json!({
            "kind": "List", "apiVersion": "v1", "items": items,
            "metadata": { "resourceVersion": happened.len().to_string() },
        })
    }

    fn watch(&self, plural: String, query: &str) -> Response<Answer> {
        let version = query.split("resourceVersion=").nth(1).unwrap();
        let from: usize = version.split('&').next().unwrap().parse().unwrap();
        let begun = (self.clone(), self.0.count.subscribe(), from);
        let lines = stream::unfold(begun, move |(this, mut count, at)| {
            let plural = plural.clone();
            async move {
                count.wait_for(|it| *it > at).await.ok()?;
                let happened = this.0.happened.lock().unwrap();
                let lines: String = happened[at..]
                    .iter()
                    .filter(|it| it.0 == plural)
                    .map(|(_, how, object)| {
                        format!("{}\n", json!({ "type": how, "object": object }))
                    })
                    .collect();
                let at = happened.len();
                drop(happened);
                Some((lines, (this, count, at)))
            }
        });
        let frames = lines.map(|it| Ok(Frame::data(Bytes::from(it))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn review_access(&self, mut review: Value) -> Value {
        let spec = review["spec"].clone();
        let user = spec["user"].as_str().unwrap().to_owned();
        let namespace = spec["resourceAttributes"]["namespace"]
            .as_str()
            .map(str::to_owned);
        let allowed = !self.0.refused.lock().unwrap().contains(&(user, namespace));
        self.0.reviews.lock().unwrap().push(spec);
        review["status"] =
            json!({ "allowed": allowed, "reason": if allowed { "" } else { "as told" } });
        review
    }
}

/// A pod's token is `NAMESPACE/NAME/UID/AUDIENCE`.
fn review_token(mut review: Value) -> Value {
    let token = review["spec"]["token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let parts: Vec<&str> = token.split('/').collect();
    review["status"] = match &*parts {
        [namespace, name, uid, audience] if review["spec"]["audiences"][0] == *audience => json!({
            "authenticated": true,
            "audiences": [audience],
            "user": {
                "username": format!("system:serviceaccount:{namespace}:workers"),
                "extra": {
                    "authentication.kubernetes.io/pod-name": [name],
                    "authentication.kubernetes.io/pod-uid": [uid],
                },
            },
        }),
        _ => json!({ "authenticated": false, "error": "no such token" }),
    };
    review
}

fn whole(value: &Value) -> Response<Answer> {
    let body = Full::new(Bytes::from(value.to_string()));
    Response::new(body.boxed_unsync())
}
