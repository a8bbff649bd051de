//! A connection to one pod, from the first byte to the proof of who is at its other end.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use kube::Client;
use portside_manage::{Identity, PATH};
use tokio::time::timeout;

use super::{identity, tls};
use crate::certificate::Certificate;
use crate::dial::{Windows, dial};
use crate::known::Pod;

/// How long it may take until there is a connection, and until it is known whose.
const CONNECT: Duration = Duration::from_secs(3);
const PROVE: Duration = Duration::from_secs(10);
/// What a token may be long.
const LONGEST_TOKEN: usize = 64 << 10;

/// A connection to a pod that has proven who it is. Cloning gives another handle.
#[derive(Clone)]
pub(super) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Connects, and has the pod prove who it is. Nothing else is asked before.
    ///
    /// # Errors
    ///
    /// It does not answer, or is another; says what.
    pub(super) async fn open(
        client: &Client,
        own: &Certificate,
        pod: &Pod,
        windows: Windows,
    ) -> Result<Self, String> {
        let place = (pod.address, tls::no_name());
        let dialing = dial(place, own, tls::anybody(), windows);
        let connecting = timeout(CONNECT, dialing).await;
        let mut this = Self(connecting.map_err(|_| "it does not answer".to_owned())??);
        let proving = async {
            let token = this.token().await?;
            identity::verify(client, pod, token).await
        };
        let proven = timeout(PROVE, proving).await;
        proven.map_err(|_| "it does not say who it is".to_owned())??;
        Ok(this)
    }

    async fn token(&mut self) -> Result<String, String> {
        let uri = format!("https://pod{PATH}/identity");
        let request = Request::get(uri).body(Full::default());
        let request = request.map_err(|error| error.to_string())?;
        let answer = self
            .send(request)
            .await
            .map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("it does not say who it is: {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), LONGEST_TOKEN)
            .collect()
            .await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        let identity: Result<Identity, _> = serde_json::from_slice(&body);
        // The error would show what it was given.
        let identity = identity.map_err(|_| "what it says of itself is no JSON".to_owned())?;
        Ok(identity.token)
    }

    /// Asks.
    ///
    /// # Errors
    ///
    /// The connection is over.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        self.0.send_request(request).await
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_closed()
    }
}
