//! Requests to, and calls of, workers of other pods.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use portside_core::ids::WorkerKey;
use portside_exchange::{Body, BodyError, Lasts, Message, Request, Response, Socket};
use portside_worker::bond::Bond;
use portside_worker::caller::Call;
use portside_worker::engine::Shared;
use portside_worker::event::Delivered;
use portside_worker::host::Fabric;
use portside_worker::link::{Content, Failure, FailureCode, Head, LinkId, Opening, Push};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::timeout;

use crate::world::{Code, Pod, World, shard, turns};

fn key(name: &str) -> WorkerKey {
    WorkerKey::new("w.js", name).unwrap()
}

async fn locally<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

fn open<A>(pod: &Pod, to: &WorkerKey, (call, opening): (Call<A>, Opening)) -> Call<A> {
    if let Some(target) = pod.router.open(to, opening) {
        call.opened(target);
    }
    call
}

fn fetch(pod: &Pod, to: &WorkerKey, path: &str, body: Body) -> Call<Response> {
    let mut headers = HeaderMap::new();
    headers.append("x-question", HeaderValue::from_static("why"));
    let request = Request {
        method: Method::PUT,
        url: format!("http://a{path}"),
        headers,
        body,
        websocket: path == "/socket",
    };
    open(pod, to, Call::fetch(Box::new(request)))
}

fn method(name: &str) -> (Call<Vec<u8>>, Opening) {
    Call::push(Push {
        path: vec![name.to_owned()],
        arguments: Some(name.into()),
    })
}

fn push(pod: &Pod, to: &WorkerKey, name: &str) -> Call<Vec<u8>> {
    open(pod, to, method(name))
}

/// The same with a stub.
async fn push_with(bond: &Bond, pod: &Pod, to: &WorkerKey, name: &str) -> Result<Vec<u8>, Failure> {
    let (call, mut opening) = method(name);
    opening.bond = Some(bond.clone());
    open(pod, to, (call, opening)).answer.await.unwrap()
}

fn head(content: Content) -> Head {
    let status = match content {
        Content::Socket(_) => StatusCode::SWITCHING_PROTOCOLS,
        _ => StatusCode::IM_A_TEAPOT,
    };
    Head {
        status,
        reason: Bytes::from_static(b"because"),
        headers: HeaderMap::new(),
        content,
    }
}

/// Pieces that together are longer than any window.
const PIECES: usize = 300;
const PIECE: usize = 100_000;

fn long_body() -> Body {
    let pieces = (0..PIECES).map(|number| Ok(Bytes::from(vec![number as u8; PIECE])));
    Body::Stream(Box::pin(stream::iter(pieces)))
}

/// Whether all of the long body comes from here.
async fn is_whole(body: Body) -> bool {
    let Body::Stream(mut body) = body else {
        return false;
    };
    let mut all = Vec::new();
    while let Some(piece) = body.next().await {
        all.extend_from_slice(&piece.unwrap());
    }
    let expected = (0..PIECES).flat_map(|number| std::iter::repeat_n(number as u8, PIECE));
    all.iter().copied().eq(expected)
}

/// Answers with what comes, piece by piece.
async fn echo(instance: Shared, link: LinkId) {
    let body = instance.borrow_mut().take_body(link);
    instance.borrow_mut().respond(link, head(Content::Follows));
    let Some(Some(mut body)) = body else { return };
    while let Some(Ok(piece)) = body.next().await {
        let room = |cx: &mut std::task::Context<'_>| {
            instance.borrow().poll_chunk_room(link, piece.len(), cx)
        };
        if !std::future::poll_fn(room).await {
            return;
        }
        instance.borrow_mut().send_chunk(link, piece);
    }
    instance.borrow_mut().end_body(link, None);
    instance.borrow_mut().end_request(link);
}

/// A worker that does what the path says.
fn worker(log: &Rc<RefCell<Vec<String>>>) -> Code {
    let log = log.clone();
    Rc::new(move |shared: &Shared, _: &WorkerKey, event: Delivered| {
        let mut instance = shared.borrow_mut();
        match event {
            Delivered::Fetch { link, request, .. } => match request.url.as_str() {
                "http://a/echo" => drop(spawn_local(echo(shared.clone(), link))),
                "http://a/socket" => instance.respond(link, head(Content::Socket(Lasts::No))),
                "http://a/fail" => {
                    instance.respond_failed(link, Failure::failed("it did not work"));
                    instance.end_request(link);
                }
                "http://a/long" => {
                    let bytes = Bytes::from(vec![7; 3_000_000]);
                    instance.respond(link, head(Content::Full(bytes)));
                    instance.end_request(link);
                }
                "http://a/quiet" => {
                    instance.respond(link, head(Content::Follows));
                    instance.send_chunk(link, "begin".into());
                }
                "http://a/hold" => instance.hold(true),
                url => {
                    let Body::Full(body) = &request.body else {
                        unreachable!("it has a body")
                    };
                    let question = request.headers["x-question"].to_str().unwrap();
                    let text = format!("{} {url} {question} {body:?}", request.method);
                    instance.respond(link, head(Content::Full(text.into())));
                    instance.end_request(link);
                }
            },
            Delivered::Socket { link, delivery } => {
                let is_close = matches!(delivery.message, Message::Close { .. });
                let text = format!("{:?}", delivery.message);
                log.borrow_mut().push(text);
                assert!(instance.send_to_client(link, delivery.message).is_ok());
                if is_close {
                    instance.end_request(link);
                }
            }
            Delivered::FetchAborted { link } => {
                log.borrow_mut().push("aborted".to_owned());
                instance.end_request(link);
            }
            Delivered::Rpc { link, push } => {
                log.borrow_mut().push(push.path[0].clone());
                match push.path[0].as_str() {
                    "fail" => instance.respond_failed(link, Failure::reset("it began anew")),
                    "reset" => instance.reset(Failure::reset("it began anew"), false),
                    _ => instance.resolve(link, push.arguments.unwrap()),
                }
                instance.end_request(link);
            }
            _ => {}
        }
    })
}

async fn two_pods() -> (World, WorkerKey, Rc<RefCell<Vec<String>>>) {
    let log = Rc::<RefCell<Vec<String>>>::default();
    let world = World::new(2, worker(&log)).await;
    let to = key("a");
    world.give(&to, 1, 1, &[0, 1]);
    (world, to, log)
}

#[tokio::test]
async fn a_request_and_its_answer() {
    locally(async {
        let (world, to, _) = two_pods().await;
        let call = fetch(&world.pods[0], &to, "/x?y", Body::Full("hello".into()));
        let answer = call.answer.await.unwrap().ok().unwrap();
        assert_eq!(answer.status, StatusCode::IM_A_TEAPOT);
        assert_eq!(answer.reason, "because");
        let Body::Full(body) = answer.body else {
            panic!("it is short")
        };
        assert_eq!(body, "PUT http://a/x?y why b\"hello\"");

        let call = fetch(&world.pods[0], &to, "/long", Body::Empty);
        let Body::Stream(body) = call.answer.await.unwrap().ok().unwrap().body else {
            panic!("it comes in pieces")
        };
        let lengths = body.map(|piece| piece.unwrap().len());
        assert_eq!(lengths.fold(0, async |sum, it| sum + it).await, 3_000_000);

        let failed = fetch(&world.pods[0], &to, "/fail", Body::Empty).answer;
        let failure = failed.await.unwrap().err().unwrap();
        assert_eq!(failure, Failure::failed("it did not work"));
    })
    .await;
}

#[tokio::test]
async fn bodies_of_any_length_both_ways() {
    locally(async {
        let (world, to, _) = two_pods().await;
        let call = fetch(&world.pods[0], &to, "/echo", long_body());
        let answer = call.answer.await.unwrap().ok().unwrap();
        assert!(is_whole(answer.body).await);
    })
    .await;
}

#[tokio::test]
async fn who_reads_no_more_is_gone_for_the_worker() {
    locally(async {
        let (world, to, log) = two_pods().await;
        let call = fetch(&world.pods[0], &to, "/echo", long_body());
        drop(call.answer.await.unwrap().ok().unwrap());
        while log.borrow().is_empty() {
            yield_now().await;
        }
        assert_eq!(*log.borrow(), ["aborted"]);

        let call = fetch(&world.pods[0], &to, "/quiet", Body::Empty);
        let Body::Stream(mut body) = call.answer.await.unwrap().ok().unwrap().body else {
            panic!("it follows")
        };
        assert_eq!(body.next().await, Some(Ok("begin".into())));
        assert!(body.next().now_or_never().is_none());
        drop(body);
        while log.borrow().len() < 2 {
            yield_now().await;
        }

        let call = fetch(&world.pods[0], &to, "/hold", Body::Empty);
        yield_now().await;
        call.abort();
        while log.borrow().len() < 3 {
            yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_websocket_of_a_worker_in_another_pod() {
    locally(async {
        let (world, to, log) = two_pods().await;
        let call = fetch(&world.pods[0], &to, "/socket", Body::Empty);
        let answer = call.answer.await.unwrap().ok().unwrap();
        let Some(Socket {
            mut outgoing,
            mut incoming,
            ..
        }) = answer.socket
        else {
            panic!("it is a socket")
        };
        let close = Message::Close {
            code: 4000,
            reason: "enough".to_owned(),
        };
        let mut messages: Vec<Message> = (0..100_u8)
            .map(|number| Message::Binary(vec![number; 50_000].into()))
            .collect();
        messages.push(Message::Text("hello".into()));
        messages.push(close);
        for message in &messages {
            incoming.send(message.clone()).await;
        }
        let mut heard = vec![];
        while let Some(message) = std::future::poll_fn(|cx| outgoing.poll_recv(cx)).await {
            heard.push(message);
        }
        assert_eq!(heard, messages);
        drop(incoming);
        assert_eq!(log.borrow().len(), messages.len());
    })
    .await;
}

/// What clients say reaches the worker, and that they are gone.
#[tokio::test]
async fn a_websocket_that_was_opened_while_its_worker_was_on_its_way_here() {
    locally(async {
        let log = Rc::<RefCell<Vec<String>>>::default();
        let world = World::new(2, worker(&log)).await;
        let to = key("a");
        let pod = &world.pods[0];
        let socket = fetch(pod, &to, "/socket", Body::Empty);
        let aborted = fetch(pod, &to, "/hold", Body::Empty);
        turns(10).await;
        world.give(&to, 0, 1, &[0, 1]);
        let answer = socket.answer.await.unwrap().ok().unwrap();
        let Socket {
            mut outgoing,
            mut incoming,
            ..
        } = answer.socket.unwrap();
        let message = Message::Text("hello".into());
        incoming.send(message.clone()).await;
        let heard = std::future::poll_fn(|cx| outgoing.poll_recv(cx));
        let heard = timeout(Duration::from_secs(5), heard).await;
        assert_eq!(heard.unwrap(), Some(message));
        aborted.abort();
        while log.borrow().last().is_none_or(|last| last != "aborted") {
            yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_an_answer_hears_that_the_pod_is_lost() {
    locally(async {
        let (world, to, _) = two_pods().await;
        let held = fetch(&world.pods[0], &to, "/hold", Body::Empty);
        let never_ends = stream::iter([Ok("x".into())]).chain(stream::pending());
        let streamed = Body::Stream(Box::pin(never_ends));
        let begun = fetch(&world.pods[0], &to, "/echo", streamed);
        let Body::Stream(mut body) = begun.answer.await.unwrap().ok().unwrap().body else {
            panic!("it follows")
        };
        assert_eq!(body.next().await, Some(Ok("x".into())));
        world.cut(1, 0);
        assert!(held.answer.await.is_err());
        let last = body.next().await;
        assert!(
            matches!(last, Some(Err(BodyError::Incomplete(_)))),
            "{last:?}"
        );
    })
    .await;
}

/// What that pod has taken may have run, and what comes of it may be old; what it refuses has not run.
#[tokio::test(start_paused = true)]
async fn of_a_pod_that_has_left_only_refusals_are_heard() {
    locally(async {
        let (world, to, log) = two_pods().await;
        let taken = fetch(&world.pods[0], &to, "/hold", Body::Empty);
        turns(100).await;
        let places = &world.pods[1].places;
        places.is_on_its_way(shard(&to), true);
        let waits = push(&world.pods[0], &to, "waits");
        turns(100).await;
        world.has_left(0, 1);
        assert!(taken.answer.await.is_err());
        // It knows of that a little later.
        world.stop_serving(&to, 1);
        world.give(&to, 0, 2, &[0]);
        places.is_on_its_way(shard(&to), false);
        assert!(waits.answer.await.unwrap().is_ok());
        assert_eq!(*log.borrow(), ["aborted", "waits"]);
    })
    .await;
}

/// It is dead, or has forgotten it.
#[tokio::test(start_paused = true)]
async fn what_a_pod_that_has_left_does_not_refuse_is_lost() {
    locally(async {
        let (world, to, log) = two_pods().await;
        let places = &world.pods[1].places;
        places.is_on_its_way(shard(&to), true);
        let waits = push(&world.pods[0], &to, "waits");
        turns(100).await;
        world.has_left(0, 1);
        assert!(waits.answer.await.is_err());
        assert_eq!(*log.borrow(), [""; 0]);
        // It takes it too late: nobody hears of what comes of it.
        let (world, to, _) = two_pods().await;
        let places = &world.pods[1].places;
        places.is_on_its_way(shard(&to), true);
        let taken = push(&world.pods[0], &to, "taken");
        turns(100).await;
        world.has_left(0, 1);
        places.is_on_its_way(shard(&to), false);
        assert!(taken.answer.await.is_err());
    })
    .await;
}

#[tokio::test]
async fn methods_are_called_and_fail() {
    locally(async {
        let (world, to, _) = two_pods().await;
        let value = push(&world.pods[0], &to, "add").answer.await.unwrap();
        assert_eq!(value, Ok(b"add".to_vec()));
        let failure = push(&world.pods[0], &to, "fail")
            .answer
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(failure.code, FailureCode::Reset);
    })
    .await;
}

#[tokio::test]
async fn a_stub_loses_an_object_that_began_anew_while_nobody_called() {
    locally(async {
        let (world, to, log) = two_pods().await;
        let pod = &world.pods[0];
        let (stub, unused) = (Bond::default(), Bond::default());
        // So that it does not sleep.
        let _held = fetch(pod, &to, "/hold", Body::Empty);
        assert_eq!(push_with(&stub, pod, &to, "add").await, Ok(b"add".to_vec()));
        let began_anew = Failure::reset("it began anew");
        let somebody = Bond::default();
        assert!(push_with(&somebody, pod, &to, "reset").await.is_err());
        for bond in [&stub, &somebody] {
            let answer = push_with(bond, pod, &to, "lost").await;
            assert_eq!(answer, Err(began_anew.clone()));
            assert_eq!(bond.broken(), Some(began_anew.clone()));
        }
        let answer = push_with(&unused, pod, &to, "more").await;
        assert_eq!(answer, Ok(b"more".to_vec()));
        assert_eq!(*log.borrow(), ["add", "reset", "more"]);
    })
    .await;
}

#[tokio::test]
async fn calls_come_in_the_order_in_which_they_were_made_though_the_worker_moves() {
    locally(async {
        let log = Rc::<RefCell<Vec<String>>>::default();
        let world = World::new(3, worker(&log)).await;
        let to = key("a");
        world.give(&to, 1, 1, &[0, 1, 2]);
        let mut calls = vec![];
        for number in 0..400_u64 {
            calls.push(push(&world.pods[0], &to, &number.to_string()));
            if number % 7 == 0 {
                yield_now().await;
            }
            if number % 40 == 39 {
                let (epoch, at) = (2 + number / 40, 1 + (number as usize / 40) % 2);
                match number % 80 {
                    39 => world.leave(&to, at).await,
                    _ => world.leave_unannounced(&to, at).await,
                }
                // The caller has not heard of it.
                world.give(&to, 3 - at, epoch, &[1, 2]);
                let more = number * 1_000..number * 1_000 + 3;
                calls.extend(more.map(|it| push(&world.pods[0], &to, &it.to_string())));
                turns(number as usize % 3 * 5).await;
                world.tell(&to, 3 - at, epoch, &[0]);
            }
        }
        let mut expected = vec![];
        for call in calls {
            let value = call.answer.await.unwrap().unwrap();
            expected.push(String::from_utf8(value).unwrap());
        }
        assert_eq!(*log.borrow(), expected);
    })
    .await;
}

#[tokio::test]
async fn a_request_that_nobody_has_heard_goes_where_the_worker_goes() {
    locally(async {
        let (world, to, log) = two_pods().await;
        let first = fetch(&world.pods[1], &to, "/1", Body::Full("hello".into()));
        assert!(first.answer.await.unwrap().is_ok());
        // In the inbox, and the worker leaves before it has had a turn.
        let second = fetch(&world.pods[1], &to, "/quiet", Body::Empty);
        world.leave(&to, 1).await;
        world.give(&to, 0, 2, &[0, 1]);
        let answer = second.answer.await.unwrap().ok().unwrap();
        // What the caller says later is heard there, too.
        drop(answer);
        while log.borrow().is_empty() {
            yield_now().await;
        }
        assert_eq!(*log.borrow(), ["aborted"]);
    })
    .await;
}

/// Whoever waits, here or in another pod, comes behind what was in the inbox.
#[tokio::test]
async fn what_a_worker_takes_along_goes_first() {
    locally(async {
        let (world, to, log) = two_pods().await;
        assert!(push(&world.pods[1], &to, "0").answer.await.is_ok());
        let waits = push(&world.pods[1], &to, "1");
        world.pods[1].places.is_on_its_way(shard(&to), true);
        let from_there = push(&world.pods[0], &to, "2");
        world.stop_serving(&to, 1);
        let from_here = push(&world.pods[1], &to, "3");
        world.leave(&to, 1).await;
        world.give(&to, 0, 2, &[]);
        turns(100).await;
        assert_eq!(*log.borrow(), ["0"], "the pod that was left knows nobody");
        world.tell(&to, 0, 2, &[1]);
        for call in [waits, from_there, from_here] {
            assert!(call.answer.await.unwrap().is_ok());
        }
        assert_eq!(log.borrow()[1], "1");
    })
    .await;
}

#[tokio::test]
async fn a_pod_answers_for_a_shard_once_it_knows_whose_that_is() {
    locally(async {
        let (world, to, log) = two_pods().await;
        let places = &world.pods[1].places;
        places.is_on_its_way(shard(&to), true);
        let calls: Vec<_> = (0..9)
            .map(|number: u32| push(&world.pods[0], &to, &number.to_string()))
            .collect();
        turns(100).await;
        assert!(log.borrow().is_empty());
        places.is_on_its_way(shard(&to), false);
        for call in calls {
            assert!(call.answer.await.unwrap().is_ok());
        }
        let expected: Vec<_> = (0..9).map(|number| number.to_string()).collect();
        assert_eq!(*log.borrow(), expected);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_given_up_before_it_is_taken_does_not_run() {
    locally(async {
        let (world, to, log) = two_pods().await;
        let places = &world.pods[1].places;
        places.is_on_its_way(shard(&to), true);
        let given_up = push(&world.pods[0], &to, "given up");
        let next = push(&world.pods[0], &to, "next");
        given_up.abort();
        turns(100).await;
        places.is_on_its_way(shard(&to), false);
        assert!(next.answer.await.unwrap().is_ok());
        assert_eq!(*log.borrow(), ["next"]);
    })
    .await;
}

/// It may have been told so by a pod that lies.
#[tokio::test(start_paused = true)]
async fn a_shard_that_never_comes_is_refused_in_the_end() {
    locally(async {
        let (world, to, log) = two_pods().await;
        world.pods[1].places.is_on_its_way(shard(&to), true);
        let failure = push(&world.pods[0], &to, "1").answer.await.unwrap();
        assert_eq!(failure.unwrap_err().code, FailureCode::Unavailable);
        assert!(log.borrow().is_empty());
    })
    .await;
}
