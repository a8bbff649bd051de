//! Ports to workers of other pods, and to workers that move.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use portside_core::ids::WorkerKey;
use portside_router::Target;
use portside_router::places::Here;
use portside_worker::engine::Shared;
use portside_worker::event::{Delivered, Incoming};
use portside_worker::host::Fabric;
use portside_worker::link::{
    CloseReason, Failure, Frame, Kind, LinkEnd, Opening, Receive, Rejected, Undelivered,
};
use portside_worker::testing::Opener;
use tokio::task::{LocalSet, yield_now};

use crate::world::{Code, Pod, World, turns};

fn key(name: &str) -> WorkerKey {
    WorkerKey::new("w.js", name).unwrap()
}

/// An open port, at its opener.
struct Port {
    end: LinkEnd,
    opener: Arc<Opener>,
}

impl Port {
    fn open(pod: &Pod, to: &WorkerKey) -> Self {
        let (mut end, opener) = (LinkEnd::unopened(), Arc::<Opener>::default());
        let opening = Opening::new(Kind::Port, LinkEnd::new(end.id.other(), opener.clone()));
        end.opened(pod.router.open(to, opening));
        Self { end, opener }
    }

    fn send(&self, text: &str) -> Result<(), Undelivered> {
        self.end.send(Frame::Message {
            place: self.end.credit.take(text.len()),
            data: text.into(),
            request: None,
        })
    }

    /// What it has heard, once that is so much.
    async fn heard(&self, count: usize) -> Vec<String> {
        for _ in 0..10_000 {
            if self.opener.heard().len() >= count {
                break;
            }
            yield_now().await;
        }
        self.opener.heard().clone()
    }
}

/// Answers each message, and says how it was connected.
fn echo() -> Code {
    Rc::new(|instance: &Shared, _: &WorkerKey, event: Delivered| {
        let mut instance = instance.borrow_mut();
        match event {
            Delivered::Connected { port, reconnected } => {
                instance.start_port(port);
                let text: &[u8] = if reconnected { b"again" } else { b"new" };
                assert!(instance.post(port, text, None).unwrap());
            }
            Delivered::Message { port, data } if data == b"close" => instance.close_port(port),
            Delivered::Message { port, data } => {
                assert!(instance.post(port, &data, None).unwrap());
            }
            _ => {}
        }
    })
}

async fn locally<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

#[tokio::test]
async fn a_port_reaches_a_worker_of_another_pod() {
    locally(async {
        let world = World::new(2, echo()).await;
        let to = key("a");
        world.give(&to, 1, 1, &[0, 1]);
        let port = Port::open(&world.pods[0], &to);
        for number in 0..100 {
            port.send(&format!("{number}")).unwrap();
        }
        let heard = port.heard(101).await;
        assert_eq!(heard[0], "new");
        let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(heard[1..], expected);
        while port.end.credit.messages() > 0 {
            yield_now().await;
        }
        port.send("close").unwrap();
        let heard = port.heard(102).await;
        assert_eq!(heard[101], "closed: closed");
        assert_eq!(port.send("late"), Err(Undelivered::Gone));
    })
    .await;
}

#[tokio::test]
async fn what_a_pod_opens_is_counted_by_where_its_target_is() {
    locally(async {
        let world = World::new(2, echo()).await;
        let to = key("a");
        world.give(&to, 1, 1, &[0, 1]);
        let count = |pod: usize| {
            let router = &world.pods[pod].router;
            [Target::Here, Target::Elsewhere].map(|target| router.count_opened(target))
        };
        for _ in 0..2 {
            Port::open(&world.pods[0], &to).heard(1).await;
        }
        assert_eq!([count(0), count(1)], [[0, 2], [0, 0]]);
        Port::open(&world.pods[1], &to).heard(1).await;
        assert_eq!([count(0), count(1)], [[0, 2], [1, 0]]);
        // What nobody can be reached for is not opened.
        let port = Port::open(&world.pods[0], &key("elsewhere"));
        yield_now().await;
        assert_eq!([count(0), count(1)], [[0, 2], [1, 0]]);
        drop(port);
    })
    .await;
}

#[tokio::test]
async fn a_port_is_lost_with_the_connection() {
    locally(async {
        let world = World::new(2, echo()).await;
        let to = key("a");
        world.give(&to, 1, 1, &[0, 1]);
        let port = Port::open(&world.pods[0], &to);
        port.heard(1).await;
        world.cut(1, 0);
        assert_eq!(port.heard(2).await, ["new", "closed: lost"]);
        // It is opened again as soon as the pod is reached again.
        let another = Port::open(&world.pods[0], &to);
        another.send("hello").unwrap();
        world.connect(1, 0).await;
        assert_eq!(another.heard(2).await, ["new", "hello"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_can_be_reached_nowhere_is_given_up() {
    locally(async {
        let world = World::new(2, echo()).await;
        let port = Port::open(&world.pods[0], &key("a"));
        port.send("hello").unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        let heard = port.heard(2).await;
        assert!(heard[0].contains("no pod has it"), "{heard:?}");
        assert_eq!(heard[1], "closed: lost");
    })
    .await;
}

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

/// Ports of openers in all pods, to a worker that moves about while they send.
async fn moves(seed: u64) {
    const PODS: usize = 3;
    let heard = Rc::new(RefCell::new(BTreeMap::<Vec<u8>, Vec<String>>::new()));
    let log = heard.clone();
    let echo = echo();
    // Each message is `port:number`: what is heard of each, by the instances of all pods.
    let code: Code = Rc::new(
        move |instance: &Shared, key: &WorkerKey, event: Delivered| {
            if let Delivered::Message { data, .. } = &event {
                let text = String::from_utf8(data.clone()).unwrap();
                let (port, number) = text.split_once(':').unwrap();
                let mut log = log.borrow_mut();
                log.entry(port.into()).or_default().push(number.to_owned());
            }
            echo(instance, key, event);
        },
    );
    let world = World::new(PODS, code).await;
    let (to, mut random) = (
        key("a"),
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
    );
    let (mut at, mut epoch) = (0, 1);
    world.give(&to, at, epoch, &[0, 1, 2]);
    let mut ports: Vec<(Port, usize)> = vec![];
    for _ in 0..150 {
        match random.below(20) {
            0 if ports.len() < 5 => {
                ports.push((Port::open(&world.pods[random.below(PODS)], &to), 0));
            }
            1 | 2 => {
                world.leave(&to, at).await;
                at = random.below(PODS);
                epoch += 1;
                // Some hear of it later, from whom they have asked in vain.
                let who: Vec<usize> = (0..PODS).filter(|_| random.below(2) == 0).collect();
                world.give(&to, at, epoch, &who);
                turns(random.below(20)).await;
                world.tell(&to, at, epoch, &[0, 1, 2]);
            }
            3..6 => {
                turns(random.below(10)).await;
            }
            _ if !ports.is_empty() => {
                let number = random.below(ports.len());
                let (port, sent) = &mut ports[number];
                port.send(&format!("{number}:{sent}")).unwrap();
                *sent += 1;
            }
            _ => {}
        }
    }
    for (number, (port, sent)) in ports.iter().enumerate() {
        let mut answers = vec![];
        for _ in 0..10_000 {
            answers = port.heard(0).await;
            answers.retain(|text| text != "again" && text != "new");
            if answers.len() >= *sent {
                break;
            }
            yield_now().await;
        }
        let numbers = 0..*sent;
        let expected: Vec<String> = numbers.clone().map(|it| format!("{number}:{it}")).collect();
        assert_eq!(answers, expected, "seed {seed}, port {number}");
        let heard = heard.borrow_mut().remove(number.to_string().as_bytes());
        let expected: Vec<String> = numbers.map(|it| it.to_string()).collect();
        assert_eq!(heard.unwrap_or_default(), expected, "seed {seed}");
        turns(1_000).await;
        assert_eq!(port.end.credit.messages(), 0, "seed {seed}");
    }
}

#[tokio::test]
async fn messages_and_answers_keep_their_order_wherever_the_worker_goes() {
    for seed in 1..=100 {
        locally(moves(seed)).await;
    }
}

#[tokio::test]
async fn a_port_that_was_closed_delivers_what_came_before_elsewhere() {
    locally(async {
        let heard = Rc::new(RefCell::new(vec![]));
        let log = heard.clone();
        let code: Code = Rc::new(move |instance: &Shared, _: &WorkerKey, event: Delivered| {
            let text = match event {
                Delivered::Connected { port, reconnected } => {
                    // Only whom it has heard of before is listened to.
                    if reconnected {
                        instance.borrow_mut().start_port(port);
                    }
                    format!("connected {reconnected}")
                }
                Delivered::Message { data, .. } => String::from_utf8(data).unwrap(),
                Delivered::PortClosed { reason, .. } => reason.code().to_owned(),
                _ => return,
            };
            log.borrow_mut().push(text);
        });
        let world = World::new(3, code).await;
        let to = key("a");
        world.give(&to, 1, 1, &[0, 1, 2]);
        let port = Port::open(&world.pods[0], &to);
        port.send("last words").unwrap();
        port.end.close(CloseReason::Closed);
        while heard.borrow().is_empty() {
            yield_now().await;
        }
        turns(100).await;
        world.leave(&to, 1).await;
        world.give(&to, 2, 2, &[0, 1, 2]);
        while heard.borrow().len() < 4 {
            yield_now().await;
        }
        let expected = ["connected false", "connected true", "last words", "closed"];
        assert_eq!(*heard.borrow(), expected);
    })
    .await;
}

/// A worker that is about to leave: of what is sent to it, it takes the first message, and hears nothing. The next one stays.
#[derive(Default)]
struct Leaving {
    ends: Mutex<Vec<LinkEnd>>,
    taken: Mutex<Vec<Incoming>>,
    rejects: bool,
}

impl Receive for Leaving {
    fn receive(&self, incoming: Incoming) -> Result<(), Rejected> {
        let mut taken = self.taken.lock().unwrap();
        if self.rejects && !taken.is_empty() {
            return Err(Rejected::Closed(incoming));
        }
        taken.push(incoming);
        Ok(())
    }
}

/// Where a worker is, and where it is next.
struct Places(Mutex<Vec<Arc<Leaving>>>);

impl Here for Places {
    fn open(&self, _: &WorkerKey, opening: Opening) -> Result<Option<Arc<dyn Receive>>, Opening> {
        let place = self.0.lock().unwrap().pop().unwrap();
        place.ends.lock().unwrap().push(opening.end);
        Ok(Some(place))
    }

    fn deliver(&self, _: &WorkerKey, _: Incoming) -> Result<(), Failure> {
        unreachable!("there are only links")
    }
}

#[tokio::test]
async fn what_comes_too_late_for_a_worker_that_leaves_is_not_lost() {
    locally(async {
        let first = Arc::new(Leaving {
            rejects: true,
            ..Leaving::default()
        });
        let next = Arc::<Leaving>::default();
        let here = Arc::new(Places(Mutex::new(vec![next.clone(), first.clone()])));
        let opener = Pod::with(0, here.clone(), Arc::default());
        let world = World::of(vec![opener, Pod::with(1, here, Arc::default())]).await;
        let to = key("a");
        world.give(&to, 1, 1, &[0, 1]);
        let port = Port::open(&world.pods[0], &to);
        for text in ["one", "two", "three"] {
            port.send(text).unwrap();
        }
        turns(1_000).await;
        let unheard = std::mem::take(&mut *first.taken.lock().unwrap());
        assert_eq!(unheard.len(), 1);
        let end = first.ends.lock().unwrap().pop().unwrap();
        end.moved(true, unheard.into());
        turns(1_000).await;
        let taken = std::mem::take(&mut *next.taken.lock().unwrap());
        let texts = taken.into_iter().map(|incoming| match incoming {
            Incoming::Frame {
                frame: Frame::Message { data, .. },
                ..
            } => String::from_utf8(data).unwrap(),
            _ => unreachable!("there are only messages"),
        });
        assert_eq!(texts.collect::<Vec<_>>(), ["one", "two", "three"]);
    })
    .await;
}
