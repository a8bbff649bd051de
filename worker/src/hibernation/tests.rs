//! The registry without an instance.

use super::*;
use crate::link::{LinkId, Opening, Receive, Rejected};

/// Whom the object is reached by, and what a client gets.
#[derive(Default)]
struct Around {
    delivered: Mutex<Vec<SocketEvent>>,
    got: Mutex<Vec<Message>>,
    refusal: Mutex<Option<Failure>>,
}

impl Fabric for Around {
    fn open(&self, _: &WorkerKey, _: Opening) -> Option<Arc<dyn Receive>> {
        None
    }

    fn deliver(&self, _: &WorkerKey, incoming: Incoming) -> Result<(), Failure> {
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
        if let Incoming::Frame {
            frame: Frame::Socket(delivery),
            ..
        } = incoming
        {
            self.got.lock().unwrap().push(delivery.message);
        }
        Ok(())
    }
}

impl Around {
    fn sockets(self: &Arc<Self>) -> Arc<Sockets> {
        let address = WorkerKey::new("w.js", "a").unwrap();
        Sockets::new(address, self.clone(), 100)
    }

    /// A socket that a client has.
    fn client(self: &Arc<Self>, sockets: &Arc<Sockets>, tags: &[&str]) -> SocketId {
        let socket = accept(sockets, tags);
        let end = LinkEnd::new(LinkId::of_new_link().other(), self.clone());
        assert!(sockets.bind(socket, end).is_ok());
        socket
    }

    fn delivered(&self) -> Vec<Message> {
        let events = std::mem::take(&mut *self.delivered.lock().unwrap());
        let messages = events.into_iter().map(|event| event.delivery.message);
        messages.collect()
    }

    fn got(&self) -> Vec<Message> {
        std::mem::take(&mut self.got.lock().unwrap())
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
    sockets.reader(socket).hear(Delivery::unlimited(message));
}

fn say(sockets: &Sockets, socket: SocketId, message: Message) {
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
    let delivery = sockets.place(socket, close(4000, "answer")).unwrap();
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
        (Failure::unavailable("closing"), 1012),
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
