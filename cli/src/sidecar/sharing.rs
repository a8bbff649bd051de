//! Whether a pod shares the class's workers with others.

use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::sync::Arc;

use portside_crds::names::PEER_PORT;
use portside_crds::sidecar::TerminationReason as Reason;
use portside_sidecar::peers::{self, Key, Peers};
use portside_sidecar::{Ownership, Sharing};
use portside_store::Store;
use tokio::net::TcpListener;

use super::failure::Failure;

/// How the pods of a class share its workers.
#[derive(clap::Args)]
pub struct SharingArgs {
    /// The address at which other pods of the class reach the workers of this one, as IP:PORT, or an IP alone with the port 7070.
    /// Without it one pod has all workers, and the others wait
    #[arg(long, value_name = "ADDRESS", value_parser = peer_listen)]
    peer_listen: Option<SocketAddr>,
    /// Where others find that, as HOST:PORT, if it is not the same
    #[arg(long, value_name = "HOST:PORT", requires = "peer_listen")]
    peer_address: Option<String>,
    /// Which revision of the class this is. Of pods with different ones those with the greatest have the workers
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    revision: u64,
}

impl SharingArgs {
    /// For a pod that others find where it listens.
    pub fn at(listen: SocketAddr, revision: u64) -> Self {
        Self {
            peer_listen: Some(listen),
            peer_address: None,
            revision,
        }
    }

    /// Which revision of the class this is.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Registers the pod, and listens to the others if there may be some.
    pub async fn register(
        &self,
        store: &Arc<dyn Store>,
        pod: &str,
    ) -> Result<(Arc<Ownership>, Option<Sharing>), Failure> {
        let failed = |error: portside_sidecar::Error| {
            Failure::new(Reason::DatabaseUnavailable, error.to_string())
        };
        let Some(listen) = self.peer_listen else {
            let ownership = Ownership::register(store.clone(), pod).await;
            return Ok((ownership.map_err(failed)?, None));
        };
        let lost =
            |error: std::io::Error| Failure::Lost(format!("cannot listen on {listen}: {error}"));
        let listener = TcpListener::bind(listen).await.map_err(lost)?;
        let own = listener.local_addr().map_err(lost)?;
        if self.peer_address.is_none() && own.ip().is_unspecified() {
            let message = format!("others cannot find {own}: say where with --peer-address");
            return Err(Failure::Lost(message));
        }
        let address = self.peer_address.clone();
        let address = address.unwrap_or_else(|| own.to_string());
        let key = Key::generate().map_err(|error| Failure::Lost(error.to_string()))?;
        let peer = peers::peer(address, self.revision, &key);
        let ownership = Ownership::register_sharing(store.clone(), pod, &peer).await;
        let ownership = ownership.map_err(failed)?;
        let peers = Peers::new(store.clone(), ownership.clone(), key);
        Ok((ownership, Some(Sharing { peers, listener })))
    }
}

/// An address, or an IP, to which the usual port is added: a pod is told its IP, of which nobody knows whether it takes brackets.
fn peer_listen(text: &str) -> Result<SocketAddr, AddrParseError> {
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, PEER_PORT)),
        Err(_) => text.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ip_gets_the_usual_port() {
        let shown = |text| peer_listen(text).map(|it| it.to_string()).ok();
        assert_eq!(shown("10.0.0.1").as_deref(), Some("10.0.0.1:7070"));
        assert_eq!(shown("fd00::1").as_deref(), Some("[fd00::1]:7070"));
        assert_eq!(shown("[fd00::1]:81").as_deref(), Some("[fd00::1]:81"));
        assert_eq!(shown("10.0.0.1:81").as_deref(), Some("10.0.0.1:81"));
        assert_eq!(shown("here:81"), None);
    }
}
