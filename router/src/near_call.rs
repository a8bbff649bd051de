//! A request to, or a call of, a worker of this pod, that another pod makes.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use portside_exchange::{BodyError, Message, Response, Socket, SocketSender};
use portside_wire::driver::Place;
use portside_wire::frame::{self, Accepted};
use portside_worker::bond::{Bond, Fate};
use portside_worker::caller::Call;
use portside_worker::link::{CloseReason, Failure, Opening, Push};
use portside_worker::request::ByteStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

use crate::convert;
use crate::instances::Instances;
use crate::line::Heard;
use crate::offers::{Offer, not_here};
use crate::places::Here;
use crate::task::{ForTask, Inbound, Sender};

type Chunks = mpsc::UnboundedSender<Result<(Bytes, Place), BodyError>>;

/// A link to a worker that is here.
pub(crate) struct Near<'a> {
    pub offer: &'a Offer,
    pub accepted: Accepted,
    pub here: &'a dyn Here,
    /// The instance that the caller knows, if it is known here.
    pub reached: Option<Arc<Fate>>,
    pub instances: &'a Arc<Instances>,
    pub spawner: &'a Handle,
}

/// Tells the caller which instance it has reached, once that is known.
struct Introduction {
    bond: Bond,
    instances: Arc<Instances>,
    /// That of the one that the caller knows.
    known: Option<Arc<Fate>>,
}

impl Introduction {
    /// To be called before the answer is sent.
    fn make(&self, sender: &Sender) {
        let Some(fate) = self.bond.fate() else {
            return; // nobody was reached
        };
        let is_it = |known: &Arc<Fate>| Arc::ptr_eq(known, &fate);
        if !self.known.as_ref().is_some_and(is_it) {
            let reached = frame::Frame::Reached(self.instances.number(&fate));
            // If it cannot be sent, nor can the answer.
            let _ = sender.line.send(sender.link, reached);
        }
    }
}

/// Gives a request of another pod's to the worker, and takes or refuses the link.
pub(crate) fn fetch(near: &Near<'_>, request: frame::Request) {
    let mut chunks = None;
    let request = convert::request_in(request, || {
        let (sender, body) = body();
        chunks = Some(sender);
        body
    });
    let (call, opening) = Call::fetch(Box::new(request));
    let Some((sender, inbound, introduction)) = opened(near, &call, opening) else {
        return;
    };
    let exchange = exchange(sender, inbound, introduction, call, chunks);
    near.spawner.spawn(exchange);
}

/// The same for a hibernatable WebSocket that is brought back.
pub(crate) fn adopt(near: &Near<'_>, kept: Bytes) {
    let (call, opening) = Call::adopt(kept);
    let Some((sender, inbound, introduction)) = opened(near, &call, opening) else {
        return;
    };
    let exchange = exchange(sender, inbound, introduction, call, None);
    near.spawner.spawn(exchange);
}

/// The same for a call of a method.
pub(crate) fn push(near: &Near<'_>, push: Push) {
    let (mut call, opening) = Call::push(push);
    let Some((sender, mut inbound, introduction)) = opened(near, &call, opening) else {
        return;
    };
    near.spawner.spawn(async move {
        let answer = tokio::select! {
            answer = &mut call.answer => answer,
            () = closed(&mut inbound) => return call.abort(),
        };
        introduction.make(&sender);
        match answer {
            Ok(Ok(value)) => finish(&sender, frame::Frame::Resolve(value.into())).await,
            Ok(Err(failure)) => finish(&sender, frame::Frame::Failed(failure)).await,
            Err(_) => sender.close(CloseReason::Lost),
        }
    });
}

/// A request from its beginning to the end of its answer.
async fn exchange(
    sender: Sender,
    inbound: Inbound,
    introduction: Introduction,
    mut call: Call<Response>,
    chunks: Option<Chunks>,
) {
    let (unread, uploaded) = (Notify::new(), Notify::new());
    let (from_client, to_application) = mpsc::unbounded_channel();
    let has_body = chunks.is_some();
    let listen = listen(&sender, inbound, chunks, &unread, &uploaded, from_client);
    let mut is_answered = false;
    let answer = async {
        let answer = (&mut call.answer).await;
        is_answered = true;
        introduction.make(&sender);
        match answer {
            Ok(Ok(response)) => respond(&sender, response, to_application, &unread).await,
            Ok(Err(failure)) => return finish(&sender, frame::Frame::Failed(failure)).await,
            Err(_) => return sender.close(CloseReason::Lost),
        }
        // The application may read on after it has answered.
        if has_body {
            uploaded.notified().await;
        }
        sender.close(CloseReason::Closed);
    };
    tokio::select! {
        () = answer => return,
        () = listen => {}
    }
    // Else whoever has the answer's body, or socket, hears that nobody takes it any more.
    if !is_answered {
        call.abort();
    }
}

/// Takes what the caller sends, until it is gone.
async fn listen(
    sender: &Sender,
    mut inbound: Inbound,
    mut chunks: Option<Chunks>,
    unread: &Notify,
    uploaded: &Notify,
    from_client: mpsc::UnboundedSender<(Message, Place)>,
) {
    loop {
        let heard = tokio::select! {
            heard = inbound.recv() => heard,
            () = unwanted(chunks.as_ref()) => {
                chunks = None;
                uploaded.notify_one();
                let _ = sender.line.send(sender.link, frame::Frame::Unread);
                continue;
            }
        };
        let (frame, room) = match heard {
            Some(Heard::Frame(frame, room)) => (frame, room),
            Some(Heard::Closed(_)) | None => return,
            Some(Heard::Accepted | Heard::Refused(_) | Heard::Room) => continue,
        };
        match (frame, &chunks) {
            (frame::Frame::Chunk(bytes), Some(chunks)) => {
                let _ = chunks.send(Ok((bytes, room)));
            }
            (frame::Frame::Abort(error), Some(to)) => {
                let _ = to.send(Err(error));
                chunks = None;
                uploaded.notify_one();
            }
            (frame::Frame::End, Some(_)) => {
                chunks = None;
                uploaded.notify_one();
            }
            (frame::Frame::Unread, _) => unread.notify_one(),
            (frame::Frame::Socket(message), _) => {
                let _ = from_client.send((message, room));
            }
            // Nothing else comes on a request's link.
            _ => {}
        }
    }
}

/// Returns when nobody reads the body any more that comes here.
async fn unwanted(chunks: Option<&Chunks>) {
    match chunks {
        Some(chunks) => chunks.closed().await,
        None => std::future::pending().await,
    }
}

/// Sends the answer.
async fn respond(
    sender: &Sender,
    response: Response,
    from_client: mpsc::UnboundedReceiver<(Message, Place)>,
    unread: &Notify,
) {
    let Response {
        status,
        reason,
        headers,
        body,
        socket,
    } = response;
    let (content, body) = match (&socket, body) {
        (Some(socket), _) => (frame::Content::Socket(socket.lasts), None),
        (None, body) => convert::content_out(body),
    };
    let head = frame::Head {
        status,
        reason,
        headers,
        content,
    };
    if sender
        .send(frame::Frame::Head(Box::new(head)))
        .await
        .is_err()
    {
        let failure = Failure::failed("the headers of the response are too long");
        let _ = sender.send(frame::Frame::Failed(failure)).await;
        return;
    }
    if let Some(Socket {
        mut outgoing,
        incoming,
        ..
    }) = socket
    {
        let send = async {
            while let Some(message) = poll_fn(|cx| outgoing.poll_recv(cx)).await {
                if sender.send(frame::Frame::Socket(message)).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = send => {}
            () = deliver(from_client, incoming) => {}
        }
    } else if let Some(body) = body {
        tokio::select! {
            () = sender.send_body(body) => {}
            () = unread.notified() => {}
        }
    }
}

/// Gives the application what the client sends on its WebSocket.
async fn deliver(
    mut from_client: mpsc::UnboundedReceiver<(Message, Place)>,
    mut incoming: SocketSender,
) {
    while let Some((message, _room)) = from_client.recv().await {
        incoming.send(message).await;
    }
    std::future::pending().await
}

/// Sends the last frame.
async fn finish(sender: &Sender, frame: frame::Frame) {
    if let Err(error) = sender.send(frame).await {
        // It is too long: what says so is not.
        let failure = Failure::failed(error.to_string());
        let _ = sender.send(frame::Frame::Failed(failure)).await;
    }
    sender.close(CloseReason::Closed);
}

/// Returns when the caller is gone.
async fn closed(inbound: &mut Inbound) {
    while let Some(heard) = inbound.recv().await {
        if matches!(heard, Heard::Closed(_)) {
            return;
        }
    }
    std::future::pending().await
}

/// Opens the link to the worker, and takes that of the other pod, or refuses it.
fn opened<A>(
    near: &Near<'_>,
    call: &Call<A>,
    opening: Opening,
) -> Option<(Sender, Inbound, Introduction)> {
    let (offer, accepted) = (near.offer, near.accepted);
    let known = near.reached.clone();
    let introduction = Introduction {
        // If the object begins anew before it hears this, the caller has lost it all the same.
        bond: known.as_ref().map(Bond::to).unwrap_or_default(),
        instances: near.instances.clone(),
        known,
    };
    let opening = Opening {
        name: offer.opening.name.clone(),
        bond: Some(introduction.bond.clone()),
        request: offer.opening.request.clone(),
        ..opening
    };
    let (listener, inbound, room) = ForTask::new();
    // Not opened: whoever asks for the answer hears why.
    match near.here.open(&offer.opening.to, opening) {
        Ok(Some(target)) => call.opened(target),
        Ok(None) => {}
        Err(_) => {
            offer.refuse(not_here(accepted.epoch));
            return None;
        }
    }
    offer.accept(accepted, Arc::new(listener));
    let (line, link) = (offer.line().clone(), offer.link());
    let sender = Sender { line, link, room };
    Some((sender, inbound, introduction))
}

/// A body that comes in chunks; each takes its room until it is read.
fn body() -> (Chunks, ByteStream) {
    let (sender, mut chunks) = mpsc::unbounded_channel::<Result<(Bytes, Place), BodyError>>();
    let stream = futures::stream::poll_fn(move |cx| chunks.poll_recv(cx));
    let body = stream.map(|chunk| chunk.map(|(bytes, _room)| bytes));
    (sender, Box::pin(body))
}
