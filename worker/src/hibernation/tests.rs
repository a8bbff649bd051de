//! The registry without an instance.

use std::time::Instant;

use super::*;
use crate::link::{LinkId, Opening, Receive, Rejected};

/// Whom the object is reached by, and what a client gets.
#[derive(Default)]
struct Around {
    delivered: Mutex<Vec<SocketEvent>>,
    got: Mutex<Vec<Message>>,
    refusal: Mutex<Option<Failure>>,
    away: Arc<Away>,
    /// Ends of ways that were told that they are over.
    closed: Mutex<usize>,
    /// What happens while the next message is passed on, or the next answer is begun.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Fabric for Around {
    fn open(&self, _: &WorkerKey, _: Opening) -> Option<Arc<dyn Receive>> {
        None
    }

    fn deliver(&self, _: &WorkerKey, incoming: Incoming) -> Result<(), Failure> {
        self.happens();
        if let Some(failure) = self.refusal.lock().unwrap().clone() {
            return Err(failure);
        }
        let Incoming::Hibernatable(event) = incoming else {
            panic!("only what is said on sockets")
        };
        self.delivered.lock().unwrap().push(event);
        Ok(())
    }
}

impl Receive for Around {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        match incoming {
            Incoming::Frame {
                frame: Frame::Socket(delivery),
                ..
            } => self.got.lock().unwrap().push(delivery.message),
            Incoming::Frame { .. } => self.happens(),
            Incoming::Closed { .. } => *self.closed.lock().unwrap() += 1,
            _ => {}
        }
        Ok(())
    }
}

impl Around {
    fn happens(&self) {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(happens) = meanwhile {
            happens();
        }
    }

    fn sockets(self: &Arc<Self>) -> Arc<Sockets> {
        let address = WorkerKey::new("w.js", "a").unwrap();
        Sockets::new(address, self.clone(), 100, self.away.clone())
    }

    /// A socket that a client has.
    fn client(self: &Arc<Self>, sockets: &Arc<Sockets>, tags: &[&str]) -> SocketId {
        let socket = accept(sockets, tags);
        let end = LinkEnd::new(LinkId::of_new_link().other(), self.clone());
        assert!(sockets.bind(socket, 0, end).is_ok());
        socket
    }

    fn delivered(&self) -> Vec<Message> {
        let events = std::mem::take(&mut *self.delivered.lock().unwrap());
        let messages = events.into_iter().map(|event| event.delivery.message);
        messages.collect()
    }

    /// What the client gets.
    fn got(&self) -> Vec<Message> {
        let said = self.said().into_iter();
        said.filter_map(|envelope| match envelope {
            Envelope::Message(message) => Some(message),
            _ => None,
        })
        .collect()
    }

    /// What whoever holds the client gets.
    fn said(&self) -> Vec<Envelope> {
        let got = std::mem::take(&mut *self.got.lock().unwrap());
        let said = got.into_iter().map(Envelope::open);
        said.map(Result::unwrap).collect()
    }
}

fn accept(sockets: &Sockets, tags: &[&str]) -> SocketId {
    let tags = tags.iter().map(|&tag| tag.to_owned());
    sockets.accept(tags.collect(), None).unwrap()
}

fn text(text: &'static str) -> Message {
    Message::Text(text.into())
}

fn hear(sockets: &Arc<Sockets>, socket: SocketId, message: Message) {
    hear_sealed(sockets, socket, Envelope::Message(message));
}

fn hear_sealed(sockets: &Arc<Sockets>, socket: SocketId, envelope: Envelope) {
    let delivery = Delivery::unlimited(envelope.seal());
    sockets.reader(socket).hear(delivery);
}

fn say(sockets: &Sockets, socket: SocketId, message: Message) {
    let message = Envelope::Message(message).seal();
    let delivery = sockets.place(socket, message).unwrap();
    sockets.send(socket, delivery);
}

#[test]
fn an_automatic_response_reaches_no_object() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    sockets.set_auto_response(Some(AutoResponse {
        request: "ping".into(),
        response: "pong".into(),
    }));
    assert_eq!(sockets.answered_at(socket), None);
    hear(&sockets, socket, text("ping"));
    assert_eq!(
        (around.got(), around.delivered()),
        (vec![text("pong")], vec![])
    );
    assert!(sockets.answered_at(socket).is_some());
    let bytes = Message::Binary("ping".into());
    for other in [text("ping "), bytes] {
        hear(&sockets, socket, other.clone());
        assert_eq!((around.got(), around.delivered()), (vec![], vec![other]));
    }
}

#[test]
fn a_client_that_does_not_keep_up_with_automatic_responses_is_closed() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    sockets.set_auto_response(Some(AutoResponse {
        request: "ping".into(),
        response: vec![b'x'; 60].into(),
    }));
    let behind = sockets.place(
        socket,
        text("50 bytes that the client has not taken as yet...."),
    );
    hear(&sockets, socket, text("ping"));
    let last = around.got().pop();
    assert!(
        matches!(last, Some(Message::Close { code: 1013, .. })),
        "{last:?}"
    );
    assert!(sockets.is_empty());
    drop(behind);
}

#[test]
fn sockets_are_listed_by_age_and_tag_until_their_end_was_heard() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let [a, b, c] = [["a", "x"], ["b", "x"], ["c", "y"]].map(|tags| around.client(&sockets, &tags));
    assert_eq!(sockets.list(None), [c, b, a]);
    assert_eq!(sockets.list(Some("x")), [a, b]);
    assert_eq!(sockets.tags(c), ["c", "y"]);
    hear(&sockets, a, close(4000, "why"));
    assert_eq!(sockets.list(Some("x")), [a, b], "its handler sees it");
    sockets.ended(a);
    assert_eq!(sockets.list(None), [c, b]);
}

#[test]
fn what_follows_a_close_is_not_heard_and_an_object_may_answer_it() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    hear(&sockets, socket, close(4000, "why"));
    hear(&sockets, socket, close(1006, ""));
    assert_eq!(around.delivered(), [close(4000, "why")]);
    let (here, there) = (false, true);
    assert_eq!(sockets.closing(socket), Closing { here, there });
    sockets.ended(socket);
    say(&sockets, socket, close(4001, "answer"));
    assert_eq!(around.got(), [close(4001, "answer")]);
    assert!(sockets.is_empty());
}

#[test]
fn a_close_that_waits_for_the_gate_is_sent_after_its_handler() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    hear(&sockets, socket, close(4000, "why"));
    sockets.closes(socket);
    let answer = Envelope::Message(close(4000, "answer")).seal();
    let delivery = sockets.place(socket, answer).unwrap();
    sockets.ended(socket);
    sockets.send(socket, delivery);
    assert_eq!(around.got(), [close(4000, "answer")]);
    assert!(sockets.is_empty());
}

#[test]
fn those_that_are_never_answered_are_bounded() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    for _ in 0..2 * MOST_UNANSWERED {
        let socket = around.client(&sockets, &[]);
        hear(&sockets, socket, close(1000, ""));
        sockets.ended(socket);
    }
    assert_eq!(sockets.len(), MOST_UNANSWERED);
}

#[test]
fn an_instance_leaves_the_sockets_of_clients_with_what_is_attached() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &["a"]);
    sockets.attach(socket, b"clone");
    let own = accept(&sockets, &[]);
    sockets.instance_ended();
    assert_eq!(sockets.list(None), [socket]);
    assert_eq!(sockets.attachment(socket).as_deref(), Some(&b"clone"[..]));
    assert_eq!(sockets.attachment(own), None);
    sockets.end_all(1006, "");
    assert_eq!(around.got(), [close(1006, "")]);
    assert!(sockets.is_empty());
}

#[test]
fn a_client_whose_object_cannot_be_reached_hears_why() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    for (failure, code) in [
        (Failure::overloaded("full"), 1013),
        (Failure::failed("crashes"), 1011),
    ] {
        let socket = around.client(&sockets, &[]);
        *around.refusal.lock().unwrap() = Some(failure);
        hear(&sockets, socket, text("a"));
        let got = around.got();
        assert!(
            matches!(got[..], [Message::Close { code: got, .. }] if got == code),
            "{got:?}"
        );
    }
    assert!(sockets.is_empty());
}

#[test]
fn what_an_object_tells_itself_is_bounded_and_counts_until_it_is_heard() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = accept(&sockets, &[]);
    let large = Message::Binary(vec![0; 60].into());
    assert_eq!(sockets.hear_own(socket, large.clone()), Ok(None));
    let refused = sockets.hear_own(socket, large.clone());
    assert_eq!(refused, Err(Undelivered::Overloaded));
    around.delivered();
    assert_eq!(sockets.hear_own(socket, large), Ok(None));
}

#[test]
fn an_object_has_no_more_sockets_than_it_may() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    for _ in 0..MOST_SOCKETS {
        accept(&sockets, &[]);
    }
    assert_eq!(sockets.accept(vec![], None), Err(TooMany));
}

/// What was said of a socket to be kept, last.
fn last_kept(said: &[Envelope]) -> Kept {
    let kept = said.iter().rev().find_map(|envelope| match envelope {
        Envelope::State(state) => Kept::decode(state.clone()),
        _ => None,
    });
    kept.expect("nothing was kept")
}

fn left(said: &[Envelope]) -> Option<u64> {
    match said.last() {
        Some(Envelope::Left(heard)) => Some(*heard),
        _ => None,
    }
}

/// The object hears all that was passed on.
fn is_heard(around: &Around) -> Vec<Message> {
    let events = std::mem::take(&mut *around.delivered.lock().unwrap());
    let heard = events.into_iter().filter(SocketEvent::is_heard);
    heard.map(|event| event.delivery.message).collect()
}

impl Around {
    /// Somebody brings a socket back.
    fn brings(self: &Arc<Self>, sockets: &Arc<Sockets>, kept: Kept) -> Option<SocketId> {
        let end = LinkEnd::new(LinkId::of_new_link().other(), self.clone());
        sockets.adopt(kept, end)
    }
}

#[test]
fn a_socket_comes_to_another_process_with_all_that_the_object_knows_of_it() {
    let (here, there) = (Arc::<Around>::default(), Arc::<Around>::default());
    let (sockets, others) = (here.sockets(), there.sockets());
    let socket = here.client(&sockets, &["a", "b"]);
    sockets.attach(socket, b"clone");
    let response = AutoResponse {
        request: "ping".into(),
        response: "pong".into(),
    };
    sockets.set_auto_response(Some(response.clone()));
    sockets.set_event_timeout(Some(Duration::from_secs(3)));
    hear(&sockets, socket, text("ping"));
    hear(&sockets, socket, text("heard"));
    is_heard(&here);
    hear(&sockets, socket, text("not heard"));
    sockets.leave_all();
    let said = here.said();
    assert_eq!((left(&said), sockets.len()), (Some(2), 0));

    there.brings(&others, last_kept(&said));
    let [socket] = others.list(None)[..] else {
        panic!("one socket")
    };
    assert_eq!(others.tags(socket), ["a", "b"]);
    assert_eq!(others.attachment(socket).as_deref(), Some(&b"clone"[..]));
    assert!(others.answered_at(socket).is_some());
    assert_eq!(others.auto_response(), Some(response));
    assert_eq!(others.event_timeout(), Some(Duration::from_secs(3)));
    assert_eq!(there.delivered(), [], "nobody was woken");
    say(&others, socket, text("to the client"));
    hear(&others, socket, text("ping"));
    assert_eq!(there.got(), [text("to the client"), text("pong")]);
}

#[test]
fn what_was_heard_is_said_and_what_is_refused_for_now_is_not_heard() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    hear(&sockets, socket, text("a"));
    hear(&sockets, socket, text("b"));
    assert_eq!(is_heard(&around).len(), 2);
    sockets.report();
    sockets.report();
    assert_eq!(around.said(), [Envelope::Heard(2)], "once");
    *around.refusal.lock().unwrap() = Some(Failure::unavailable("it leaves"));
    hear(&sockets, socket, text("c"));
    *around.refusal.lock().unwrap() = None;
    hear(&sockets, socket, close(1000, ""));
    assert_eq!(around.delivered(), [], "it would be out of order");
    assert_eq!(sockets.closing(socket), Closing::default());
    sockets.leave_all();
    assert_eq!(left(&around.said()), Some(2));
}

#[test]
fn what_waits_for_an_object_that_cannot_be_had_now_goes_where_it_can() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    for message in [text("a"), close(1000, "")] {
        let socket = around.client(&sockets, &[]);
        hear(&sockets, socket, message);
        let event = around.delivered.lock().unwrap().pop().unwrap();
        event.refuse(&Failure::unavailable("the store fails"));
        assert_eq!((left(&around.said()), sockets.len()), (Some(0), 0));
    }
    let socket = around.client(&sockets, &[]);
    hear(&sockets, socket, text("a"));
    let event = around.delivered.lock().unwrap().pop().unwrap();
    event.refuse(&Failure::failed("it crashes"));
    assert_eq!(around.got(), [close(1006, "")]);
}

#[test]
fn a_socket_whose_way_ends_is_the_same_when_it_is_brought_back() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    let old = sockets.reader(socket);
    hear(&sockets, socket, text("a"));
    hear_sealed(&sockets, socket, Envelope::Depart { now: false });
    let said = around.said();
    assert_eq!(left(&said), Some(0), "the object has not heard it yet");
    old.hear(Delivery::unlimited(text("late")));
    assert_eq!(is_heard(&around), [], "both come again");
    assert_eq!(sockets.list(None), [socket], "the object sees nothing");
    sockets.attach(socket, b"newer");
    say(&sockets, socket, text("1"));
    say(&sockets, socket, text("2"));
    assert_eq!((around.said(), sockets.waiting(socket)), (vec![], 2));
    around.brings(&sockets, last_kept(&said));
    assert_eq!(sockets.list(None), [socket]);
    let said = around.said();
    assert_eq!(last_kept(&said).attachment.as_deref(), Some(&b"newer"[..]));
    let rest: Vec<_> = said[1..].iter().take(2).cloned().collect();
    assert_eq!(rest, [text("1"), text("2")].map(Envelope::Message));
    // Of the way before nothing is believed any more.
    old.hear(Delivery::unlimited(text("too late")));
    assert_eq!(is_heard(&around), []);
    hear(&sockets, socket, text("b"));
    assert_eq!(is_heard(&around), [text("b")]);
    sockets.report();
    assert_eq!(around.said(), [Envelope::Heard(1)], "on this way");
}

#[test]
fn who_brings_a_socket_that_is_here_takes_the_place_of_the_way_before() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    let kept = Envelope::open(sockets.kept(socket).unwrap()).unwrap();
    around.brings(&sockets, last_kept(&[kept]));
    assert_eq!((sockets.len(), *around.closed.lock().unwrap()), (1, 1));
}

#[test]
fn an_object_hears_that_a_client_is_lost_that_nobody_brings_back() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    let back = around.client(&sockets, &[]);
    let kept = Envelope::open(sockets.kept(back).unwrap()).unwrap();
    hear(&sockets, back, text("in doubt"));
    for socket in [socket, back] {
        let lost = Delivery::unlimited(close(1006, ""));
        sockets.reader(socket).hear(lost);
    }
    around.brings(&sockets, last_kept(&[kept]));
    around.away.give_up(Instant::now());
    assert_eq!(
        is_heard(&around),
        [text("in doubt")],
        "nobody says it again"
    );
    around.away.give_up(Instant::now() + PATIENCE);
    assert_eq!(around.delivered(), [close(1006, "")]);
    sockets.ended(socket);
    assert_eq!(sockets.list(None), [back]);
}

fn with_pings(around: &Arc<Around>) -> (Arc<Sockets>, SocketId) {
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    sockets.set_auto_response(Some(AutoResponse {
        request: "ping".into(),
        response: "pong".into(),
    }));
    (sockets, socket)
}

#[test]
fn an_automatic_response_counts_when_all_before_it_is_heard() {
    let around = Arc::<Around>::default();
    let (sockets, socket) = with_pings(&around);
    for message in ["1", "ping", "ping", "2", "ping"] {
        hear(&sockets, socket, text(message));
    }
    let said = around.said();
    let counts = said.iter().filter_map(|said| match said {
        Envelope::Heard(heard) => Some(*heard),
        _ => None,
    });
    assert_eq!(
        counts.max(),
        Some(0),
        "whoever holds the client forgets the first ones"
    );
    let second = around.delivered.lock().unwrap().pop().unwrap();
    assert_eq!(is_heard(&around), [text("1")]);
    sockets.report();
    assert_eq!(around.said(), [Envelope::Heard(3)]);
    assert!(second.is_heard());
    hear(&sockets, socket, text("ping"));
    assert_eq!(around.said().last(), Some(&Envelope::Heard(6)));
}

#[test]
fn nothing_is_answered_behind_what_the_object_could_not_be_told() {
    let around = Arc::<Around>::default();
    let (sockets, socket) = with_pings(&around);
    *around.refusal.lock().unwrap() = Some(Failure::unavailable("it leaves"));
    hear(&sockets, socket, text("not heard"));
    hear(&sockets, socket, text("ping"));
    assert_eq!(around.said(), [], "both come again");
    sockets.leave_all();
    assert_eq!(left(&around.said()), Some(0));
}

#[test]
fn counts_grow_whoever_tells_of_them() {
    let around = Arc::<Around>::default();
    let (sockets, socket) = with_pings(&around);
    std::thread::scope(|scope| {
        let ends = Arc::new(AtomicU64::new(0));
        let over = ends.clone();
        let sockets = &sockets;
        scope.spawn(move || {
            while over.load(Ordering::Relaxed) == 0 {
                sockets.report();
            }
        });
        for _ in 0..20_000 {
            hear(sockets, socket, text("ping"));
        }
        ends.store(1, Ordering::Relaxed);
    });
    let said = around.said();
    let counts = said.iter().filter_map(|said| match said {
        Envelope::Heard(heard) => Some(*heard),
        _ => None,
    });
    assert!(counts.is_sorted());
    assert!(said.contains(&Envelope::Heard(20_000)));
}

#[test]
fn clients_that_an_object_which_stays_has_not_heard_are_heard_again() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let [socket, lost] = [(); 2].map(|()| around.client(&sockets, &[]));
    hear(&sockets, socket, text("in the inbox"));
    *around.refusal.lock().unwrap() = Some(Failure::unavailable("it leaves"));
    hear(&sockets, socket, text("refused"));
    hear(&sockets, lost, text("refused"));
    sockets
        .reader(lost)
        .hear(Delivery::unlimited(close(1006, "")));
    around.away.give_up(Instant::now() + PATIENCE);
    *around.refusal.lock().unwrap() = None;

    sockets.recover();
    let said = around.said();
    assert_eq!(left(&said), Some(0), "both come again");
    assert_eq!(is_heard(&around), []);
    around.brings(&sockets, last_kept(&said));
    assert_eq!(sockets.list(None), [lost, socket]);
    for message in ["in the inbox", "refused"] {
        hear(&sockets, socket, text(message));
        assert_eq!(is_heard(&around), [text(message)]);
    }
    around.away.give_up(Instant::now() + PATIENCE);
    assert_eq!(is_heard(&around), [close(1006, "")], "of the other one");
}

#[test]
fn a_close_that_may_not_have_arrived_is_said_again_when_the_socket_is_brought_back() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let lost = || Delivery::unlimited(close(1006, ""));
    for is_sent_before in [true, false] {
        let socket = around.client(&sockets, &[]);
        let kept = Envelope::open(sockets.kept(socket).unwrap()).unwrap();
        let closes = || {
            sockets.closes(socket);
            say(&sockets, socket, close(4000, "why"));
        };
        if is_sent_before {
            closes();
            sockets.reader(socket).hear(lost());
        } else {
            sockets.reader(socket).hear(lost());
            closes();
        }
        around.got();
        around.brings(&sockets, last_kept(&[kept]));
        assert_eq!(sockets.list(None), [socket]);
        assert_eq!(around.got(), [close(4000, "why")]);
        hear(&sockets, socket, close(4000, "why"));
        assert_eq!(is_heard(&around), [close(4000, "why")]);
        sockets.ended(socket);
        assert!(sockets.is_empty());
    }
}

#[test]
fn an_object_hears_that_a_client_is_lost_that_it_has_closed() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    sockets.closes(socket);
    say(&sockets, socket, close(4000, "why"));
    sockets
        .reader(socket)
        .hear(Delivery::unlimited(close(1006, "")));
    around.away.give_up(Instant::now() + PATIENCE);
    assert_eq!(is_heard(&around), [close(1006, "")]);
    sockets.ended(socket);
    assert!(sockets.is_empty());
}

#[test]
fn what_came_on_a_way_before_says_nothing_of_the_present_one() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let socket = around.client(&sockets, &[]);
    let kept = last_kept(&[Envelope::open(sockets.kept(socket).unwrap()).unwrap()]);
    let (holder, registry) = (around.clone(), sockets.clone());
    let brings = move || assert!(holder.brings(&registry, kept).is_some());
    *around.meanwhile.lock().unwrap() = Some(Box::new(brings));
    *around.refusal.lock().unwrap() = Some(Failure::unavailable("it leaves"));
    hear(&sockets, socket, text("refused when it is held by another"));
    *around.refusal.lock().unwrap() = None;
    around.said();
    // As if these had been looked at just before.
    sockets.pass_on(socket, 0, Delivery::unlimited(text("late")));
    sockets.depart(socket, 0);
    sockets.lose_way(socket, 0);
    hear(&sockets, socket, text("a"));
    assert_eq!(is_heard(&around), [text("a")]);
    sockets.report();
    assert_eq!(around.said(), [Envelope::Heard(1)]);
}

#[test]
fn one_that_is_brought_when_the_object_leaves_goes_on_alone() {
    let around = Arc::<Around>::default();
    let (sockets, others) = (around.sockets(), around.sockets());
    let [socket, other] = [(); 2].map(|()| around.client(&sockets, &[]));
    let kept = Envelope::open(sockets.kept(socket).unwrap()).unwrap();
    let kept = last_kept(&[kept]);
    assert_eq!(around.brings(&sockets, kept.clone()), Some(socket));
    around.said();
    sockets.leave_one(socket);
    assert_eq!(left(&around.said()), Some(0));
    assert_eq!(sockets.list(None), [other], "the object still has it");

    let closed = *around.closed.lock().unwrap();
    let leaves = others.clone();
    *around.meanwhile.lock().unwrap() = Some(Box::new(move || leaves.leave_all()));
    around.brings(&others, kept);
    let closed = *around.closed.lock().unwrap() - closed;
    assert_eq!(
        (others.len(), closed),
        (0, 1),
        "whoever brought it sees that it is not here"
    );
}

#[test]
fn a_socket_is_found_by_its_token_for_as_long_as_it_is_here() {
    let around = Arc::<Around>::default();
    let sockets = around.sockets();
    let count = || {
        let state = sockets.lock();
        let is_found =
            |(socket, entry): (&SocketId, &Entry)| state.by_token[&entry.token] == *socket;
        assert!(state.all.iter().all(is_found));
        assert_eq!(state.by_token.len(), state.all.len());
        state.all.len()
    };
    let all: Vec<_> = (0..6).map(|_| around.client(&sockets, &[])).collect();
    accept(&sockets, &[]);
    let kept = Envelope::open(sockets.kept(all[0]).unwrap()).unwrap();
    assert_eq!(count(), 7);
    sockets.instance_ended();
    assert_eq!(count(), 6, "not the one that the instance had both ends of");
    sockets.end(all[1], close(1011, ""));
    hear(&sockets, all[2], close(1000, ""));
    sockets.ended(all[2]);
    say(&sockets, all[2], close(1000, ""));
    sockets.leave_one(all[0]);
    assert_eq!(count(), 3);
    let brought = around.brings(&sockets, last_kept(&[kept]));
    assert!(brought.is_some_and(|socket| !all.contains(&socket)));
    assert_eq!(count(), 4);
    sockets.end_all(1006, "");
    assert_eq!(count(), 0);
}
