//! Objects that live in the isolate of a server, with code in Rust.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portside_core::alarm::Alarm;
use portside_core::ids::WorkerKey;
use portside_core::keys::KeyRange;
use portside_core::limits::Limits;
use portside_core::migrations::Origin;
use portside_core::objects::ObjectId;
use portside_core::write::{Value, WriteBatch};
use portside_worker::activation::{Activation, End, Failure, Progress};
use portside_worker::caller::Call;
use portside_worker::cell::{Actor, Actors, Arrival, Cell};
use portside_worker::engine::{Engine, Exceeded, Shared, Uncaught};
use portside_worker::event::{Delivered, Incoming, Stop};
use portside_worker::host::{
    CommitTicket, Fabric, Identity, Ledger, Log, LogLine, Object, Reading, RequestName,
};
use portside_worker::inbox::Inbox;
use portside_worker::instance::{Instance, InstanceOptions};
use portside_worker::link::{Failure as LinkFailure, FailureCode, LinkId, Opening, Push, Receive};
use portside_worker::object::Database;
use portside_worker::testing;

/// What an object is asked: `write`, `touch` (a write that changes nothing), `arm` (sets
/// its alarm), `reset`, `spin` (goes over a limit), `hold`
/// (is not answered).
type Asked = (Actor, String);

/// What is written and in no commit yet.
type Key = Rc<RefCell<Option<u8>>>;

/// A store that takes everything at once, and links that lead nowhere.
#[derive(Default)]
struct Surroundings {
    commits: Mutex<Vec<WriteBatch>>,
}

impl Ledger for Surroundings {
    fn commit(&self, batch: WriteBatch, _: Option<RequestName>, ticket: CommitTicket) {
        self.commits.lock().unwrap().push(batch);
        ticket.settle(Ok(()));
    }
    fn read(&self, _: Vec<String>) -> Reading<BTreeMap<String, Value>> {
        Box::pin(async { Ok(BTreeMap::new()) })
    }
    fn list(&self, _: KeyRange) -> Reading<Vec<(String, Value)>> {
        Box::pin(async { Ok(vec![]) })
    }
    fn is_leased(&self) -> bool {
        true
    }
    fn is_owned(&self) -> bool {
        true
    }
    fn alarm_outdated(&self, _: Alarm) {}
}

impl Fabric for Surroundings {
    fn open(&self, _: &WorkerKey, _: Opening) -> Option<Arc<dyn Receive>> {
        None
    }
    fn deliver(&self, _: &WorkerKey, _: Incoming) -> Result<(), portside_worker::link::Failure> {
        Ok(()) // nobody has a socket here
    }
}

impl Log for Surroundings {
    fn log(&self, _: LogLine<'_>) {}
}

/// A database that is one key.
struct OneKey(Key);

impl Database for OneKey {
    fn is_in_transaction(&self) -> bool {
        false
    }
    fn commit_into(&mut self, batch: &mut WriteBatch, _: bool) -> Result<(), String> {
        if let Some(value) = self.0.take() {
            batch.write("key".to_owned(), Some([value].as_slice().into()));
        }
        Ok(())
    }
}

/// The code of a server and its objects.
#[derive(Default)]
struct Code {
    asked: Rc<RefCell<Vec<Asked>>>,
    objects: HashMap<Actor, (Shared, Key)>,
    ended: Rc<RefCell<Vec<Actor>>>,
    exceeded: bool,
}

impl Engine for Code {
    type Stored = ();

    fn turn_begins(&mut self) {}

    fn deliver(&mut self, actor: Actor, event: Delivered) {
        let Delivered::Rpc { link, push } = event else {
            return;
        };
        let what = push.path[0].clone();
        self.asked.borrow_mut().push((actor, what.clone()));
        let (instance, key) = &self.objects[&actor];
        let mut instance = instance.borrow_mut();
        match &*what {
            "write" => {
                *key.borrow_mut() = Some(1);
                instance.database_changed();
            }
            "touch" => drop(instance.database_changed()),
            "arm" => {
                let number = instance.set_alarm(Some(Alarm::at(i64::MAX / 2)));
                assert_eq!(instance.undurable(), number, "it has to be waited for");
            }
            "reset" => return instance.reset(LinkFailure::reset("begins anew"), true),
            "spin" => return self.exceeded = true,
            "hold" => return,
            _ => {}
        }
        instance.resolve(link, what.into_bytes());
        instance.end_request(link);
    }

    fn begin_object(&mut self, actor: Actor, instance: &Shared, (): ()) -> Result<(), String> {
        let key = Rc::default();
        let database = OneKey(Rc::clone(&key));
        instance.borrow_mut().set_database(Box::new(database));
        self.objects.insert(actor, (instance.clone(), key));
        Ok(())
    }

    fn end_object(&mut self, actor: Actor) {
        self.objects.remove(&actor);
        self.ended.borrow_mut().push(actor);
    }

    fn run(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Uncaught>> {
        Poll::Ready(Ok(()))
    }

    fn poll_loaded(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(Ok(()))
    }

    fn exceeded(&mut self, _: bool) -> Option<Exceeded> {
        self.exceeded.then(|| Exceeded::Cpu("too long".to_owned()))
    }

    fn should_yield(&self) -> bool {
        false
    }
}

struct Test {
    activation: Activation<Code>,
    cell: Arc<Cell<()>>,
    surroundings: Arc<Surroundings>,
    server: Arc<Inbox>,
    asked: Rc<RefCell<Vec<Asked>>>,
    ended: Rc<RefCell<Vec<Actor>>>,
    now: Duration,
}

fn options(
    identity: Identity,
    inbox: &Arc<Inbox>,
    surroundings: &Arc<Surroundings>,
) -> InstanceOptions {
    let is_object = matches!(identity, Identity::Object(_));
    InstanceOptions {
        ledger: is_object.then(|| surroundings.clone() as Arc<dyn Ledger>),
        ..testing::options(identity, inbox, surroundings.clone(), surroundings.clone())
    }
}

/// An object that lives in a cell, as others know it.
struct Resident {
    inbox: Arc<Inbox>,
    end: Arc<Mutex<Option<End>>>,
}

impl Resident {
    fn ask(&self, what: &str) -> Call<Vec<u8>> {
        let (call, opening) = Call::push(Push {
            path: vec![what.to_owned()],
            arguments: None,
        });
        let received = self.inbox.receive(Incoming::Opened(opening));
        assert!(received.is_ok());
        call.opened(self.inbox.clone());
        call
    }

    fn end(&self) -> Option<End> {
        self.end.lock().unwrap().clone()
    }
}

impl Test {
    fn new() -> Self {
        let surroundings = Arc::<Surroundings>::default();
        let server = Arc::new(Inbox::new(100, 1 << 20));
        let instance: Shared = Rc::new(RefCell::new(Instance::new(options(
            Identity::Server,
            &server,
            &surroundings,
        ))));
        let engine = Code::default();
        let (asked, ended) = (engine.asked.clone(), engine.ended.clone());
        let (cell, actors) = (Arc::<Cell<()>>::default(), Rc::<Actors>::default());
        let activation =
            Activation::with_objects(instance, engine, Duration::ZERO, cell.clone(), actors);
        Self {
            activation,
            cell,
            surroundings,
            server,
            asked,
            ended,
            now: Duration::ZERO,
        }
    }

    fn object(&self, name: &str) -> Resident {
        let class = Origin {
            tag: "v1".into(),
            name: "Class".into(),
        };
        let id = ObjectId::of_name(&class, name);
        let object = Object {
            address: id.address(&class),
            class: "Class".into(),
            id,
            name: Some(name.into()),
        };
        let inbox = Arc::new(Inbox::new(100, 1 << 20));
        let end = Arc::<Mutex<Option<End>>>::default();
        let ended = end.clone();
        let arrival = Arrival {
            options: options(Identity::Object(object), &inbox, &self.surroundings),
            stored: (),
            ended: Box::new(move |end| *ended.lock().unwrap() = Some(end)),
        };
        assert!(self.cell.admit(arrival).is_ok());
        Resident { inbox, end }
    }

    fn settle(&mut self) -> Progress {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..20 {
            if let Progress::Ended(end) = self.activation.poll(&mut cx, self.now) {
                return Progress::Ended(end);
            }
        }
        self.activation.poll(&mut cx, self.now)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.take()
    }
}

fn answer(mut call: Call<Vec<u8>>) -> Option<Result<Vec<u8>, LinkFailure>> {
    call.answer.try_recv().ok()
}

#[test]
fn objects_in_one_isolate_have_events_writes_and_ends_of_their_own() {
    let mut test = Test::new();
    let (a, b) = (test.object("a"), test.object("b"));
    let (written, read) = (a.ask("write"), b.ask("read"));
    test.settle();
    assert_eq!(answer(written), Some(Ok(b"write".to_vec())));
    assert_eq!(answer(read), Some(Ok(b"read".to_vec())));
    assert_eq!(test.surroundings.commits.lock().unwrap().len(), 1);
    let asked = test.asked();
    assert_ne!(asked[0].0, asked[1].0);

    let (reset, waits) = (a.ask("reset"), b.ask("hold"));
    test.settle();
    let failure = answer(reset).unwrap().unwrap_err();
    assert_eq!(
        (failure.code, &*failure.message),
        (FailureCode::Reset, "begins anew")
    );
    assert!(matches!(a.end(), Some(End::Failed(Failure::Lost(_)))));
    assert_eq!((b.end(), answer(waits)), (None, None), "b goes on");
}

#[test]
fn a_write_that_changes_nothing_holds_nothing_back() {
    let mut test = Test::new();
    let a = test.object("a");
    let (touched, after) = (a.ask("touch"), a.ask("read"));
    test.settle();
    assert_eq!(answer(touched), Some(Ok(b"touch".to_vec())));
    assert_eq!(answer(after), Some(Ok(b"read".to_vec())));
    assert!(test.surroundings.commits.lock().unwrap().is_empty());
}

#[test]
fn an_alarm_is_a_write_that_answers_wait_for() {
    let mut test = Test::new();
    let armed = test.object("a").ask("arm");
    test.settle();
    assert_eq!(answer(armed), Some(Ok(b"arm".to_vec())));
    assert_eq!(test.surroundings.commits.lock().unwrap().len(), 1);
}

#[test]
fn an_object_with_much_to_do_leaves_others_their_turn() {
    let mut test = Test::new();
    let (a, b) = (test.object("a"), test.object("b"));
    let flood: Vec<_> = (0..60).map(|_| a.ask("read")).collect();
    let one = b.ask("read");
    test.settle();
    assert!(answer(one).is_some());
    assert_eq!(flood.into_iter().filter_map(answer).count(), 60);
    let asked = test.asked();
    let place = asked.iter().position(|(actor, _)| *actor != asked[0].0);
    assert!(place.unwrap() < 20, "{place:?}");
}

#[test]
fn idle_objects_sleep_and_what_comes_later_finds_them_gone() {
    let mut test = Test::new();
    let (a, b) = (test.object("a"), test.object("b"));
    let _held = b.ask("hold");
    test.settle();
    test.now = Limits::default().idle * 2;
    test.settle();
    assert_eq!((a.end(), b.end()), (Some(End::Slept), None));
    assert_eq!(test.ended.take().len(), 1);
    let late = Incoming::Closed {
        link: LinkId(1),
        reason: portside_worker::link::CloseReason::Closed,
    };
    assert!(a.inbox.receive(late).is_err(), "it has to be woken");
}

#[test]
fn a_limit_ends_all_and_the_server_stays_as_long_as_there_are_objects() {
    let mut test = Test::new();
    let (a, b) = (test.object("a"), test.object("b"));
    let held = b.ask("hold");
    test.settle();
    test.server.stop(Stop::WhenFlushed);
    assert!(matches!(test.settle(), Progress::Waiting(_)));
    let _spins = a.ask("spin");
    assert!(matches!(test.settle(), Progress::Ended(End::Failed(_))));
    for object in [&a, &b] {
        let ended = object.end();
        assert!(
            matches!(ended, Some(End::Failed(Failure::Cell(_)))),
            "{ended:?}"
        );
    }
    assert_eq!(answer(held).unwrap().unwrap_err().code, FailureCode::Reset);
    let late = Arrival {
        options: options(Identity::Server, &test.server, &test.surroundings),
        stored: (),
        ended: Box::new(|_| {}),
    };
    assert!(test.cell.admit(late).is_err(), "another has to be found");
}
