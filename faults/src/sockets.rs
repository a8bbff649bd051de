//! Clients that ask over WebSockets.

use std::time::Duration;

use portside_testkit::{Failed, Socket};
use serde_json::{Value, json};
use tokio::time::{Instant, interval, timeout};

use crate::check::value;
use crate::history::{Action, Micros};
use crate::load::{PATIENCE, Shared, Wanted, is_book, path, rest};

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
        let path = path(&worker);
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
            // Transactions at the same time have no order.
            let may_burst = matches!(burst[0].action, Action::Append(_)) && !is_book(&worker);
            if may_burst && random.u32(..100) < BURSTS {
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

/// Operations that were sent on one socket and have no answer yet.
struct Open<'s> {
    shared: &'s Shared,
    client: u32,
    operations: Vec<(Micros, Option<u32>, Wanted)>,
}

/// Why a socket is of no more use.
pub const BROKE: &str = "the socket broke";
const SILENT: &str = "no answer in time";

impl<'s> Open<'s> {
    fn new(shared: &'s Shared, client: u32) -> Self {
        let operations = Vec::new();
        Self {
            shared,
            client,
            operations,
        }
    }

    /// Sends one more, which an answer will name by its id. `after` is what was sent before it and is not answered.
    async fn send(
        &mut self,
        socket: &mut Socket,
        id: usize,
        after: Option<u32>,
        mut wanted: Wanted,
    ) -> Result<(), String> {
        wanted.message["id"] = json!(id);
        let text = wanted.message.to_string();
        self.operations.push((self.shared.now(), after, wanted));
        socket.try_send(&text).await.map_err(|_| BROKE.to_owned())
    }

    /// Remembers the operation that this answers.
    fn answered(&mut self, reply: Result<Value, Failed>) -> Result<(), String> {
        let reply = reply.map_err(|_| BROKE.to_owned())?;
        let mut asked = self.operations.iter();
        let Some(found) = asked.position(|(_, _, wanted)| wanted.message["id"] == reply["id"])
        else {
            return Err(format!("an answer to another question: {reply}"));
        };
        let (invoked, after, wanted) = self.operations.remove(found);
        let reply = Ok(reply);
        let operation = self
            .shared
            .remember(self.client, &wanted, invoked, after, reply);
        operation.outcome.map(|_| ())
    }

    /// Whether the oldest one has waited for longer than a client does.
    fn is_overdue(&self) -> bool {
        let patience = Micros::try_from(PATIENCE.as_micros()).unwrap_or(Micros::MAX);
        let oldest = self.operations.first();
        oldest.is_some_and(|(invoked, ..)| self.shared.now() - invoked > patience)
    }

    /// Remembers that nobody knows what became of those that are left.
    fn give_up(self, why: &str) {
        for (invoked, after, wanted) in self.operations {
            let reply = Err(why.to_owned());
            self.shared
                .remember(self.client, &wanted, invoked, after, reply);
        }
    }
}

/// Sends operations one right after another, waits for the answers and remembers them. Whether all were answered.
async fn exchange(
    shared: &Shared,
    client: u32,
    socket: &mut Socket,
    burst: Vec<Wanted>,
    first_id: usize,
) -> bool {
    let mut open = Open::new(shared, client);
    let sending = async {
        let mut after = None;
        for (place, wanted) in burst.into_iter().enumerate() {
            let value = value(wanted.action);
            open.send(socket, first_id + place, after, wanted).await?;
            after = value;
        }
        while !open.operations.is_empty() {
            let reply = timeout(PATIENCE, socket.try_receive()).await;
            open.answered(reply.map_err(|_| SILENT.to_owned())?)?;
        }
        Ok::<(), String>(())
    };
    let done = sending.await;
    let why = done.as_ref().err().cloned().unwrap_or_default();
    open.give_up(&why);
    done.is_ok()
}

/// Reads one worker again and again without waiting for answers, over one socket, which may stay open while its pod is paused and
/// another one goes on.
pub async fn watch(shared: &Shared, client: u32, mut random: fastrand::Rng) {
    while !shared.stopped() {
        let worker = shared.newest();
        let Some(mut socket) = open(shared, client, &path(&worker)).await else {
            rest(&mut random, false).await;
            continue;
        };
        let mut open = Open::new(shared, client);
        let watched = watch_one(shared, &worker, &mut socket, &mut open).await;
        open.give_up(&watched.err().unwrap_or_default());
    }
}

/// Ends well when the time is over and everything is answered.
async fn watch_one(
    shared: &Shared,
    worker: &str,
    socket: &mut Socket,
    open: &mut Open<'_>,
) -> Result<(), String> {
    let end = Instant::now() + WATCH;
    let mut looks = interval(LOOK);
    for id in 0.. {
        let over = shared.stopped() || Instant::now() > end;
        if over && open.operations.is_empty() {
            break;
        }
        if open.is_overdue() {
            return Err(SILENT.to_owned());
        }
        tokio::select! {
            _ = looks.tick() => if !over {
                let message = json!({"operation": "read", "from": "memory"});
                let worker = worker.to_owned();
                let wanted = Wanted { worker, action: Action::Read, message };
                open.send(socket, id, None, wanted).await?;
            },
            reply = socket.try_receive() => open.answered(reply)?,
        }
    }
    Ok(())
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
