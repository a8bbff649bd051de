//! The isolate of a server in which the application's objects live: one engine for all of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use portside_core::ids::WorkerKey;
use portside_core::write::WriteBatch;
use portside_exchange::{Message, Request as Fetch, Response};
use portside_worker::Without;
use portside_worker::caller::Call;
use portside_worker::cell::Actor;
use portside_worker::engine::{Engine, Exceeded, Shared, Uncaught};
use portside_worker::event::Delivered;
use portside_worker::instance::Instance;
use portside_worker::link::{Content, Failure, Head, LinkId, Opening, Push};
use portside_worker::object;

use crate::code::{self, Keys, Operation};
use crate::database::{Database, Entries};
use crate::host::Host;

/// What the server waits for, of an object.
enum Asked {
    Push(Call<Vec<u8>>),
    Upgrade(Call<Response>),
}

type Table = Rc<RefCell<Database>>;

/// Runs a server and its objects. A turn that is killed takes all of them with it.
pub(crate) struct Isolate {
    host: Arc<Host>,
    keys: Vec<WorkerKey>,
    server: Shared,
    without: Without,
    /// By the request that it is for.
    asked: BTreeMap<LinkId, Asked>,
    objects: BTreeMap<Actor, (Shared, Table)>,
    killed: Option<String>,
}

impl Isolate {
    pub fn new(host: Arc<Host>, keys: Vec<WorkerKey>, server: Shared, without: Without) -> Self {
        Self {
            host,
            keys,
            server,
            without,
            asked: BTreeMap::new(),
            objects: BTreeMap::new(),
            killed: None,
        }
    }

    /// Sends a request on to its object: a call, or, with an upgrade, the request itself.
    fn serve(&mut self, link: LinkId, request: Box<Fetch>) {
        let mut server = self.server.borrow_mut();
        let Some(operation) = Operation::parse(&request.url) else {
            return server.respond_failed(link, Failure::failed("not a request"));
        };
        let to = &self.keys[operation.key];
        let asked = if request.websocket {
            Asked::Upgrade(open(&mut server, to, Call::fetch(request)))
        } else {
            let path = vec![request.url.clone()];
            let arguments = Some(Vec::new());
            let call = Call::push(Push { path, arguments });
            Asked::Push(open(&mut server, to, call))
        };
        self.asked.insert(link, asked);
    }

    fn object(&self, actor: Actor, event: Delivered) -> Result<(), String> {
        let Some((instance, table)) = self.objects.get(&actor) else {
            return Ok(());
        };
        let mut instance = instance.borrow_mut();
        let mut keys = Keys {
            instance: &mut instance,
            database: Some(table),
        };
        match event {
            Delivered::Rpc { link, push } => {
                let operation = push.path.first().and_then(|url| Operation::parse(url));
                let list = keys.perform(&self.host, operation)?;
                instance.resolve(link, list);
                instance.end_request(link);
            }
            Delivered::Alarm(_) => keys.alarm(&self.host)?,
            Delivered::Fetch { link, .. } => accept(&mut instance, link),
            Delivered::Hibernatable { socket, delivery } => match &delivery.message {
                Message::Text(url) => {
                    let operation = std::str::from_utf8(url).ok().and_then(Operation::parse);
                    let list = keys.perform(&self.host, operation)?;
                    // One that is too long would be noticed: nothing comes.
                    let _ = instance.send_hibernatable(socket, Message::Binary(list.into()));
                }
                _ => {
                    if let Some(sockets) = instance.sockets() {
                        sockets.ended(socket);
                    }
                }
            },
            _ => {}
        }
        Ok(())
    }
}

/// Opens the link of a call when what the caller has written is durable.
fn open<A>(caller: &mut Instance, to: &WorkerKey, (call, opening): (Call<A>, Opening)) -> Call<A> {
    let (fabric, callee, to) = (caller.fabric().clone(), call.callee(), to.clone());
    caller.leave(move || {
        if let Some(reader) = fabric.open(&to, opening) {
            callee.opened(reader);
        }
    });
    call
}

/// Answers a request with a socket that stays while the object sleeps.
fn accept(instance: &mut Instance, link: LinkId) {
    let Some(sockets) = instance.sockets().cloned() else {
        return;
    };
    match sockets.accept(Vec::new(), None) {
        Ok(socket) => {
            let content = Content::Hibernatable(sockets.reader(socket));
            instance.respond(link, upgrade(content));
        }
        Err(error) => instance.respond_failed(link, Failure::failed(error.to_string())),
    }
    instance.end_request(link);
}

fn upgrade(content: Content) -> Head {
    Head {
        status: StatusCode::SWITCHING_PROTOCOLS,
        reason: Bytes::new(),
        headers: HeaderMap::new(),
        content,
    }
}

impl Engine for Isolate {
    type Stored = Entries;

    fn turn_begins(&mut self) {}

    fn deliver(&mut self, actor: Actor, event: Delivered) {
        match event {
            Delivered::Fetch { link, request, .. } if actor == Actor::OWN => {
                self.serve(link, request)
            }
            event => self.killed = self.object(actor, event).err(),
        }
    }

    fn begin_object(
        &mut self,
        actor: Actor,
        instance: &Shared,
        entries: Entries,
    ) -> Result<(), String> {
        let database = Database::load(&entries).map_err(|wrong| wrong.what)?;
        let table: Table = Rc::new(database.into());
        let mut begun = instance.borrow_mut();
        begun.take_out(self.without);
        begun.set_database(Box::new(Committed(table.clone())));
        drop(begun);
        self.objects.insert(actor, (instance.clone(), table));
        Ok(())
    }

    fn end_object(&mut self, actor: Actor) {
        self.objects.remove(&actor);
    }

    /// Passes on what objects have answered.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Uncaught>> {
        let mut server = self.server.borrow_mut();
        self.asked.retain(|link, asked| {
            let answered = match asked {
                Asked::Push(call) => Pin::new(&mut call.answer)
                    .poll(cx)
                    .map(|answer| answer.map(|list| list.map(code::full))),
                Asked::Upgrade(call) => Pin::new(&mut call.answer)
                    .poll(cx)
                    .map(|answer| answer.map(|response| response.map(spliced))),
            };
            let Poll::Ready(answer) = answered else {
                return true;
            };
            match answer.unwrap_or_else(|_| Err(Failure::failed("the object went away"))) {
                Ok(head) => server.respond(*link, head),
                Err(failure) => server.respond_failed(*link, failure),
            }
            server.end_request(*link);
            false
        });
        match self.asked.is_empty() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn poll_loaded(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(Ok(()))
    }

    fn exceeded(&mut self, _: bool) -> Option<Exceeded> {
        self.killed.clone().map(Exceeded::Cpu)
    }

    fn should_yield(&self) -> bool {
        false
    }
}

/// An object's answer to an upgrade, as the server's: the server leaves the way of the socket's messages.
fn spliced(response: Response) -> Head {
    match response.socket {
        Some(socket) => upgrade(Content::Spliced(socket)),
        None => code::full(Vec::new()),
    }
}

/// The database as the object's instance has it.
struct Committed(Table);

impl object::Database for Committed {
    fn is_in_transaction(&self) -> bool {
        false
    }

    fn commit_into(&mut self, batch: &mut WriteBatch, _: bool) -> Result<(), String> {
        self.0.borrow_mut().commit_into(batch);
        Ok(())
    }
}
