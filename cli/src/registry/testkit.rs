//! A registry for tests: as much of the distribution specification as pushing and pulling artifacts takes, with tokens.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use oci_client::secrets::RegistryAuth;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Login, MEDIA_TYPE, sha256};

const TOKEN: &str = "Bearer token-of-somebody";

/// A running registry. It ends when this is dropped.
pub struct Registry {
    address: String,
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

/// What goes wrong with the next answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Blobs break off halfway.
    Truncated,
    /// A byte of each blob is another.
    Damaged,
    /// A byte of each manifest is another.
    OtherManifest,
    /// Manifests cannot be had.
    Unavailable,
    /// It is not said where a blob was stored.
    Unlocated,
    /// A token is longer than any.
    LongToken,
}

struct Inner {
    basic: Option<String>,
    store: Mutex<Store>,
}

#[derive(Default)]
struct Store {
    blobs: HashMap<String, Vec<u8>>,
    /// By `REPOSITORY:TAG` and `REPOSITORY@DIGEST`.
    manifests: HashMap<String, Vec<u8>>,
    /// How often it happens still.
    fault: Option<(Fault, u32)>,
}

/// Those credentials.
pub fn basic(username: &str, password: &str) -> Login {
    Login::Known(RegistryAuth::Basic(
        username.to_owned(),
        password.to_owned(),
    ))
}

impl Registry {
    /// Starts it. With a user and password, nobody else gets a token.
    pub async fn start(user: Option<(&str, &str)>) -> Self {
        // As the program does: the client is built with TLS whatever it talks to.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let basic = user.map(|(name, password)| BASE64.encode(format!("{name}:{password}")));
        let inner = Arc::new(Inner {
            basic: basic.map(|basic| format!("Basic {basic}")),
            store: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let routes = Router::new()
            .fallback(serve)
            .layer(DefaultBodyLimit::disable())
            .with_state(inner.clone());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            address,
            inner,
            server,
        }
    }

    /// What names a repository here, with its tag.
    pub fn reference(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// A file with these credentials, as `docker login` writes it.
    pub fn config(&self, username: &str, password: &str) -> String {
        let auth = BASE64.encode(format!("{username}:{password}"));
        json!({"auths": {&*self.address: {"auth": auth}}}).to_string()
    }

    /// Makes an artifact as `oras push REF bundle.json:MEDIA_TYPE` does. Returns the manifest's digest.
    pub fn put(&self, reference: &str, bundle: &[u8]) -> String {
        self.put_as(reference, bundle, |_| {})
    }

    /// Likewise, with another manifest.
    pub fn put_as(&self, reference: &str, bundle: &[u8], change: impl Fn(&mut Value)) -> String {
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.unknown.artifact.v1",
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": sha256(b"{}"), "size": 2, "data": "e30="
            },
            "layers": [{
                "mediaType": MEDIA_TYPE, "digest": sha256(bundle), "size": bundle.len(),
                "annotations": { "org.opencontainers.image.title": "bundle.json" }
            }],
            "annotations": { "org.opencontainers.image.created": "2026-01-01T00:00:00Z" }
        });
        change(&mut manifest);
        let manifest = manifest.to_string().into_bytes();
        let mut store = self.inner.store();
        store.blobs.insert(sha256(bundle), bundle.to_vec());
        store.tag(reference, manifest)
    }

    /// The manifest that is stored.
    pub fn manifest(&self, reference: &str) -> Value {
        serde_json::from_slice(&self.inner.store().manifests[reference]).unwrap()
    }

    /// Lets the next `times` answers that it concerns be wrong.
    pub fn fail(&self, fault: Fault, times: u32) {
        self.inner.store().fault = Some((fault, times));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Inner {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }
}

impl Store {
    fn tag(&mut self, reference: &str, manifest: Vec<u8>) -> String {
        let digest = sha256(&manifest);
        let repository = reference.split([':', '@']).next().unwrap();
        let pinned = format!("{repository}@{digest}");
        self.manifests.insert(pinned, manifest.clone());
        self.manifests.insert(reference.to_owned(), manifest);
        digest
    }

    /// Whether this goes wrong now.
    fn fails(&mut self, fault: Fault) -> bool {
        match &mut self.fault {
            Some((now, times)) if *now == fault && *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }
}

async fn serve(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let sent = header(header::AUTHORIZATION);
    if uri.path() == "/token" {
        return if inner.basic.is_none() || sent == inner.basic.as_deref() {
            let mut token = TOKEN.trim_start_matches("Bearer ").to_owned();
            if inner.store().fails(Fault::LongToken) {
                token = token.repeat(10_000);
            }
            axum::Json(json!({ "token": token, "access_token": token })).into_response()
        } else {
            error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED")
        };
    }
    if sent != Some(TOKEN) {
        let host = header(header::HOST).unwrap();
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"{host}\"");
        let refusal = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        return ([(header::WWW_AUTHENTICATE, challenge)], refusal).into_response();
    }
    let path = uri.path().trim_start_matches("/v2/");
    let query = uri.query().unwrap_or_default().replace("%3A", ":");
    let mut store = inner.store();
    if let Some((repository, reference)) = path.split_once("/manifests/") {
        let separator = if reference.contains(':') { '@' } else { ':' };
        store.manifest(
            &method,
            &format!("{repository}{separator}{reference}"),
            body,
        )
    } else if let Some((_, digest)) = path.split_once("/blobs/") {
        store.blob(&method, path, digest, &query, body)
    } else {
        StatusCode::OK.into_response()
    }
}

impl Store {
    fn manifest(&mut self, method: &Method, reference: &str, body: Bytes) -> Response {
        if method == Method::PUT {
            let manifest: Value = serde_json::from_slice(&body).unwrap();
            let layers = manifest["layers"].as_array().unwrap().iter();
            let mut all = layers.chain([&manifest["config"]]);
            if !all.all(|one| self.blobs.contains_key(one["digest"].as_str().unwrap())) {
                return error(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN");
            }
            let digest = self.tag(reference, body.to_vec());
            let location = format!("/v2/any/manifests/{digest}");
            return (StatusCode::CREATED, [(header::LOCATION, location)]).into_response();
        }
        if self.fails(Fault::Unavailable) {
            return (StatusCode::SERVICE_UNAVAILABLE, "come back later").into_response();
        }
        let Some(manifest) = self.manifests.get(reference) else {
            return error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN");
        };
        let mut manifest = manifest.clone();
        if self.fails(Fault::OtherManifest) {
            manifest.push(b' ');
        }
        let kind = "application/vnd.oci.image.manifest.v1+json";
        ([(header::CONTENT_TYPE, kind)], manifest).into_response()
    }

    fn blob(
        &mut self,
        method: &Method,
        path: &str,
        digest: &str,
        query: &str,
        body: Bytes,
    ) -> Response {
        if method == Method::POST {
            let location = format!("/v2/{path}1");
            return (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response();
        }
        if method == Method::PUT {
            let digest = query.trim_start_matches("digest=");
            if sha256(&body) != digest {
                return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID");
            }
            self.blobs.insert(digest.to_owned(), body.to_vec());
            if self.fails(Fault::Unlocated) {
                return StatusCode::CREATED.into_response();
            }
            let location = format!("/v2/any/blobs/{digest}");
            return (StatusCode::CREATED, [(header::LOCATION, location)]).into_response();
        }
        let Some(blob) = self.blobs.get(digest) else {
            return error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN");
        };
        let mut blob = blob.clone();
        if self.fails(Fault::Damaged) {
            blob[0] ^= 1;
        }
        if self.fails(Fault::Truncated) {
            let length = blob.len().to_string();
            blob.truncate(blob.len() / 2);
            let parts = [Ok(Bytes::from(blob)), Err(io::Error::other("broken"))];
            let body = Body::from_stream(futures::stream::iter(parts));
            return ([(header::CONTENT_LENGTH, length)], body).into_response();
        }
        blob.into_response()
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    let body = json!({"errors": [{"code": code, "message": "as the test wants it"}]});
    (status, axum::Json(body)).into_response()
}
