//! Ending without losing what runs.

use std::time::Duration;

use portside_frontdoor::Config;
use tokio::sync::watch;

use crate::support::{config, start, text, until, within};

#[tokio::test]
async fn running_requests_finish_and_no_new_ones_begin() {
    let (go, gate) = watch::channel(false);
    let mut server = start(config(), move |_| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok(text("finished"))
        }
    })
    .await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(|| server.calls() == 1).await;
    server.shut_down();
    assert!(idle.is_closed().await);
    within(async {
        while tokio::net::TcpStream::connect(server.addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    go.send(true).unwrap();
    let reply = busy.reply().await;
    assert_eq!(reply.text(), "finished");
    assert!(busy.is_closed().await);
    server.end().await;
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off_at_the_deadline() {
    let config = Config {
        shutdown_timeout: Duration::from_millis(100),
        ..config()
    };
    let server = start(config, |_| async {
        std::future::pending::<()>().await;
        Ok(text("never"))
    })
    .await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until(|| server.calls() == 1).await;
    server.end().await;
    assert!(client.is_closed().await);
}
