//! An instance from its start to its end, with code in Rust and a store that the test plays.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use portside_core::alarm::Alarm;
use portside_core::ids::WorkerKey;
use portside_core::keys::KeyRange;
use portside_core::limits::Limits;
use portside_core::write::{Value, WriteBatch};
use portside_exchange::envelope::Envelope;
use portside_exchange::{Body, Delivery, Message, Request};
use portside_worker::activation::{Activation, End, Failure, Progress};
use portside_worker::engine::{Exceeded, Shared};
use portside_worker::event::{Control, Delivered, Incoming, Stop};
use portside_worker::hibernation::{AutoResponse, SocketId, Sockets};
use portside_worker::host::{
    CommitTicket, Error, Fabric, Identity, Ledger, Log, LogLine, Reading, RequestName,
};
use portside_worker::inbox::Inbox;
use portside_worker::instance::{Instance, InstanceOptions, Lost};
use portside_worker::link::{
    CloseReason, Content, Failure as LinkFailure, Frame, Head, Kind, LinkEnd, LinkId, Opening,
    Receive, Rejected,
};
use portside_worker::port::LEFT_PORTS;
use portside_worker::testing::{Code, Scripted, options};

/// The other end of links: notes what it receives.
#[derive(Default)]
struct Peer(Mutex<Vec<String>>);

impl Receive for Peer {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        let text = match incoming {
            Incoming::Frame {
                frame: Frame::Message { data, .. },
                ..
            } => String::from_utf8(data).unwrap(),
            Incoming::Frame {
                frame: Frame::Socket(delivery),
                ..
            } => match Envelope::open(delivery.message) {
                Ok(Envelope::Message(Message::Text(text))) => {
                    String::from_utf8(text.to_vec()).unwrap()
                }
                Ok(Envelope::Message(message)) => format!("{message:?}"),
                Ok(Envelope::State(_) | Envelope::Heard(_)) => return Ok(()),
                other => format!("{other:?}"),
            },
            Incoming::Frame {
                frame: Frame::Head(head),
                ..
            } => head.status.to_string(),
            Incoming::Closed { reason, .. } => format!("closed: {}", reason.code()),
            _ => "?".to_owned(),
        };
        self.0.lock().unwrap().push(text);
        Ok(())
    }
}

/// A store that answers when the test says so, a lease, and the places where links are opened.
#[derive(Default)]
struct Surroundings {
    commits: Mutex<Vec<(WriteBatch, CommitTicket)>>,
    committed_for: Mutex<Vec<Option<RequestName>>>,
    lease_ended: AtomicBool,
    disowned: AtomicBool,
    outdated: Mutex<Vec<Alarm>>,
    opened: Mutex<Vec<Opening>>,
    /// Where what is said on sockets is delivered.
    inbox: Mutex<Option<Arc<Inbox>>>,
    peer: Arc<Peer>,
    logged: Mutex<Vec<String>>,
}

impl Ledger for Surroundings {
    fn commit(&self, batch: WriteBatch, request: Option<RequestName>, ticket: CommitTicket) {
        self.committed_for.lock().unwrap().push(request);
        self.commits.lock().unwrap().push((batch, ticket));
    }
    fn read(&self, _: Vec<String>) -> Reading<BTreeMap<String, Value>> {
        Box::pin(async { Ok(BTreeMap::new()) })
    }
    fn list(&self, _: KeyRange) -> Reading<Vec<(String, Value)>> {
        Box::pin(async { Ok(vec![]) })
    }
    fn is_leased(&self) -> bool {
        !self.lease_ended.load(Ordering::Relaxed)
    }
    fn is_owned(&self) -> bool {
        !self.disowned.load(Ordering::Relaxed)
    }
    fn alarm_outdated(&self, alarm: Alarm) {
        self.outdated.lock().unwrap().push(alarm);
    }
}

impl Fabric for Surroundings {
    fn open(&self, _: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        self.opened.lock().unwrap().push(opening);
        Some(self.peer.clone())
    }
    fn deliver(&self, _: &WorkerKey, incoming: Incoming) -> Result<(), LinkFailure> {
        let inbox = self.inbox.lock().unwrap();
        let received = inbox.as_ref().unwrap().receive(incoming);
        received.map_err(|_| LinkFailure::unavailable("nobody is there"))
    }
}

impl Log for Surroundings {
    fn log(&self, line: LogLine<'_>) {
        self.logged.lock().unwrap().push(line.text.to_owned());
    }
}

struct Test<F: Code> {
    activation: Activation<Scripted<F>>,
    instance: Shared,
    surroundings: Arc<Surroundings>,
    inbox: Arc<Inbox>,
    now: Duration,
}

fn key() -> WorkerKey {
    WorkerKey::new("w.js", "a").unwrap()
}

impl<F: Code> Test<F> {
    fn new(code: F) -> Self {
        let surroundings = Arc::<Surroundings>::default();
        let limits = Limits::default();
        let inbox = Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes));
        *surroundings.inbox.lock().unwrap() = Some(inbox.clone());
        let buffer_bytes = limits.socket_buffer_bytes;
        let sockets = Sockets::new(key(), surroundings.clone(), buffer_bytes, Arc::default());
        let (fabric, log) = (surroundings.clone(), surroundings.clone());
        let instance: Shared = Rc::new(RefCell::new(Instance::new(InstanceOptions {
            sockets: Some(sockets),
            ledger: Some(surroundings.clone()),
            ..options(Identity::Worker(key()), &inbox, fabric, log)
        })));
        let engine = Scripted::new(instance.clone(), code);
        Self {
            activation: Activation::new(instance.clone(), engine, Duration::ZERO),
            instance,
            surroundings,
            inbox,
            now: Duration::ZERO,
        }
    }

    fn poll(&mut self) -> Progress {
        let mut cx = Context::from_waker(Waker::noop());
        self.activation.poll(&mut cx, self.now)
    }

    /// Polls until nothing more is there to do.
    fn settle(&mut self) -> Progress {
        for _ in 0..10 {
            if let Progress::Ended(end) = self.poll() {
                return Progress::Ended(end);
            }
        }
        self.poll()
    }

    /// Opens a port and sends a message on it.
    fn send(&self, text: &str) {
        self.open_and_send(text);
    }

    /// The same, and closes it.
    fn send_and_close(&self, text: &str) {
        let link = self.open_and_send(text);
        let reason = CloseReason::Closed;
        let closed = Incoming::Closed { link, reason };
        self.inbox.receive(closed).ok().unwrap();
    }

    /// Returns the worker's end.
    fn open_and_send(&self, text: &str) -> LinkId {
        let near = LinkId::of_new_link();
        let end = LinkEnd::new(near.other(), self.surroundings.peer.clone());
        let place = end.credit.take(text.len());
        let kind = Kind::Port;
        self.inbox
            .receive(Incoming::Opened(Opening::new(kind, end)))
            .ok()
            .unwrap();
        let data = text.as_bytes().to_vec();
        let request = Some("request 1".into());
        let frame = Frame::Message {
            data,
            place,
            request,
        };
        let link = near.other();
        self.inbox
            .receive(Incoming::Frame { link, frame })
            .ok()
            .unwrap();
        link
    }

    fn commits(&self) -> usize {
        self.surroundings.commits.lock().unwrap().len()
    }

    fn answer_commit(&self, outcome: Result<(), Error>) {
        let (_, ticket) = self.surroundings.commits.lock().unwrap().remove(0);
        ticket.settle(outcome);
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.surroundings.peer.0.lock().unwrap())
    }
}

/// Listens on every port, and for each message does what it says, then answers with it.
fn obedient(instance: &Shared, event: Delivered) -> Result<(), String> {
    let mut instance = instance.borrow_mut();
    match event {
        Delivered::Connected { port, .. } => instance.start_port(port),
        Delivered::Message { port, data } => {
            let text = String::from_utf8(data).unwrap();
            if text.contains("put") {
                instance.put("k".into(), text.as_bytes().into());
            }
            if text.contains("open") {
                let other = instance.open_port(key(), None);
                instance.post(other, b"to another", None).unwrap();
            }
            if text.contains("die") {
                return Err("it used too much".to_owned());
            }
            if text.contains("end") {
                instance.terminate();
            }
            assert!(instance.post(port, text.as_bytes(), None).unwrap());
        }
        _ => {}
    }
    Ok(())
}

#[test]
fn an_answer_leaves_when_the_write_before_it_is_durable() {
    let mut test = Test::new(obedient);
    test.send("hello");
    test.settle();
    assert_eq!(test.heard(), ["hello"], "nothing was written");
    test.send("put");
    test.send("after");
    test.settle();
    assert_eq!((test.commits(), test.heard()), (1, vec![]));
    test.answer_commit(Ok(()));
    test.settle();
    assert_eq!(test.heard(), ["put", "after"]);
}

#[test]
fn an_answer_does_not_leave_when_the_lease_has_ended() {
    let mut test = Test::new(obedient);
    test.surroundings.lease_ended.store(true, Ordering::Relaxed);
    test.send("hello");
    test.settle();
    assert!(test.heard().is_empty());
    test.surroundings
        .lease_ended
        .store(false, Ordering::Relaxed);
    test.inbox.tell(Control::Renewed);
    test.settle();
    assert_eq!(test.heard(), ["hello"]);
}

#[test]
fn an_instance_whose_right_is_gone_ends_and_leaves_what_it_has_not_read() {
    let mut test = Test::new(obedient);
    test.send("hello");
    test.settle();
    assert_eq!(test.heard(), ["hello"]);
    test.surroundings.disowned.store(true, Ordering::Relaxed);
    test.send("put");
    test.inbox.tell(Control::Renewed);
    let end = test.settle();
    assert!(matches!(
        end,
        Progress::Ended(End::Failed(Failure::Lost(_)))
    ));
    assert_eq!((test.commits(), test.heard()), (0, vec![]));
    assert_eq!(test.inbox.len(), 2, "its successor's");
}

#[test]
fn what_is_opened_waits_for_the_write_before_it() {
    let mut test = Test::new(obedient);
    test.send("put, then open");
    test.settle();
    assert!(test.surroundings.opened.lock().unwrap().is_empty());
    test.answer_commit(Ok(()));
    test.settle();
    assert_eq!(test.surroundings.opened.lock().unwrap().len(), 1);
    assert_eq!(test.heard(), ["to another", "put, then open"]);
}

#[test]
fn a_killed_turn_leaves_nothing_and_takes_nothing_along() {
    let mut test = Test::new(obedient);
    test.settle();
    test.send("put");
    test.send("put and die");
    test.send("behind");
    let end = test.settle();
    let killed = Failure::Limit(Exceeded::Cpu("it used too much".to_owned()));
    assert_eq!(end, Progress::Ended(End::Failed(killed)));
    assert_eq!(test.commits(), 0, "the turn is whole or nothing");
    assert_eq!(
        test.inbox.len(),
        2,
        "a port and its message are its successor's"
    );
    let surroundings = test.surroundings.clone();
    drop(test);
    let heard = surroundings.peer.0.lock().unwrap().clone();
    assert_eq!(heard, ["closed: lost", "closed: lost"]);
}

#[test]
fn a_refused_write_ends_the_instance_and_what_waited_for_it() {
    let mut test = Test::new(obedient);
    test.send("put");
    test.settle();
    test.answer_commit(Err(Error::Fenced));
    let lost = Failure::Lost(Error::Fenced.into());
    assert_eq!(test.settle(), Progress::Ended(End::Failed(lost)));
    assert!(test.heard().is_empty());
}

#[test]
fn terminate_waits_for_what_was_written_and_sent_before() {
    let mut test = Test::new(obedient);
    test.send("put and end");
    test.send("behind");
    test.settle();
    assert_eq!(test.commits(), 1);
    test.answer_commit(Ok(()));
    assert_eq!(test.settle(), Progress::Ended(End::Terminated));
    assert_eq!(test.heard(), ["put and end"]);
    let surroundings = test.surroundings.clone();
    drop(test);
    let heard = surroundings.peer.0.lock().unwrap().clone();
    assert_eq!(heard, ["closed: terminated"]);
}

#[test]
fn an_idle_instance_sleeps_and_one_with_an_open_port_does_not() {
    let mut test = Test::new(obedient);
    let idle = Limits::default().idle;
    assert_eq!(test.settle(), Progress::Waiting(Some(idle)));
    test.send("hello");
    assert_eq!(test.settle(), Progress::Waiting(None));
    test.now = idle * 2;
    assert_eq!(test.settle(), Progress::Waiting(None), "a port is open");

    let mut test = Test::new(obedient);
    test.settle();
    test.now = idle;
    assert_eq!(test.settle(), Progress::Ended(End::Slept));
    let closed = Incoming::Closed {
        link: LinkId(0),
        reason: CloseReason::Closed,
    };
    assert!(matches!(
        test.inbox.receive(closed),
        Err(Rejected::Closed(_))
    ));
}

#[test]
fn one_that_rests_can_be_put_to_sleep_and_runs_nothing_more() {
    let mut test = Test::new(obedient);
    assert!(!test.inbox.put_to_sleep(), "it loads");
    test.settle();
    test.send("put");
    test.settle();
    assert!(!test.inbox.put_to_sleep(), "a port is open");

    let mut test = Test::new(obedient);
    test.settle();
    assert!(test.inbox.put_to_sleep());
    let late = Incoming::Alarm(Alarm::at(5));
    assert!(matches!(test.inbox.receive(late), Err(Rejected::Closed(_))));
    assert_eq!(test.settle(), Progress::Ended(End::Slept));
}

#[test]
fn one_that_is_asked_to_stop_does_so_when_it_may() {
    let mut test = Test::new(obedient);
    test.send("put");
    test.settle();
    test.inbox.stop(Stop::WhenQuiet);
    test.answer_commit(Ok(()));
    assert_eq!(test.settle(), Progress::Waiting(None), "a port is open");
    test.inbox.stop(Stop::WhenFlushed);
    assert_eq!(test.settle(), Progress::Ended(End::Stopped));
}

#[test]
fn an_alarm_that_is_not_armed_any_more_is_reported() {
    let mut test = Test::new(obedient);
    test.settle();
    let alarm = Alarm::at(5);
    test.inbox.receive(Incoming::Alarm(alarm)).ok().unwrap();
    test.settle();
    assert_eq!(*test.surroundings.outdated.lock().unwrap(), [alarm]);
}

#[test]
fn commits_of_one_turn_are_one() {
    let mut test = Test::new(obedient);
    test.send("put 1");
    test.send("put 2");
    test.settle();
    let commits = test.surroundings.commits.lock().unwrap();
    let [(batch, _)] = &commits[..] else {
        panic!("one commit")
    };
    assert_eq!(batch.writes["k"].as_deref(), Some(&b"put 2"[..]));
    let requests = test.surroundings.committed_for.lock().unwrap();
    assert_eq!(*requests, [Some("request 1".into())], "for logs");
}

#[test]
fn what_became_of_a_commit_that_nobody_answers_is_not_known() {
    let mut test = Test::new(obedient);
    test.send("put");
    test.settle();
    test.surroundings.commits.lock().unwrap().clear();
    let lost = Failure::Lost(Lost::Commit(Error::Gone));
    assert_eq!(test.settle(), Progress::Ended(End::Failed(lost)));
    assert!(test.heard().is_empty(), "no answer leaves");
}

#[test]
fn who_is_not_owned_any_more_is_told_apart_from_who_was_refused() {
    let mut test = Test::new(obedient);
    test.settle();
    test.surroundings.disowned.store(true, Ordering::Relaxed);
    let lost = Failure::Lost(Lost::NotOwned);
    assert_eq!(test.settle(), Progress::Ended(End::Failed(lost)));
}

/// Its `connect` handlers settle without having listened.
fn deaf(instance: &Shared, event: Delivered) -> Result<(), String> {
    if let Delivered::Connected { port, .. } = event {
        instance.borrow_mut().port_settled(port);
    }
    Ok(())
}

#[test]
fn a_port_that_is_left_keeps_no_worker_awake() {
    let mut test = Test::new(deaf);
    test.send("hello");
    assert_eq!(test.settle(), Progress::Waiting(None), "a port is open");
    let mut test = Test::new(deaf);
    test.send_and_close("hello");
    assert!(matches!(test.settle(), Progress::Waiting(Some(_))));
    test.now += Limits::default().idle;
    assert_eq!(test.settle(), Progress::Ended(End::Slept));
}

#[test]
fn only_so_many_ports_that_are_left_are_kept_and_the_others_hear_of_their_close() {
    let closed = Rc::new(RefCell::new(vec![]));
    let heard = closed.clone();
    let mut ports = vec![];
    let mut test = Test::new(move |instance: &Shared, event: Delivered| {
        match event {
            Delivered::Connected { port, .. } => {
                ports.push(port);
                instance.borrow_mut().port_settled(port);
            }
            Delivered::PortClosed { port, .. } => {
                let number = ports.iter().position(|known| *known == port);
                heard.borrow_mut().push(number.unwrap());
            }
            Delivered::Message { .. } => return Err("nobody listens".to_owned()),
            _ => {}
        }
        Ok(())
    });
    for _ in 0..LEFT_PORTS + 2 {
        test.send_and_close("hello");
    }
    for _ in 0..10 {
        assert!(matches!(test.settle(), Progress::Waiting(_)));
    }
    assert_eq!(*closed.borrow(), [0, 1]);
}

#[test]
fn ports_that_are_left_do_not_fill_the_inbox() {
    let closed = Rc::new(RefCell::new(0));
    let heard = closed.clone();
    let mut test = Test::new(move |instance: &Shared, event: Delivered| {
        if matches!(event, Delivered::PortClosed { .. }) {
            *heard.borrow_mut() += 1;
        }
        deaf(instance, event)
    });
    let limits = Limits::default();
    let large = "x".repeat(limits.inbox_bytes / 5);
    for _ in 0..8 {
        test.send_and_close(&large);
        test.settle();
    }
    assert_eq!(*closed.borrow(), 6, "half of the inbox is for two");
    test.send(&"x".repeat(limits.message_bytes)); // there is room for the largest
}

#[test]
fn a_port_that_it_opened_and_that_is_left_keeps_no_worker_awake() {
    let mut test = Test::new(|instance: &Shared, event: Delivered| {
        if let Delivered::Connected { port, .. } = event {
            let mut instance = instance.borrow_mut();
            let other = instance.open_port(key(), None);
            instance.post(other, b"hello", None).unwrap();
            instance.close_port(port);
        }
        Ok(())
    });
    test.send("open");
    assert_eq!(test.settle(), Progress::Waiting(None), "a port is open");
    let opened = test.surroundings.opened.lock().unwrap().pop().unwrap();
    let place = opened.end.credit.take(1);
    let frame = Frame::Message {
        data: vec![1],
        place,
        request: None,
    };
    opened.end.send(frame).unwrap();
    opened.end.close(CloseReason::Closed);
    assert!(matches!(test.settle(), Progress::Waiting(Some(_))));
    test.now += Limits::default().idle;
    assert_eq!(test.settle(), Progress::Ended(End::Slept));
}

#[test]
fn rejections_while_a_module_is_evaluated_are_few_and_short_until_they_are_logged() {
    const MANY: usize = 100;
    let mut test = Test::new(obedient);
    let text = |number| format!("Error: {number}\n{}", "x".repeat(1 << 20));
    for number in 0..MANY {
        let mut instance = test.instance.borrow_mut();
        instance.log_rejection(&text(number), "", None);
    }
    let at_once = test.surroundings.logged.lock().unwrap().len();
    assert!(at_once >= MANY - 10, "{at_once} were logged");
    test.settle();
    let logged = test.surroundings.logged.lock().unwrap();
    assert_eq!(logged.len(), MANY);
    for (number, line) in logged.iter().enumerate() {
        let first = line.lines().next().unwrap();
        assert_eq!(first, format!("unhandled rejection: Error: {number}"));
    }
    let last: usize = logged[at_once..].iter().map(String::len).sum();
    assert!(last < 100_000, "{last} bytes were kept");
}

/// Keeps the socket of each request, and answers what is said there; writes it first if it is to.
fn keeper(instance: &Shared, event: Delivered) -> Result<(), String> {
    let mut instance = instance.borrow_mut();
    match event {
        Delivered::Fetch { link, .. } => {
            let sockets = instance.sockets().unwrap().clone();
            let socket = sockets.accept(vec![], None).unwrap();
            let head = Head {
                status: http::StatusCode::SWITCHING_PROTOCOLS,
                reason: Bytes::new(),
                headers: http::HeaderMap::new(),
                content: Content::Hibernatable(sockets.reader(socket)),
            };
            instance.respond(link, head);
            instance.end_request(link);
        }
        Delivered::Hibernatable { socket, delivery } => {
            if let Message::Text(text) = &delivery.message
                && text.starts_with(b"put")
            {
                instance.put("k".into(), text.to_vec().into());
            }
            let sent = instance.send_hibernatable(socket, delivery.message);
            assert!(sent.is_ok());
        }
        _ => {}
    }
    Ok(())
}

impl<F: Code> Test<F> {
    fn sockets(&self) -> Arc<Sockets> {
        self.instance.borrow().sockets().unwrap().clone()
    }

    /// A client with a socket.
    fn connect(&mut self) -> SocketId {
        self.ask_for_socket();
        assert_eq!(self.heard(), ["101 Switching Protocols"]);
        self.sockets().list(None)[0]
    }

    fn ask_for_socket(&mut self) {
        let request = Request {
            method: http::Method::GET,
            url: "http://a/".to_owned(),
            headers: http::HeaderMap::new(),
            body: Body::Empty,
            websocket: true,
        };
        let near = LinkId::of_new_link();
        let opening = Opening::new(
            Kind::Fetch(Box::new(request)),
            LinkEnd::new(near.other(), self.surroundings.peer.clone()),
        );
        self.inbox.receive(Incoming::Opened(opening)).ok().unwrap();
        self.settle();
    }

    fn say(&self, socket: SocketId, text: &'static str) {
        let message = Message::Text(text.into());
        let sealed = Envelope::Message(message).seal();
        self.sockets()
            .reader(socket)
            .hear(Delivery::unlimited(sealed));
    }
}

#[test]
fn what_is_said_on_a_hibernatable_socket_waits_for_writes_and_automatic_responses_do_not() {
    let mut test = Test::new(keeper);
    let socket = test.connect();
    test.sockets().set_auto_response(Some(AutoResponse {
        request: "ping".into(),
        response: "pong".into(),
    }));
    test.say(socket, "hello");
    test.settle();
    assert_eq!(test.heard(), ["hello"], "nothing was written");
    test.say(socket, "put");
    test.say(socket, "ping");
    test.say(socket, "after");
    test.settle();
    assert_eq!((test.commits(), test.heard()), (1, vec!["pong".to_owned()]));
    test.answer_commit(Ok(()));
    test.settle();
    assert_eq!(test.heard(), ["put", "after"]);
}

#[test]
fn what_is_sent_while_the_answer_with_the_socket_waits_follows_it() {
    let mut test = Test::new(|instance: &Shared, event| {
        let is_request = matches!(event, Delivered::Fetch { .. });
        instance.borrow_mut().put("k".into(), b"v".to_vec().into());
        keeper(instance, event)?;
        let mut instance = instance.borrow_mut();
        let sockets = instance.sockets().unwrap().clone();
        for socket in sockets.list(None).into_iter().filter(|_| is_request) {
            let welcome = Message::Text("welcome".into());
            assert!(instance.send_hibernatable(socket, welcome).is_ok());
        }
        Ok(())
    });
    test.ask_for_socket();
    assert_eq!((test.commits(), test.heard()), (1, vec![]));
    test.answer_commit(Ok(()));
    test.settle();
    assert_eq!(test.heard(), ["101 Switching Protocols", "welcome"]);
}

#[test]
fn an_instance_with_hibernatable_sockets_sleeps_and_they_stay() {
    let mut test = Test::new(keeper);
    let socket = test.connect();
    test.now += Limits::default().idle * 2;
    test.settle();
    test.now += Limits::default().idle * 2;
    assert_eq!(test.settle(), Progress::Ended(End::Slept));
    assert_eq!(
        (test.sockets().list(None), test.heard()),
        (vec![socket], vec![])
    );
    drop(test.activation);
    assert_eq!(test.surroundings.peer.0.lock().unwrap()[..], [""; 0]);
}

#[test]
fn an_instance_that_is_killed_takes_its_hibernatable_sockets_along() {
    let mut test = Test::new(|instance: &Shared, event| match event {
        Delivered::Hibernatable { .. } => Err("it used too much".to_owned()),
        event => keeper(instance, event),
    });
    let socket = test.connect();
    test.say(socket, "die");
    assert!(matches!(
        test.settle(),
        Progress::Ended(End::Failed(Failure::Limit(_)))
    ));
    let broken_off = r#"Close { code: 1006, reason: "" }"#;
    assert_eq!(
        (test.heard(), test.sockets().len()),
        (vec![broken_off.to_owned()], 0)
    );
}

#[test]
fn what_was_said_on_a_socket_that_is_broken_off_is_not_heard() {
    let mut test = Test::new(keeper);
    let socket = test.connect();
    test.say(socket, "put");
    test.sockets().end_all(1006, "");
    test.settle();
    let broken_off = r#"Close { code: 1006, reason: "" }"#;
    assert_eq!(
        (test.heard(), test.commits()),
        (vec![broken_off.to_owned()], 0)
    );
}

#[test]
fn a_client_that_is_gone_before_the_answer_is_lost_to_the_object() {
    let mut test = Test::new(|instance: &Shared, event| match event {
        Delivered::Fetch {
            link,
            request,
            streamed,
        } => {
            instance.borrow_mut().end_request(link);
            keeper(
                instance,
                Delivered::Fetch {
                    link,
                    request,
                    streamed,
                },
            )
        }
        Delivered::Hibernatable { socket, delivery } => {
            assert!(matches!(
                delivery.message,
                Message::Close { code: 1006, .. }
            ));
            instance.borrow().sockets().unwrap().ended(socket);
            instance
                .borrow_mut()
                .put("lost".into(), b"1".to_vec().into());
            Ok(())
        }
        _ => Ok(()),
    });
    test.ask_for_socket();
    assert_eq!((test.commits(), test.sockets().len()), (1, 0));
}
