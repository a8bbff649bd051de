//! What workers do, followed from outside: events, the log, and the port at which pods are asked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::StatusCode;
use portside_exchange::{Body, Response};
use portside_manage::{API_SERVER, Before, Event, PATH, State};
use portside_sidecar::manage::Port;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::app::{TestApp, text};
use crate::cases;
use crate::manage::{self, answer, awake};

pub const CASES: &[crate::Case] = cases![
    waking_sleeping_coming_and_going_is_told_in_order,
    who_comes_back_goes_on_where_it_was,
    what_was_before_is_no_news,
    the_end_is_told_after_all_have_gone_to_sleep,
    a_workers_log_is_followed,
    only_the_api_server_is_let_in_and_hears_who_the_pod_is,
];

const JOBS: &str = r#"
export const jobs = {
  put: async () => { await storage.put("a", 1); return "put"; },
  forget: async () => { await storage.deleteAll(); return "forgotten"; },
  say: (text) => { console.log(text); return "said"; },
};
"#;

async fn ask(app: &TestApp, method: &str, path: &str) -> Response {
    answer(app, method, path, "").await
}

async fn order(app: &TestApp, what: &str, worker: &str) {
    let path = format!("/workers/worker.js%23{worker}/{what}");
    manage::order(app, "POST", &path, "").await;
}

/// An answer that goes on, line by line.
struct Lines {
    body: Body,
    lines: VecDeque<String>,
    rest: String,
}

impl Lines {
    async fn of(app: &TestApp, path: &str) -> Self {
        let answer = ask(app, "GET", path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        Self {
            body: answer.body,
            lines: VecDeque::new(),
            rest: String::new(),
        }
    }

    /// The next one; nothing at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            let Body::Stream(stream) = &mut self.body else {
                panic!("it is no stream");
            };
            let next = timeout(Duration::from_secs(60), stream.next());
            let some = next.await.expect("there is nothing more")?.unwrap();
            self.rest.push_str(std::str::from_utf8(&some).unwrap());
            while let Some((line, rest)) = self.rest.split_once('\n') {
                self.lines.push_back(line.to_owned());
                self.rest = rest.to_owned();
            }
        }
    }

    /// The next one, an event of a worker: what it was, what it is, and whether it is gone.
    async fn change(&mut self) -> (String, Before, State, bool) {
        match serde_json::from_str(&self.next().await.unwrap()).unwrap() {
            Event::Change {
                before,
                worker,
                gone,
                ..
            } => (worker.address, before, worker.state, gone),
            other => panic!("{other:?}"),
        }
    }

    /// What is in the first line.
    async fn begin(&mut self) -> (String, u64) {
        match serde_json::from_str(&self.next().await.unwrap()).unwrap() {
            Event::Begin { start, seq } => (start, seq),
            other => panic!("{other:?}"),
        }
    }
}

fn change(worker: &str, before: Before, state: State, gone: bool) -> (String, Before, State, bool) {
    (format!("worker.js#{worker}"), before, state, gone)
}

async fn waking_sleeping_coming_and_going_is_told_in_order() {
    use Before as Was;
    let app = awake(JOBS).start().await;
    app.text("/old/put").await;
    let mut events = Lines::of(&app, "/events").await;
    events.begin().await;

    app.text("/a/put").await;
    let woken = change("a", Was::Absent, State::Awake, false);
    assert_eq!(events.change().await, woken);
    order(&app, "sleep", "a").await;
    let asleep = change("a", Was::Awake, State::Asleep, false);
    assert_eq!(events.change().await, asleep);
    order(&app, "wake", "a").await;
    let woken = change("a", Was::Asleep, State::Awake, false);
    assert_eq!(events.change().await, woken);
    app.text("/a/forget").await;
    order(&app, "sleep", "a").await;
    let gone = change("a", Was::Awake, State::Asleep, true);
    assert_eq!(events.change().await, gone);

    order(&app, "sleep", "old").await;
    let asleep = change("old", Was::Awake, State::Asleep, false);
    assert_eq!(events.change().await, asleep);
    manage::order(&app, "DELETE", "/workers/worker.js%23old", "").await;
    let gone = change("old", Was::Asleep, State::Asleep, true);
    assert_eq!(events.change().await, gone);
}

async fn who_comes_back_goes_on_where_it_was() {
    let app = awake(JOBS).start().await;
    let mut events = Lines::of(&app, "/events").await;
    let (start, seq) = events.begin().await;
    app.text("/a/put").await;
    app.text("/b/put").await;
    assert_eq!(events.change().await.0, "worker.js#a");
    drop(events);
    app.text("/c/put").await;
    let first = seq + 1;
    let mut events = Lines::of(&app, &format!("/events?start={start}&after={first}")).await;
    assert_eq!(events.begin().await, (start.clone(), first));
    assert_eq!(events.change().await.0, "worker.js#b");
    assert_eq!(events.change().await.0, "worker.js#c");

    for (start, after) in [("0", first), (&start, first + 100)] {
        let answer = ask(&app, "GET", &format!("/events?start={start}&after={after}")).await;
        assert_eq!(answer.status, StatusCode::GONE, "{start} {after}");
    }
    for wrong in ["after=1", "start=1", "start=1&after=x"] {
        let answer = ask(&app, "GET", &format!("/events?{wrong}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

async fn what_was_before_is_no_news() {
    let app = awake(JOBS).start().await;
    app.text("/a/put").await;
    let mut events = Lines::of(&app, "/events").await;
    events.begin().await;
    app.text("/b/put").await;
    assert_eq!(events.change().await.0, "worker.js#b");
}

async fn the_end_is_told_after_all_have_gone_to_sleep() {
    let app = awake(JOBS).start().await;
    app.text("/a/put").await;
    let mut events = Lines::of(&app, "/events").await;
    events.begin().await;
    app.owner().shut_down().await;
    assert_eq!(
        events.change().await,
        change("a", Before::Awake, State::Asleep, false)
    );
    let end = events.next().await.unwrap();
    assert_eq!(
        serde_json::from_str::<Event>(&end).unwrap(),
        Event::End,
        "{end}"
    );
    assert_eq!(events.next().await, None);
}

async fn a_workers_log_is_followed() {
    let app = awake(JOBS).start().await;
    app.text("/a/say?one").await;
    app.text("/b/say?other").await;
    app.text("/a/say?two").await;
    let log = "/workers/worker.js%23a/log";
    let all = ask(&app, "GET", log).await;
    let all = text(all.body).await;
    let lines: Vec<&str> = all
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(lines, ["one", "two"], "{all}");
    assert!(all.starts_with("[worker.js#a"), "{all}");
    let mut followed = Lines::of(&app, &format!("{log}?tail=1&follow=true")).await;
    app.text("/b/say?other").await;
    app.text("/a/say?three").await;
    for expected in ["two", "three"] {
        let line = followed.next().await.unwrap();
        assert!(line.ends_with(expected), "{line}");
    }
    let everything = text(ask(&app, "GET", "/log?tail=2").await.body).await;
    let expected = ["other", "three"];
    let is_so = everything
        .lines()
        .zip(expected)
        .all(|(line, it)| line.ends_with(it));
    assert!(is_so && everything.lines().count() == 2, "{everything}");
}

/// Whoever signs certificates, and one that it has signed for a client of this name.
struct Signed {
    authority: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

fn signed(name: &str) -> Signed {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    Signed {
        authority: issuer.pem(),
        certificate: CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap(),
        key: key.serialize_der(),
    }
}

/// Takes any server: who it is it says inside.
#[derive(Debug)]
struct Anybody(rustls::crypto::WebPkiSupportedAlgorithms);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The answer to a GET, whole, as a client with this certificate, or with none, gets it.
async fn get(
    address: std::net::SocketAddr,
    client: Option<&Signed>,
    path: &str,
) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let anybody = Anybody(provider.signature_verification_algorithms);
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anybody));
    let config = match client {
        Some(client) => {
            let key = PrivateKeyDer::try_from(client.key.clone()).unwrap();
            let certificates = vec![client.certificate.clone()];
            config.with_client_auth_cert(certificates, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("pod").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let request = format!("GET {PATH}{path} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer).await {
        Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        // Some end without saying so.
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

async fn only_the_api_server_is_let_in_and_hears_who_the_pod_is() {
    let app = awake(JOBS).start().await;
    app.text("/a/put").await;
    let directory = tempfile::tempdir().unwrap();
    let port = Port::bind(([127, 0, 0, 1], 0).into(), directory.path().into());
    let port = port.await.unwrap();
    let address = port.local_addr().unwrap();
    let served = tokio::spawn(port.run(app.owner().clone()));
    let server = signed(API_SERVER);
    let other_name = signed("gateway.runtime.portside.dev");

    // Nobody signs: there is no API server.
    assert!(get(address, Some(&server), "/workers").await.is_err());
    let authorities = format!("{}{}", server.authority, other_name.authority);
    std::fs::write(directory.path().join("ca.crt"), authorities).unwrap();
    assert!(get(address, None, "/workers").await.is_err());
    assert!(
        get(address, Some(&signed(API_SERVER)), "/workers")
            .await
            .is_err()
    );
    assert!(get(address, Some(&other_name), "/workers").await.is_err());

    let list = get(address, Some(&server), "/workers").await.unwrap();
    assert!(
        list.starts_with("HTTP/1.1 200") && list.contains("worker.js#a"),
        "{list}"
    );
    let identity = get(address, Some(&server), "/identity").await.unwrap();
    assert!(identity.starts_with("HTTP/1.1 503"), "{identity}");
    std::fs::write(directory.path().join("token"), "secret\n").unwrap();
    let identity = get(address, Some(&server), "/identity").await.unwrap();
    assert!(identity.ends_with(r#"{"token":"secret"}"#), "{identity}");
    // Another one signs now.
    std::fs::write(directory.path().join("ca.crt"), other_name.authority).unwrap();
    assert!(get(address, Some(&server), "/workers").await.is_err());
    served.abort();
}
