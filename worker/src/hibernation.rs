//! Hibernatable WebSockets: those that an object has accepted with `acceptWebSocket`, and that stay when its instance sleeps.
//!
//! The registry is outside of isolates and knows no JavaScript. An instance says what there is to keep, and sends; what the
//! other ends say reaches the object by its address, and wakes it if it sleeps.
//!
//! Between a client's socket and here all is in [envelopes](Envelope): who holds the client keeps what no code has heard, and brings
//! the socket back here, or to the process that has the object then, should the way between end.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use portside_core::ids::WorkerKey;
use portside_exchange::credit::{Credit, Window};
use portside_exchange::envelope::Envelope;
use portside_exchange::{Delivery, Message};

use crate::event::Incoming;
use crate::host::Fabric;
use crate::link::{Failure, FailureCode, Frame, LinkEnd, Undelivered};

mod away;
mod counts;
mod kept;
mod ways;

pub use away::{Away, PATIENCE};
use counts::Counts;
pub use kept::Kept;

/// Sockets that one object may have.
pub const MOST_SOCKETS: usize = 32_768;

/// Sockets whose clients have closed, that the object has heard of, and that it may still answer. The oldest are let go.
const MOST_UNANSWERED: usize = 256;

/// Bytes that may wait for all clients of this process's WebSockets together.
const ALL_BYTES: usize = 128 << 20;

/// What waits for all of them.
static ALL: LazyLock<Arc<Credit>> = LazyLock::new(Arc::default);

/// The credit of a client's WebSocket.
pub(crate) fn credit_of_client() -> Arc<Credit> {
    Arc::new(Credit::within(ALL.clone()))
}

/// Whether another `bytes` may wait for a client: no more than `most` bytes, and than all clients together leave. So the
/// more there is, the less each client may let wait, those furthest behind have to go first, and some room is always left
/// for the others.
pub(crate) fn keeps_up(credit: &Credit, bytes: usize, most: usize) -> bool {
    let window = Window {
        messages: usize::MAX,
        bytes: most,
    };
    let waiting = credit.bytes();
    let left = ALL_BYTES.saturating_sub(ALL.bytes());
    credit.has_room(bytes, window) && waiting + bytes <= left
}

/// A close, as it is sent.
pub(crate) fn close(code: u16, reason: &str) -> Message {
    Message::Close {
        code,
        reason: reason.to_owned(),
    }
}

/// Which hibernatable WebSocket, unique in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

static NEXT_SOCKET: AtomicU64 = AtomicU64::new(1);

/// An object has as many sockets as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a Durable Object cannot have more than {MOST_SOCKETS} hibernatable WebSockets")]
pub struct TooMany;

/// Whether a socket is open: what was said of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Closing {
    /// The object has closed it.
    pub here: bool,
    /// The other end has closed it, or is lost.
    pub there: bool,
}

/// A text that is answered with another, without waking the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoResponse {
    /// What a client says.
    pub request: Bytes,
    /// What it is answered with.
    pub response: Bytes,
}

/// The hibernatable WebSockets of one object.
pub struct Sockets {
    address: WorkerKey,
    fabric: Arc<dyn Fabric>,
    /// Bytes that may wait for one client.
    buffer_bytes: usize,
    away: Arc<Away>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the object's id comes from, if that is known.
    name: Option<Arc<str>>,
    /// By age.
    all: BTreeMap<SocketId, Entry>,
    /// The same by what tells them from all others.
    by_token: HashMap<u128, SocketId>,
    /// Those that the object has heard the end of, and has not closed.
    unanswered: VecDeque<SocketId>,
    auto_response: Option<AutoResponse>,
    event_timeout: Option<Duration>,
    /// The object has said what the two are, here or where it was before.
    is_set: bool,
    /// Those of which more was heard than whoever holds their clients knows.
    heard: BTreeSet<SocketId>,
}

struct Entry {
    far: Far,
    /// Tells the socket from all others, wherever it is.
    token: u128,
    /// Which of the ways to the client that there were is the present one.
    binding: u64,
    /// The last way of which whoever holds the client was told what the object has heard: all else that came on it comes again.
    left: Option<u64>,
    /// How much of what came on the present way is done with.
    counts: Counts,
    /// The object cannot be had here any more: what comes now is for where it will be.
    is_deaf: bool,
    tags: Box<[Box<str>]>,
    attachment: Option<Box<[u8]>>,
    /// When an automatic response was last sent, in milliseconds since the Unix epoch.
    answered_at: Option<i64>,
    closing: Closing,
    /// The object's close, which has left. It is the last on each way, for it may not have arrived on those before.
    close: Option<Message>,
    /// The object has heard its end.
    is_over: bool,
}

/// Where the other end of a socket is.
enum Far {
    /// With the object's own code: what it has said there that the object has not heard.
    Here(Arc<Credit>),
    /// At a client's.
    Client(Arc<LinkEnd>),
    /// With whoever holds the client, who may bring it back; and what is to be said to it then.
    Away(Arc<Credit>, VecDeque<Delivery>),
}

/// What was said at the other end of a hibernatable WebSocket, on its way to the object.
pub struct SocketEvent {
    sockets: Arc<Sockets>,
    /// Which socket it is.
    pub socket: SocketId,
    /// What was said; a close is the last.
    pub delivery: Delivery,
    /// The way that it came on.
    binding: u64,
}

impl SocketEvent {
    /// What the object's id comes from, if that is known.
    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.sockets.lock().name.clone()
    }

    /// The object hears it now, if it is to: whoever holds the client may have been told that it has not, and say it again.
    pub(crate) fn is_heard(&self) -> bool {
        self.sockets.heard(self.socket, self.binding)
    }

    /// The object cannot hear it: its client loses the connection, and may connect anew; unless the object may be had elsewhere, or
    /// later, where the socket is to be brought.
    pub(crate) fn refuse(self, failure: &Failure) {
        if failure.code == FailureCode::Unavailable {
            self.leave();
        } else {
            self.sockets.end(self.socket, close(1006, ""));
        }
    }

    /// The object is to be had elsewhere, and has not heard it here.
    pub(crate) fn leave(self) {
        let is_close = matches!(self.delivery.message, Message::Close { .. });
        self.sockets.with(self.socket, |entry| {
            entry.closing.there &= !is_close;
        });
        self.sockets.leave_one(self.socket);
    }
}

/// Takes what the client of a hibernatable WebSocket says.
#[derive(Clone)]
pub struct Reader {
    sockets: Arc<Sockets>,
    socket: SocketId,
    binding: u64,
}

impl Reader {
    /// Answers it, or passes it on to the object. It is an envelope, or the end of the way that it comes on.
    pub fn hear(&self, delivery: Delivery) {
        self.sockets.hear(self.socket, self.binding, delivery);
    }

    /// There is no client any more.
    pub(crate) fn lost(&self) {
        let lost = Delivery::unlimited(close(1006, ""));
        self.sockets.pass_on(self.socket, self.binding, lost);
    }

    /// Sends the head of the response that carries the socket to the client at `end`, whose it is from then on.
    pub(crate) fn begin(&self, end: LinkEnd, head: Frame) {
        match self.sockets.bind(self.socket, self.binding, end) {
            Ok(end) if end.send(head).is_err() => self.lost(),
            Ok(_) => {}
            Err(end) => end.refuse(Failure::failed("the WebSocket of the response is closed")),
        }
    }
}

impl Sockets {
    /// Those of the object at `address`, which is reached by `fabric`. For each client `buffer_bytes` may wait. Those that are to
    /// be brought back are known in `away`, too.
    #[must_use]
    pub fn new(
        address: WorkerKey,
        fabric: Arc<dyn Fabric>,
        buffer_bytes: usize,
        away: Arc<Away>,
    ) -> Arc<Self> {
        Arc::new(Self {
            address,
            fabric,
            buffer_bytes,
            away,
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose they are.
    #[must_use]
    pub fn address(&self) -> &WorkerKey {
        &self.address
    }

    // ---- what an instance says and asks

    /// Keeps a socket with these tags from now on; its other end is with the object's code. `name` is what the object's id
    /// comes from, if that is known.
    ///
    /// # Errors
    /// There are too many already.
    pub fn accept(&self, tags: Vec<String>, name: Option<Arc<str>>) -> Result<SocketId, TooMany> {
        let mut state = self.lock();
        if state.all.len() >= MOST_SOCKETS {
            return Err(TooMany);
        }
        let socket = SocketId(NEXT_SOCKET.fetch_add(1, Ordering::Relaxed));
        let entry = Entry::new(tags, token());
        state.name = name.or_else(|| state.name.take());
        state.by_token.insert(entry.token, socket);
        state.all.insert(socket, entry);
        Ok(socket)
    }

    /// Takes what the client of this socket says, once it has one.
    #[must_use]
    pub fn reader(self: &Arc<Self>, socket: SocketId) -> Reader {
        Reader {
            sockets: self.clone(),
            socket,
            binding: self.with(socket, |entry| entry.binding).unwrap_or_default(),
        }
    }

    /// The sockets that the object has not heard the end of: all, the latest first; or those with a tag, the oldest first.
    #[must_use]
    pub fn list(&self, tag: Option<&str>) -> Vec<SocketId> {
        let state = self.lock();
        let present = state.all.iter().filter(|(_, entry)| !entry.is_over);
        match tag {
            None => present.rev().map(|(socket, _)| *socket).collect(),
            Some(tag) => present
                .filter(|(_, entry)| entry.tags.iter().any(|known| **known == *tag))
                .map(|(socket, _)| *socket)
                .collect(),
        }
    }

    fn with<R>(&self, socket: SocketId, f: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        self.lock().all.get_mut(&socket).map(f)
    }

    /// A socket whose way is still this one. Whoever acts on what came on a way does so in here: it may end at any time.
    fn with_way<R>(
        &self,
        socket: SocketId,
        binding: u64,
        f: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        self.with(socket, |entry| (entry.binding == binding).then(|| f(entry)))?
    }

    /// A socket's tags, in the order in which they were given.
    #[must_use]
    pub fn tags(&self, socket: SocketId) -> Vec<String> {
        let tags = |entry: &mut Entry| entry.tags.iter().map(|tag| tag.to_string()).collect();
        self.with(socket, tags).unwrap_or_default()
    }

    /// Attaches a structured clone to a socket, in the place of what was attached.
    pub fn attach(&self, socket: SocketId, clone: &[u8]) {
        self.with(socket, |entry| entry.attachment = Some(clone.into()));
    }

    /// What is attached to a socket.
    #[must_use]
    pub fn attachment(&self, socket: SocketId) -> Option<Vec<u8>> {
        self.with(socket, |entry| entry.attachment.as_deref().map(Vec::from))?
    }

    /// Whether a socket is open; one that is not known is not.
    #[must_use]
    pub fn closing(&self, socket: SocketId) -> Closing {
        let (here, there) = (true, true);
        self.with(socket, |entry| entry.closing)
            .unwrap_or(Closing { here, there })
    }

    /// When an automatic response was last sent on a socket, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn answered_at(&self, socket: SocketId) -> Option<i64> {
        self.with(socket, |entry| entry.answered_at)?
    }

    /// Sets what is answered without the object, on all its sockets.
    pub fn set_auto_response(&self, auto_response: Option<AutoResponse>) {
        let mut state = self.lock();
        state.auto_response = auto_response;
        state.is_set = true;
    }

    /// What is answered without the object.
    #[must_use]
    pub fn auto_response(&self) -> Option<AutoResponse> {
        self.lock().auto_response.clone()
    }

    /// Sets how long the handling of an event may keep the object.
    pub fn set_event_timeout(&self, timeout: Option<Duration>) {
        let mut state = self.lock();
        state.event_timeout = timeout;
        state.is_set = true;
    }

    /// How long the handling of an event may keep the object.
    #[must_use]
    pub fn event_timeout(&self) -> Option<Duration> {
        self.lock().event_timeout
    }

    /// The object has heard that a socket is over: it is not one of its sockets any more. If the client has closed it, the
    /// object may still do so.
    pub fn ended(&self, socket: SocketId) {
        let mut state = self.lock();
        let Some(entry) = state.all.get_mut(&socket) else {
            return;
        };
        entry.is_over = true;
        if entry.close.is_some() || !matches!(entry.far, Far::Client(_)) {
            state.remove(socket);
            return;
        }
        if entry.closing.here {
            return; // it is on its way
        }
        state.unanswered.push_back(socket);
        if state.unanswered.len() > MOST_UNANSWERED
            && let Some(oldest) = state.unanswered.pop_front()
        {
            state.remove(oldest);
        }
    }

    /// The object closes a socket: nothing more may be sent.
    pub fn closes(&self, socket: SocketId) {
        self.with(socket, |entry| entry.closing.here = true);
    }

    /// Bytes sent to a client that it has not taken yet.
    #[must_use]
    pub fn waiting(&self, socket: SocketId) -> usize {
        self.credit(socket).map_or(0, |credit| credit.bytes())
    }

    /// Whether a client is at the other end.
    pub(crate) fn has_client(&self, socket: SocketId) -> bool {
        self.credit(socket).is_some()
    }

    /// The place of an envelope that is sent to a client: nothing if that does not keep up, or is not there.
    pub(crate) fn place(&self, socket: SocketId, message: Message) -> Result<Delivery, Message> {
        let is_last = Envelope::is_last(&message);
        match self.credit(socket) {
            Some(credit) if is_last || keeps_up(&credit, message.len(), self.buffer_bytes) => {
                let place = credit.take(message.len());
                Ok(Delivery::placed(message, place))
            }
            _ => Err(message),
        }
    }

    /// What is on its way to a client, or waits to be.
    fn credit(&self, socket: SocketId) -> Option<Arc<Credit>> {
        self.with(socket, |entry| entry.credit())?
    }

    /// Sends an envelope to a client; a close is the last. The client may be gone.
    pub(crate) fn send(&self, socket: SocketId, delivery: Delivery) {
        let is_last = Envelope::is_last(&delivery.message);
        let mut state = self.lock();
        let Some(entry) = state.all.get_mut(&socket) else {
            return;
        };
        if is_last {
            entry.close = Some(delivery.message.clone());
        }
        // Under the lock: else it could follow the word that the object is to be had elsewhere.
        entry.say(delivery);
        if is_last && entry.is_over {
            state.remove(socket);
        }
    }

    /// What the object's own code says at the other end of a socket, as if it were a client; returns what that is answered
    /// with at once.
    ///
    /// # Errors
    /// The object has not heard enough of what was said before.
    pub fn hear_own(
        self: &Arc<Self>,
        socket: SocketId,
        message: Message,
    ) -> Result<Option<Bytes>, Undelivered> {
        let own = self.with(socket, |entry| match &entry.far {
            Far::Here(credit) => Some((credit.clone(), entry.binding)),
            Far::Client(_) | Far::Away(..) => None,
        });
        let Some((credit, binding)) = own.flatten() else {
            return Ok(None);
        };
        if let Some(response) = self.lock().automatic(socket, binding, &message) {
            return Ok(Some(response));
        }
        let window = Window {
            messages: usize::MAX,
            bytes: self.buffer_bytes,
        };
        let is_close = matches!(message, Message::Close { .. });
        if !is_close && !credit.has_room(message.len(), window) {
            return Err(Undelivered::Overloaded);
        }
        let place = credit.take(message.len());
        self.pass_on(socket, binding, Delivery::placed(message, place));
        Ok(None)
    }

    // ---- what clients say

    fn bind(
        &self,
        socket: SocketId,
        binding: u64,
        mut end: LinkEnd,
    ) -> Result<Arc<LinkEnd>, LinkEnd> {
        let mut state = self.lock();
        let entry = state.all.get_mut(&socket);
        let Some(entry) = entry.filter(|entry| entry.binding == binding) else {
            return Err(end);
        };
        end.credit = credit_of_client();
        let end = Arc::new(end);
        entry.far = Far::Client(end.clone());
        Ok(end)
    }

    /// Of a way that is not the present one nothing is heard: the client is held elsewhere by then.
    fn hear(self: &Arc<Self>, socket: SocketId, binding: u64, mut delivery: Delivery) {
        match Envelope::open(delivery.message) {
            Ok(Envelope::Message(message)) => {
                if !self.answers(socket, binding, &message) {
                    delivery.message = message;
                    self.pass_on(socket, binding, delivery);
                }
            }
            Ok(Envelope::Depart { .. }) => self.depart(socket, binding),
            // All else only an object's side says.
            Ok(_) | Err(_) => self.lose_way(socket, binding),
        }
    }

    /// Answers what a client says if there is an automatic response to it. That counts as heard when all before it is. All of it
    /// is under one lock: else the socket could leave with the answer, and without its count.
    fn answers(&self, socket: SocketId, binding: u64, message: &Message) -> bool {
        let mut state = self.lock();
        let Some(response) = state.automatic(socket, binding, message) else {
            return false;
        };
        let Some(entry) = state.all.get_mut(&socket) else {
            return false;
        };
        match entry.credit() {
            Some(credit) if keeps_up(&credit, response.len(), self.buffer_bytes) => {
                let place = credit.take(response.len());
                entry.say(Delivery::placed(Message::Text(response), place));
                entry.counts.answer();
                state.heard.insert(socket);
                state.report();
            }
            _ => {
                if let Some(entry) = state.remove(socket) {
                    end_entry(entry, close(1013, "the client does not keep up"));
                }
            }
        }
        true
    }

    /// Passes something on to the object, which wakes it. Of what follows a close nobody hears.
    fn pass_on(self: &Arc<Self>, socket: SocketId, binding: u64, delivery: Delivery) {
        let is_close = matches!(delivery.message, Message::Close { .. });
        let is_first = self.with_way(socket, binding, |entry| {
            let is_first = !entry.closing.there && !entry.is_deaf;
            if is_first {
                entry.closing.there = is_close;
                entry.counts.pass_on();
            }
            is_first
        });
        if is_first != Some(true) {
            return;
        }
        let sockets = self.clone();
        let event = SocketEvent {
            sockets,
            socket,
            delivery,
            binding,
        };
        let delivered = self
            .fabric
            .deliver(&self.address, Incoming::Hibernatable(event));
        let Err(failure) = delivered else { return };
        let code = match failure.code {
            FailureCode::Overloaded => 1013,
            FailureCode::Failed | FailureCode::Reset => 1011,
            FailureCode::Unavailable => {
                // It leaves, or the process ends: so will the socket, when all is heard that came before.
                self.with(socket, |entry| {
                    entry.is_deaf |= entry.binding == binding;
                    entry.closing.there &= !is_close;
                });
                return;
            }
        };
        self.end(socket, close(code, "the object cannot be reached"));
    }

    /// What is passed on to the object when it is told of something by the runtime itself.
    pub(crate) fn event(self: &Arc<Self>, socket: SocketId, message: Message) -> Option<Incoming> {
        self.with(socket, |entry| {
            let before = entry.closing.there;
            entry.closing = Closing {
                here: true,
                there: true,
            };
            !before
        })
        .filter(|is_first| *is_first)
        .map(|_| {
            Incoming::Hibernatable(SocketEvent {
                sockets: self.clone(),
                socket,
                delivery: Delivery::unlimited(message),
                binding: u64::MAX, // no way: nobody counts it
            })
        })
    }

    // ---- how they end

    /// The object's instance has ended and will have another: of sockets whose other ends its code had nothing is left.
    pub fn instance_ended(&self) {
        let is_clients = |entry: &Entry| !matches!(entry.far, Far::Here(_)) && !entry.is_over;
        let mut state = self.lock();
        let State { all, by_token, .. } = &mut *state;
        all.retain(|_, entry| is_clients(entry));
        by_token.retain(|_, socket| all.contains_key(socket));
        state.unanswered.clear();
    }

    /// All of them end with this close, and the object hears of none; 1006 breaks the connections off.
    pub fn end_all(&self, code: u16, reason: &str) {
        let all = {
            let mut state = self.lock();
            state.by_token.clear();
            std::mem::take(&mut state.all)
        };
        for (_, entry) in all {
            end_entry(entry, close(code, reason));
        }
    }

    fn end(&self, socket: SocketId, message: Message) {
        let entry = self.lock().remove(socket);
        if let Some(entry) = entry {
            end_entry(entry, message);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn end_entry(entry: Entry, message: Message) {
    if let Far::Client(end) = entry.far
        && !entry.closing.here
    {
        let message = Envelope::Message(message).seal();
        let _ = end.send(Frame::Socket(Delivery::unlimited(message)));
    }
}

impl State {
    /// Forgets a socket.
    fn remove(&mut self, socket: SocketId) -> Option<Entry> {
        let entry = self.all.remove(&socket)?;
        self.by_token.remove(&entry.token);
        Some(entry)
    }

    /// What a message is answered with without the object.
    fn automatic(&mut self, socket: SocketId, binding: u64, message: &Message) -> Option<Bytes> {
        let Message::Text(text) = message else {
            return None;
        };
        let known = self.auto_response.as_ref();
        let known = known.filter(|known| known.request == *text)?;
        let entry = self.all.get_mut(&socket)?;
        if entry.binding != binding || entry.closing != Closing::default() || entry.is_deaf {
            return None;
        }
        entry.answered_at = Some(now());
        Some(known.response.clone())
    }
}

impl Entry {
    fn new(tags: Vec<String>, token: u128) -> Self {
        Self {
            far: Far::Here(Arc::default()),
            token,
            binding: 0,
            left: None,
            counts: Counts::default(),
            is_deaf: false,
            tags: tags.into_iter().map(String::into_boxed_str).collect(),
            attachment: None,
            answered_at: None,
            closing: Closing::default(),
            close: None,
            is_over: false,
        }
    }

    /// What is on its way to the client, or waits to be.
    fn credit(&self) -> Option<Arc<Credit>> {
        match &self.far {
            Far::Client(end) => Some(end.credit.clone()),
            Far::Away(credit, _) => Some(credit.clone()),
            Far::Here(_) => None,
        }
    }

    /// Says this to the client, now or when there is a way to it. Who is gone is heard of by the reader.
    fn say(&mut self, delivery: Delivery) {
        match &mut self.far {
            Far::Client(end) => drop(end.send(Frame::Socket(delivery))),
            Far::Away(..) if self.close.is_some() => {} // it is said when there is a way
            Far::Away(_, waiting) => waiting.push_back(delivery),
            Far::Here(_) => {}
        }
    }
}

/// Tells one socket from all others, in whatever process.
fn token() -> u128 {
    static HASHER: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = HASHER.each_ref().map(|hasher| hasher.hash_one(number));
    u128::from(high) << 64 | u128::from(low)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests;
