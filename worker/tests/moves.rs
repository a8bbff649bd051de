//! Ports that stay open while the worker at their other end moves, with code in Rust and places that the test plays.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use portside_core::ids::WorkerKey;
use portside_core::limits::Limits;
use portside_exchange::credit::Credit;
use portside_exchange::envelope::Envelope;
use portside_exchange::{Body, Delivery, Lasts, Message, Request};
use portside_worker::activation::{Activation, End, Progress};
use portside_worker::engine::Shared;
use portside_worker::event::{Delivered, Incoming, Stop};
use portside_worker::host::{Fabric, Identity, Log, LogLine};
use portside_worker::inbox::Inbox;
use portside_worker::instance::Instance;
use portside_worker::link::{
    CloseReason, Content, Failure, Frame, Head, Kind, LinkEnd, LinkId, Opening, Receive, Rejected,
    Undelivered,
};
use portside_worker::moves::take_along;
use portside_worker::route::Route;
use portside_worker::testing::{Code, Opener, Scripted, options};
use proptest::prelude::*;

fn key() -> WorkerKey {
    WorkerKey::new("w.js", "a").unwrap()
}

/// Where the worker is: the inbox of its next instance.
struct Places(Mutex<Option<Arc<Inbox>>>);

impl Places {
    fn at(inbox: &Arc<Inbox>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(inbox.clone()))))
    }

    fn are_at(&self, inbox: Option<&Arc<Inbox>>) {
        *self.0.lock().unwrap() = inbox.cloned();
    }
}

impl Fabric for Places {
    fn open(&self, _: &WorkerKey, opening: Opening) -> Option<Arc<dyn Receive>> {
        let Some(inbox) = self.0.lock().unwrap().clone() else {
            opening.end.refuse(Failure::unavailable("it is nowhere"));
            return None;
        };
        assert!(inbox.receive(Incoming::Opened(opening)).is_ok());
        Some(inbox)
    }

    fn deliver(&self, _: &WorkerKey, _: Incoming) -> Result<(), Failure> {
        unreachable!("there are only links")
    }
}

impl Log for Places {
    fn log(&self, _: LogLine<'_>) {}
}

fn inbox() -> Arc<Inbox> {
    let limits = Limits::default();
    Arc::new(Inbox::new(limits.inbox_messages, limits.inbox_bytes))
}

/// One instance of the worker.
fn instance<F: Code>(
    inbox: &Arc<Inbox>,
    places: &Arc<Places>,
    code: F,
) -> (Shared, Activation<Scripted<F>>) {
    let options = options(
        Identity::Worker(key()),
        inbox,
        places.clone(),
        places.clone(),
    );
    let instance: Shared = Rc::new(RefCell::new(Instance::new(options)));
    let engine = Scripted::new(instance.clone(), code);
    let activation = Activation::new(instance.clone(), engine, Duration::ZERO);
    (instance, activation)
}

fn poll<F: Code>(activation: &mut Activation<Scripted<F>>) -> Progress {
    let mut cx = Context::from_waker(Waker::noop());
    activation.poll(&mut cx, Duration::ZERO)
}

/// An open port, at its opener.
struct Near {
    id: LinkId,
    opener: Arc<Opener>,
    route: Option<Arc<Route>>,
    credit: Arc<Credit>,
}

impl Near {
    fn open(places: &Arc<Places>) -> Self {
        let (id, opener) = (LinkId::of_new_link(), Arc::<Opener>::default());
        let opening = Opening::new(Kind::Port, LinkEnd::new(id.other(), opener.clone()));
        Self {
            id,
            opener,
            route: Route::open(places.clone(), &key(), opening),
            credit: Arc::default(),
        }
    }

    fn end(&self) -> LinkEnd {
        let mut end = LinkEnd::unopened();
        end.id = self.id;
        end.opened(self.route.clone().map(|route| route as Arc<dyn Receive>));
        end
    }

    fn send(&self, text: String) -> Result<(), Undelivered> {
        self.end().send(Frame::Message {
            place: self.credit.take(text.len()),
            data: text.into_bytes(),
            request: None,
        })
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.opener.heard())
    }
}

/// What the worker's code has heard, in all places, by port.
type Heard = Rc<RefCell<BTreeMap<LinkId, Vec<String>>>>;

/// Notes what it hears. Listens to every port, or when its second message comes on any.
fn notes(heard: &Heard, listens_late: bool) -> impl Code + use<> {
    let heard = heard.clone();
    move |instance: &Shared, event: Delivered| {
        let (port, text) = match event {
            Delivered::Connected { port, reconnected } => {
                if !listens_late {
                    instance.borrow_mut().start_port(port);
                }
                let text = if reconnected { "again" } else { "new" };
                (port, text.to_owned())
            }
            Delivered::Message { port, data } => (port, String::from_utf8(data).unwrap()),
            Delivered::PortClosed { port, reason } => (port, reason.code().to_owned()),
            _ => return Ok(()),
        };
        heard.borrow_mut().entry(port).or_default().push(text);
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Open,
    Send(usize),
    Close(usize),
    /// The worker's instance has a turn.
    Turn,
    /// It is to move, and its code listens to new ports from then on, or does not.
    Move(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Open),
        6 => (0..4_usize).prop_map(Step::Send),
        1 => (0..4_usize).prop_map(Step::Close),
        3 => Just(Step::Turn),
        2 => any::<bool>().prop_map(Step::Move),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A worker that moves about.
struct Moving<F: Code, M: Fn(bool) -> F> {
    places: Arc<Places>,
    inbox: Arc<Inbox>,
    activation: Activation<Scripted<F>>,
    code: M,
    /// Where it goes, and whether it listens late there.
    next: Option<(Arc<Inbox>, bool)>,
}

impl<F: Code, M: Fn(bool) -> F> Moving<F, M> {
    fn new(code: M) -> Self {
        let inbox = inbox();
        let places = Places::at(&inbox);
        let (_, activation) = instance(&inbox, &places, code(false));
        Self {
            places,
            inbox,
            activation,
            code,
            next: None,
        }
    }

    fn leave(&mut self, listens_late: bool) {
        if self.next.is_none() {
            let next = inbox();
            self.inbox.leave();
            self.inbox.stop(Stop::WhenSettled);
            self.places.are_at(Some(&next));
            self.next = Some((next, listens_late));
        }
    }

    fn turn(&mut self) {
        let progress = poll(&mut self.activation);
        let Some((next, listens_late)) = self.next.take() else {
            assert!(matches!(progress, Progress::Waiting(_)), "{progress:?}");
            return;
        };
        if progress != Progress::Ended(End::Stopped) {
            self.next = Some((next, listens_late));
            return;
        }
        assert!(take_along(&self.inbox).is_empty());
        let (_, activation) = instance(&next, &self.places, (self.code)(listens_late));
        (self.inbox, self.activation) = (next, activation);
    }
}

proptest! {
    #[test]
    fn every_message_is_heard_once_and_in_order_wherever_the_worker_goes(steps in steps()) {
        let heard = Heard::default();
        let mut worker = Moving::new(|late| notes(&heard, late));
        let mut ports: Vec<(Near, Vec<String>)> = vec![];
        let mut closed = vec![];
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Open if ports.len() < 4 => ports.push((Near::open(&worker.places), vec![])),
                Step::Open => {}
                Step::Send(port) => if let Some((near, sent)) = ports.get_mut(port) && !closed.contains(&port) {
                    let text = format!("message {number}");
                    prop_assert_eq!(near.send(text.clone()), Ok(()));
                    sent.push(text);
                },
                Step::Close(port) => if let Some((near, sent)) = ports.get_mut(port) && !closed.contains(&port) {
                    near.end().close(CloseReason::Closed);
                    sent.push("closed".to_owned());
                    closed.push(port);
                },
                Step::Turn => worker.turn(),
                Step::Move(listens_late) => worker.leave(listens_late),
            }
        }
        // Where it listens to all.
        for _ in 0..20 {
            worker.turn();
        }
        worker.leave(false);
        for _ in 0..20 {
            worker.turn();
        }
        for (near, sent) in &ports {
            prop_assert!(near.heard().is_empty(), "the opener notices nothing");
            let mut heard = heard.borrow_mut().remove(&near.id.other()).unwrap_or_default();
            let connects: Vec<String> = heard.extract_if(.., |it| *it == "new" || *it == "again").collect();
            prop_assert!(connects.iter().skip(1).all(|it| it == "again"), "{connects:?}");
            prop_assert_eq!(connects.first().map(String::as_str), Some("new"));
            prop_assert_eq!(&heard, sent);
            prop_assert_eq!(near.credit.messages(), 0);
        }
    }
}

#[test]
fn a_port_that_cannot_be_opened_again_is_lost() {
    let heard = Heard::default();
    let mut worker = Moving::new(|late| notes(&heard, late));
    let near = Near::open(&worker.places);
    worker.turn();
    worker.leave(false);
    worker.places.are_at(None);
    worker.turn();
    assert_eq!(near.heard(), ["it is nowhere", "closed: lost"]);
    assert_eq!(near.send("hello".into()), Err(Undelivered::Gone));
    assert!(Near::open(&worker.places).route.is_none());
}

#[test]
fn who_leaves_hears_what_it_waits_for_and_nothing_new() {
    let heard = Heard::default();
    let inbox = inbox();
    let places = Places::at(&inbox);
    let (shared, mut activation) = instance(&inbox, &places, notes(&heard, false));
    let near = Near::open(&places);
    for _ in 0..2 {
        poll(&mut activation);
    }
    shared.borrow_mut().hold(true); // a handler runs
    inbox.leave();
    inbox.stop(Stop::WhenSettled);
    near.send("new".into()).unwrap();
    let own = shared.borrow_mut().open_port(key(), None);
    shared.borrow_mut().start_port(own);
    for link in [own, own.other()] {
        let place = near.credit.take(1);
        let frame = Frame::Message {
            data: b"awaited".to_vec(),
            place,
            request: None,
        };
        inbox.receive(Incoming::Frame { link, frame }).ok().unwrap();
    }
    assert!(matches!(poll(&mut activation), Progress::Waiting(_)));
    assert_eq!(heard.borrow()[&own], ["awaited"]);
    assert_eq!(heard.borrow()[&near.id.other()], ["new"], "it is connected");
    shared.borrow_mut().hold(false);
    drop(shared);
    places.are_at(None);
    assert_eq!(poll(&mut activation), Progress::Ended(End::Stopped));
}

#[test]
fn requests_that_nobody_has_heard_of_are_given_to_who_moves_the_worker() {
    let inbox = inbox();
    let request = Request {
        method: http::Method::GET,
        url: "http://a/".to_owned(),
        headers: http::HeaderMap::new(),
        body: Body::Empty,
        websocket: false,
    };
    let opener = Arc::<Opener>::default();
    let end = LinkEnd::new(LinkId::of_new_link().other(), opener.clone());
    let link = end.id;
    let opening = Opening::new(Kind::Fetch(Box::new(request)), end);
    inbox.receive(Incoming::Opened(opening)).ok().unwrap();
    let reason = CloseReason::Closed;
    inbox
        .receive(Incoming::Closed { link, reason })
        .ok()
        .unwrap();
    inbox.leave();
    let unheard = take_along(&inbox).pop().unwrap();
    assert_eq!(unheard.opening.end.id, link);
    assert!(matches!(unheard.after[0], Incoming::Closed { .. }));
    assert!(opener.heard().is_empty(), "nothing is refused");
}

/// A client of a WebSocket that takes nothing: all that was sent to it waits.
#[derive(Default)]
struct Slow(Mutex<Vec<Delivery>>);

impl Receive for Slow {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        if let Incoming::Frame {
            frame: Frame::Socket(delivery),
            ..
        } = incoming
        {
            self.0.lock().unwrap().push(delivery);
        }
        Ok(())
    }
}

/// What is last said to a slow client whose socket moves, when the code says `messages` of the largest ones, and then this.
fn last_said(messages: usize, last: &Message) -> Envelope {
    let inbox = inbox();
    let most = Limits::default().socket_message_bytes;
    let code = |instance: &Shared, event: Delivered| {
        let mut instance = instance.borrow_mut();
        match event {
            Delivered::Fetch { link, .. } => {
                let head = Head {
                    status: http::StatusCode::SWITCHING_PROTOCOLS,
                    reason: "".into(),
                    headers: http::HeaderMap::new(),
                    content: Content::Socket(Lasts::Reopened),
                };
                instance.respond(link, head);
            }
            Delivered::SocketMoves { link, .. } => {
                let large = Message::Binary(vec![0; most].into());
                for message in std::iter::repeat_n(&large, messages).chain([last]) {
                    assert!(instance.send_to_client(link, message.clone()).is_ok());
                }
            }
            _ => {}
        }
        Ok(())
    };
    let (_, mut activation) = instance(&inbox, &Places::at(&inbox), code);
    let (id, client) = (LinkId::of_new_link(), Arc::<Slow>::default());
    let request = Request {
        method: http::Method::GET,
        url: "http://a/".to_owned(),
        headers: http::HeaderMap::new(),
        body: Body::Empty,
        websocket: true,
    };
    let opening = Opening::new(
        Kind::Fetch(Box::new(request)),
        LinkEnd::new(id.other(), client.clone()),
    );
    let departs = Envelope::Depart { now: false }.seal();
    let departs = Incoming::Frame {
        link: id.other(),
        frame: Frame::Socket(Delivery::unlimited(departs)),
    };
    for incoming in [Incoming::Opened(opening), departs] {
        assert!(inbox.receive(incoming).is_ok());
        poll(&mut activation);
    }
    let last = client.0.lock().unwrap().pop();
    Envelope::open(last.unwrap().message).unwrap()
}

#[test]
fn a_client_that_does_not_keep_up_while_its_socket_moves_is_closed() {
    let limits = Limits::default();
    let full = limits.socket_buffer_bytes / limits.socket_message_bytes;
    let one_more = Message::Text("more".into());
    let said = last_said(full + 1, &one_more);
    assert!(
        matches!(&said, Envelope::Message(Message::Close { code: 1013, .. })),
        "{said:?}"
    );
    let close = Message::Close {
        code: 1000,
        reason: "all is said".to_owned(),
    };
    assert_eq!(last_said(full.max(1), &close), Envelope::Left(0));
}
