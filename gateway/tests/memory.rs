//! What a gateway keeps of what clients send while pods are slow. A program of its own, for the memory of all of it is
//! measured: clients and pods keep nothing here.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[allow(dead_code, reason = "each test program uses its part of it")]
#[path = "gateway/support.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use portside_crds::sidecar::State;
use portside_exchange::Body;
use support::{Cluster, HOST, Pod, until, within};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{accept_async, client_async};

const MIB: usize = 1 << 20;

/// One after the other: each measures the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_keeps_is_bounded() {
    slow_posts().await;
    sockets_that_nobody_reads().await;
}

/// Counts what is allocated: what the process has of the system besides, malloc decides.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator is")]
// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed) / MIB
}

/// Each POST is as long as what is kept of one to send it again, and no pod answers.
async fn slow_posts() {
    const POSTS: usize = 700;
    let read = Arc::new(AtomicUsize::new(0));
    let reading = read.clone();
    let pod = Pod::start("a", move |request| {
        let read = reading.clone();
        async move {
            if let Body::Stream(mut stream) = request.body {
                while let Some(Ok(_)) = stream.next().await {}
            }
            read.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
    })
    .await;
    pod.becomes(State::Active, 1);
    let cluster = Cluster::of(&[&pod]).await;
    let before = allocated();
    let head = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {MIB}\r\n\r\n");
    let body: Arc<[u8]> = vec![0; MIB].into();
    let mut clients = vec![];
    for _ in 0..POSTS {
        let mut client = TcpStream::connect(cluster.address).await.unwrap();
        within(client.write_all(head.as_bytes())).await.unwrap();
        within(client.write_all(&body)).await.unwrap();
        clients.push(client);
    }
    until(|| read.load(Ordering::SeqCst) == POSTS).await;
    let kept = allocated().saturating_sub(before);
    assert!(kept < 400, "{kept} MiB are kept of {POSTS} POSTs of 1 MiB");
}

/// Pods accept the sockets and read nothing; clients send until nothing more is taken.
async fn sockets_that_nobody_reads() {
    const SOCKETS: usize = 64;
    const MESSAGE: usize = MIB;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut pod = Pod::active("a", 1).await;
    pod.endpoint.http = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        let mut accepted = vec![];
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            accepted.push(accept_async(stream).await.unwrap());
        }
    });
    let cluster = Cluster::of(&[&pod]).await;
    let before = allocated();
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend(u64::try_from(MESSAGE).unwrap().to_be_bytes());
    // The mask is zero, so that all clients can send the same bytes.
    frame.resize(frame.len() + 4 + MESSAGE, 0);
    let frame: Arc<[u8]> = frame.into();
    let sent = Arc::new(AtomicUsize::new(0));
    let mut clients = vec![];
    for _ in 0..SOCKETS {
        let stream = TcpStream::connect(cluster.address).await.unwrap();
        let url = format!("ws://{HOST}/");
        let (socket, _) = within(client_async(url, stream)).await.unwrap();
        let (frame, sent) = (frame.clone(), sent.clone());
        clients.push(tokio::spawn(async move {
            let mut stream = socket.into_inner();
            loop {
                for piece in frame.chunks(64 << 10) {
                    stream.write_all(piece).await.unwrap();
                    sent.fetch_add(piece.len(), Ordering::SeqCst);
                }
            }
        }));
    }
    let mut last = 0;
    within(async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = sent.load(Ordering::SeqCst);
            if now == last && now > SOCKETS * MESSAGE / 2 {
                return;
            }
            last = now;
        }
    })
    .await;
    let kept = allocated().saturating_sub(before);
    assert!(kept < 250, "{kept} MiB are kept of {SOCKETS} sockets");
    for client in clients {
        client.abort();
    }
    accepting.abort();
}
