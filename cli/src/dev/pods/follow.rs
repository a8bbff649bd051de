//! What all pods say as it happens, their log or the events of their workers, as one answer: of those that there are, and of those that
//! come.

use std::collections::HashSet;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream, SelectAll};
use portside_exchange::{Body, BodyError};
use tokio::sync::watch;
use url::Url;

use portside_verbs::Client;

type Said = BoxStream<'static, Bytes>;

/// The lines of all pods at a path below that of questions, as they come, until whoever reads them leaves. Without `goes_on` only what
/// there is now.
pub fn all(
    pods: watch::Receiver<Vec<SocketAddr>>,
    path: &'static str,
    query: Vec<(String, String)>,
    goes_on: bool,
) -> Body {
    let following = Following {
        pods,
        path,
        query,
        followed: HashSet::new(),
        said: SelectAll::new(),
        goes_on,
    };
    let lines = stream::unfold(following, async |mut it| {
        let lines = it.next().await?;
        Some((Ok::<_, BodyError>(lines), it))
    });
    Body::Stream(Box::pin(lines))
}

struct Following {
    pods: watch::Receiver<Vec<SocketAddr>>,
    path: &'static str,
    query: Vec<(String, String)>,
    followed: HashSet<SocketAddr>,
    said: SelectAll<Said>,
    goes_on: bool,
}

impl Following {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let pods = self.pods.borrow_and_update().clone();
            self.followed.retain(|pod| pods.contains(pod));
            for pod in pods {
                if self.followed.insert(pod) {
                    self.said.push(said(pod, self.path, self.query.clone()));
                }
            }
            tokio::select! {
                Some(lines) = self.said.next() => return Some(lines),
                changed = self.pods.changed(), if self.goes_on => changed.ok()?,
                else => return None,
            }
        }
    }
}

/// What one pod says, until it ends, in whole lines.
fn said(pod: SocketAddr, path: &'static str, query: Vec<(String, String)>) -> Said {
    let lines = async move {
        let url = Url::parse(&format!("http://{pod}/")).ok()?;
        let query: Vec<_> = query.iter().map(|(a, b)| (&**a, &**b)).collect();
        Client::new(url).lines(&[path], &query).await.ok()
    };
    stream::once(lines)
        .filter_map(async |lines| lines)
        .flatten()
        .filter_map(async |line| line.ok())
        .boxed()
}
