//! Many objects that are awake, and many sockets of one that sleeps.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::SinkExt;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::http::Connection;
use crate::peer::Server;
use crate::report::Figure;
use crate::scenario::names;
use crate::socket::{Echo, Stream, join, receive};

const AWAKE: usize = 10_000;
const SOCKETS: usize = 10_000;
/// Where they are opened.
const PATH: &str = "/sleeping-echo?one";
/// Clients that ask for all objects.
const CONNECTIONS: usize = 32;
/// Of the sockets of an object that has slept, so many are asked whether they still work.
const TRIED: usize = 100;

/// Clients of sockets that stay while their objects sleep, each of an object of its own.
pub async fn echoes(address: SocketAddr, count: usize) -> Result<Vec<Echo>> {
    let mut clients = Vec::with_capacity(count);
    for path in names("/sleeping-echo", count) {
        clients.push(Echo::new(join(address, &path).await?));
    }
    Ok(clients)
}

/// Asks each of these once; returns the answers until the first failure, in no order.
async fn ask_until_one_fails(address: SocketAddr, paths: Vec<String>) -> Result<Vec<Vec<u8>>> {
    let paths = Arc::new(Mutex::new(paths.into_iter()));
    let mut clients = JoinSet::<Result<Vec<Vec<u8>>>>::new();
    for _ in 0..CONNECTIONS {
        let (paths, mut connection) = (paths.clone(), Connection::open(address).await?);
        clients.spawn(async move {
            let mut answers = Vec::new();
            loop {
                let path = paths.lock().expect("taking a path does not panic").next();
                let Some(path) = path else { break };
                let Ok(answer) = connection.get(&path).await else {
                    paths
                        .lock()
                        .expect("taking a path does not panic")
                        .by_ref()
                        .for_each(drop);
                    break;
                };
                answers.push(answer.to_vec());
            }
            Ok(answers)
        });
    }
    let mut answers = Vec::new();
    while let Some(some) = clients.join_next().await {
        answers.extend(some??);
    }
    Ok(answers)
}

/// Wakes objects, each of which has stored a value, until there are as many as are wanted or one cannot be woken.
pub async fn awake(server: &Server) -> Result<Vec<Figure>> {
    let address = server.address;
    ask_until_one_fails(address, vec!["/add?first".into()]).await?;
    let (before, cpu) = (server.resident_bytes()?, server.cpu_time()?);
    let began = Instant::now();
    let woken = ask_until_one_fails(address, names("/add", AWAKE))
        .await?
        .len();
    let took = began.elapsed();
    let (after, cpu) = (
        server.resident_bytes()?,
        server.cpu_time()?.saturating_sub(cpu),
    );
    ensure!(woken > 0, "no object wakes:\n{}", server.log());
    let answers = ask_until_one_fails(address, names("/read", woken)).await?;
    let is_awake = |answer: &&Vec<u8>| answer.ends_with(b" awake");
    let each = 1.0 / woken as f64;
    Ok(vec![
        Figure::more("objects woken", woken as f64),
        Figure::more(
            "of them awake at the end",
            answers.iter().filter(is_awake).count() as f64,
        ),
        Figure::less(
            "kB an object",
            after.saturating_sub(before) as f64 / 1e3 * each,
        ),
        Figure::less("CPU ms a wake", cpu.as_secs_f64() * 1e3 * each),
        Figure::more("wakes/s", woken as f64 / took.as_secs_f64()),
    ])
}

/// Opens sockets to one object until there are as many as are wanted or one cannot be opened, and has it sleep.
pub async fn sleeping_sockets(server: &Server, night: Duration) -> Result<Vec<Figure>> {
    let mut first = join(server.address, PATH).await?;
    tokio::time::sleep(night).await;
    let before = server.resident_bytes()?;
    let mut sockets = Vec::with_capacity(SOCKETS);
    while sockets.len() < SOCKETS {
        let Ok(socket) = join(server.address, PATH).await else {
            break;
        };
        sockets.push(socket);
    }
    let opened = sockets.len();
    let mut figures = vec![Figure::more("sockets opened", opened as f64)];
    let awake = server.resident_bytes()?;
    tokio::time::sleep(night).await;
    let (asleep, cpu) = (server.resident_bytes()?, server.cpu_time()?);
    let asked = Instant::now();
    let state = ask(&mut first, "state").await?;
    let took = asked.elapsed();
    ensure!(
        state == "woken",
        "the object that was to sleep says {state}"
    );
    let cpu = server.cpu_time()?.saturating_sub(cpu);
    for socket in sockets.iter_mut().step_by(opened.div_ceil(TRIED).max(1)) {
        let echo = ask(socket, "still there").await?;
        ensure!(echo == "still there", "the object says {echo}");
    }
    let each = |bytes: u64| bytes.saturating_sub(before) as f64 / 1e3 / opened as f64;
    figures.extend([
        Figure::less("kB a socket, object awake", each(awake)),
        Figure::less("kB a socket, object asleep", each(asleep)),
        Figure::less("ms until the first answer", took.as_secs_f64() * 1e3),
        Figure::less("CPU ms until then", cpu.as_secs_f64() * 1e3),
    ]);
    Ok(figures)
}

async fn ask(socket: &mut Stream, text: &str) -> Result<String> {
    socket.send(Message::text(text)).await?;
    Ok(receive(socket).await?.to_string())
}
