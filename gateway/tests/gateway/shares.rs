//! What classes whose pods answer nothing leave to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use http::{Method, header};
use portside_crds::sidecar::State;
use portside_frontdoor::TrustedProxies;

use crate::support::{Cluster, HOST, PATIENCE, Pod, full, read, respond, text, until};

const KIB: usize = 1 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_dead_classes_leave_a_live_one_what_it_needs_to_move() {
    // Their pods take requests and answer none.
    let read_whole = Arc::new(AtomicUsize::new(0));
    let mut dead = vec![];
    for name in ["d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8"] {
        let whole = read_whole.clone();
        let pod = Pod::start(name, move |request| {
            let whole = whole.clone();
            async move {
                read(request.body).await;
                whole.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
        });
        let pod = pod.await;
        pod.becomes(State::Active, 1);
        dead.push((format!("{name}.test"), pod));
    }
    // That of the live one moves: it has read the requests when it says that it has not run them.
    let old = Pod::start("old", |request| async {
        read(request.body).await;
        let mut response = respond(421, "");
        let draining = "draining".parse().unwrap();
        response.headers.insert("portside-state", draining);
        Ok(response)
    });
    let old = old.await;
    old.becomes(State::Active, 1);
    let new = Pod::start("new", |request| async {
        Ok(text(read(request.body).await.len().to_string()))
    });
    let new = new.await;

    let cluster = Cluster::with(PATIENCE, TrustedProxies::None, 4096 * KIB).await;
    let live = [&old, &new];
    let one_each: Vec<[&Pod; 1]> = dead.iter().map(|(_, pod)| [pod]).collect();
    let mut classes: Vec<(&str, &[&Pod])> = vec![(HOST, &live)];
    for ((host, _), pods) in dead.iter().zip(&one_each) {
        classes.push((host, pods));
    }
    cluster.has_classes(&classes);
    let post = |host: &str, bytes: usize| {
        let request = cluster.request(Method::POST, "/");
        let mut request = request.body(full(vec![0; bytes])).unwrap();
        *request.headers_mut().get_mut(header::HOST).unwrap() = host.parse().unwrap();
        cluster.ask(request)
    };
    // Each sends all that there is room for.
    let waiting = join_all((0..8 * 32).map(|n| post(&dead[n / 32].0, 128 * KIB)));
    let moving = async {
        until(|| read_whole.load(Ordering::SeqCst) == 8 * 32).await;
        let requests = join_all((0..3).map(|_| post(HOST, 20 * KIB)));
        let (replies, ()) = tokio::join!(requests, async {
            cluster.held(3).await;
            old.becomes(State::Draining, 1);
            new.becomes(State::Active, 2);
        });
        for reply in replies {
            assert_eq!((reply.status, reply.text), (200, (20 * KIB).to_string()));
        }
    };
    tokio::select! {
        _ = waiting => panic!("they answer nothing"),
        () = moving => {}
    }
}
