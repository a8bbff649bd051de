//! Clients that ask over WebSockets.

use std::time::Duration;

use portside_testkit::Socket;
use serde_json::json;
use tokio::time::{Instant, interval, timeout};

use crate::check::value;
use crate::history::{Action, Micros};
use crate::load::{PATIENCE, Shared, Wanted, rest};

const OPERATIONS_PER_SOCKET: usize = 30;
/// Of 100 appends over a socket, how many are followed by others without waiting, and how many they are together.
const BURSTS: u32 = 20;
const BURST: usize = 4;
/// How often one that watches asks, without waiting for answers, and for how long it does at one worker.
const LOOK: Duration = Duration::from_millis(200);
const WATCH: Duration = Duration::from_secs(12);

/// Asks one operation, or some, after the other.
pub async fn one_by_one(shared: &Shared, client: u32, mut random: fastrand::Rng) {
    while !shared.stopped() {
        let (index, wanted) = shared.choose(&mut random, None);
        let worker = wanted.worker.clone();
        let path = format!("/list/{worker}");
        let Some(mut socket) = open(shared, client, &path).await else {
            rest(&mut random, false).await;
            continue;
        };
        let mut next = Some(wanted);
        for number in 0..OPERATIONS_PER_SOCKET {
            let wanted = match next.take() {
                Some(wanted) => wanted,
                None => shared.choose(&mut random, Some(index)).1,
            };
            let mut burst = vec![wanted];
            if matches!(burst[0].action, Action::Append(_)) && random.u32(..100) < BURSTS {
                burst.extend((1..BURST).map(|_| shared.append(index)));
            }
            if shared.stopped() || burst.iter().any(|wanted| wanted.worker != worker) {
                break;
            }
            let well = exchange(shared, client, &mut socket, burst, number * BURST).await;
            rest(&mut random, well).await;
            // An answer may still be on its way on this one.
            if !well {
                break;
            }
        }
    }
}

/// Sends operations one right after another, waits for the answers and remembers them. Whether all were answered.
async fn exchange(
    shared: &Shared,
    client: u32,
    socket: &mut Socket,
    mut burst: Vec<Wanted>,
    first_id: usize,
) -> bool {
    let mut open: Vec<(usize, Micros, Option<u32>)> = Vec::new();
    let mut broke = None;
    let mut after = None;
    for (place, wanted) in burst.iter_mut().enumerate() {
        wanted.message["id"] = json!(first_id + place);
        open.push((place, shared.now(), after));
        after = value(wanted.action);
        if socket.try_send(&wanted.message.to_string()).await.is_err() {
            broke = Some("the socket broke".to_owned());
            break;
        }
    }
    while broke.is_none() && !open.is_empty() {
        let reply = match timeout(PATIENCE, socket.try_receive()).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => {
                broke = Some("the socket broke".to_owned());
                break;
            }
            Err(_) => {
                broke = Some("no answer in time".to_owned());
                break;
            }
        };
        let asked =
            |(place, ..): &(usize, Micros, Option<u32>)| reply["id"] == burst[*place].message["id"];
        let Some(found) = open.iter().position(asked) else {
            broke = Some(format!("an answer to another question: {reply}"));
            break;
        };
        let (place, invoked, after) = open.remove(found);
        let operation = shared.remember(client, &burst[place], invoked, after, Ok(reply));
        // The worker threw, and answers the others all the same.
        if let Err(why) = operation.outcome {
            broke = Some(why);
        }
    }
    for (place, invoked, after) in open {
        let why = broke.clone().unwrap_or_default();
        shared.remember(client, &burst[place], invoked, after, Err(why));
    }
    broke.is_none()
}

/// Reads one worker again and again without waiting for answers, over one socket, which may stay open while its pod is paused and
/// another one goes on.
pub async fn watch(shared: &Shared, client: u32, mut random: fastrand::Rng) {
    while !shared.stopped() {
        let worker = shared.newest();
        let Some(mut socket) = open(shared, client, &format!("/list/{worker}")).await else {
            rest(&mut random, false).await;
            continue;
        };
        let mut open: Vec<(Micros, Wanted)> = Vec::new();
        let mut looks = interval(LOOK);
        let end = Instant::now() + WATCH;
        let mut id = 0;
        let why = loop {
            tokio::select! {
                _ = looks.tick() => {
                    if (shared.stopped() || Instant::now() > end) && open.is_empty() {
                        break String::new();
                    }
                    if open.first().is_some_and(|(asked, _)| shared.now() - asked > PATIENCE.as_micros() as Micros) {
                        break "no answer in time".to_owned();
                    }
                    if shared.stopped() || Instant::now() > end {
                        continue;
                    }
                    id += 1;
                    let message = json!({"id": id, "operation": "read", "from": "memory"});
                    let text = message.to_string();
                    let worker = worker.clone();
                    open.push((shared.now(), Wanted { worker, action: Action::Read, message }));
                    if socket.try_send(&text).await.is_err() {
                        break "the socket broke".to_owned();
                    }
                }
                reply = socket.try_receive() => {
                    let Ok(reply) = reply else { break "the socket broke".to_owned() };
                    let asked = |(_, wanted): &(Micros, Wanted)| wanted.message["id"] == reply["id"];
                    let Some(found) = open.iter().position(asked) else {
                        break format!("an answer to another question: {reply}");
                    };
                    let (invoked, wanted) = open.remove(found);
                    shared.remember(client, &wanted, invoked, None, Ok(reply));
                }
            }
        };
        for (invoked, wanted) in open {
            shared.remember(client, &wanted, invoked, None, Err(why.clone()));
        }
    }
}

/// A socket to a worker: through the front door, or for some clients from whichever pod is active.
async fn open(shared: &Shared, client: u32, path: &str) -> Option<Socket> {
    let sites = shared.pods(client);
    if sites.is_empty() {
        return timeout(PATIENCE, shared.site().try_socket(path))
            .await
            .ok()?
            .ok();
    }
    for site in sites {
        // One that is not active answers with 421, which opens nothing.
        if let Ok(Ok(socket)) = timeout(PATIENCE, site.try_socket(path)).await {
            return Some(socket);
        }
    }
    None
}
