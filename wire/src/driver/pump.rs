//! Both directions at once: what cannot be written keeps nobody from reading, or two sides might wait for each other.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::TlsStream;

use super::counted::Counted;
use super::{Arrival, Links, Place};
use crate::connection::Ending;

/// What is asked of the machine at once, and read at once.
const CHUNK: usize = 64 << 10;

/// How long somebody may take to read why the connection is over.
const GOODBYE: Duration = Duration::from_secs(1);

/// Moves bytes between the machine and the transport, as long as somebody polls [`Driver::run`].
pub struct Driver<S> {
    stream: TlsStream<Counted<S>>,
    links: Links,
    silence: Duration,
    received: BytesMut,
    to_send: BytesMut,
    scratch: Box<[u8]>,
    /// Something is written that may not have left yet.
    unflushed: bool,
    /// Since when the transport takes nothing of what there is, and what it had taken by then.
    stuck: Option<(Instant, u64)>,
    timer: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(super) fn new(stream: TlsStream<Counted<S>>, links: Links, silence: Duration) -> Self {
        Self {
            stream,
            links,
            silence,
            received: BytesMut::new(),
            to_send: BytesMut::new(),
            scratch: vec![0; CHUNK].into(),
            unflushed: false,
            stuck: None,
            timer: Box::pin(sleep_until(Instant::now())),
        }
    }

    /// Goes on until links can be opened. What arrives meanwhile waits for [`Driver::run`].
    pub(super) async fn meet(&mut self) -> Result<(), Ending> {
        let met = poll_fn(|cx| {
            let poll = self.poll(cx, None);
            let machine = self.links.shared.lock();
            match (poll, machine.ending()) {
                (_, Some(ending)) => Poll::Ready(Err(ending.clone())),
                (_, None) if machine.is_ready() => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            }
        });
        let met = met.await;
        if met.is_err() {
            self.say_goodbye().await;
        }
        met
    }

    /// Serves the connection until it is over, and returns why. `hear` is called for each thing that happens, in order; it
    /// must not block. Dropping this ends the connection; `hear` is told the end of each link all the same.
    pub async fn run(self, hear: impl FnMut(Arrival) + Send) -> Ending {
        let mut running = Running { driver: self, hear };
        poll_fn(|cx| running.driver.poll(cx, Some(&mut running.hear))).await;
        running.driver.say_goodbye().await;
        running.driver.ending()
    }

    fn ending(&self) -> Ending {
        let ending = self.links.shared.lock().ending().cloned();
        ending.unwrap_or(Ending::Ended)
    }

    /// Goes on as far as it goes without waiting; ready when the connection is over, or, if nobody hears what happens, when
    /// links can be opened.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut hear: Option<&mut dyn FnMut(Arrival)>,
    ) -> Poll<()> {
        self.links.shared.driver.register(cx.waker());
        loop {
            let read = self.poll_read(cx);
            if let Some(hear) = &mut hear {
                tell(&self.links, *hear);
            }
            let wrote = self.poll_write(cx);
            if let Err(error) = read.as_ref().and(wrote.as_ref()) {
                let broken = Ending::Broken(error.to_string());
                self.links.shared.lock().fail(broken);
            }
            let is_over = self.links.shared.lock().ending().is_some();
            if let (true, Some(hear)) = (is_over, &mut hear) {
                tell(&self.links, *hear);
            }
            let has_met = hear.is_none() && self.to_send.is_empty() && self.links.is_connected();
            if is_over || has_met {
                return Poll::Ready(());
            }
            if !matches!(read, Ok(true)) && !matches!(wrote, Ok(true)) {
                ready!(self.poll_time(cx));
            }
        }
    }

    /// Whether something was read.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut buffer = ReadBuf::new(&mut self.scratch);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the other side closed it",
            )),
            Poll::Ready(Ok(())) => {
                self.received.extend_from_slice(buffer.filled());
                let shared = &self.links.shared;
                let now = shared.now();
                shared.lock().receive(now, &mut self.received);
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// Whether something was written, and may be again.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.to_send.is_empty() {
            let shared = &self.links.shared;
            let now = shared.now();
            shared.lock().transmit(now, CHUNK, &mut self.to_send);
        }
        let mut wrote = false;
        while !self.to_send.is_empty()
            && let Poll::Ready(count) = Pin::new(&mut self.stream).poll_write(cx, &self.to_send)
        {
            match count? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.to_send.advance(count),
            }
            (wrote, self.unflushed) = (true, true);
        }
        if self.unflushed
            && self.to_send.is_empty()
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        self.note_progress();
        Ok(wrote)
    }

    fn note_progress(&mut self) {
        let taken = self.stream.get_ref().0.taken;
        let nothing_waits = self.to_send.is_empty() && !self.unflushed;
        self.stuck = match self.stuck {
            _ if nothing_waits => None,
            Some((since, before)) if before == taken => Some((since, taken)),
            _ => Some((Instant::now(), taken)),
        };
    }

    /// Waits for the next deadline, and does what is due.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shared = &self.links.shared;
        let now = Instant::now();
        let mut machine = shared.lock();
        let stuck_for = self.stuck.map_or(Duration::ZERO, |(since, _)| now - since);
        if stuck_for >= self.silence {
            machine.fail(Ending::Stuck(stuck_for));
            return Poll::Ready(());
        }
        machine.tick(now - shared.start);
        if machine.wants_to_send() && self.to_send.is_empty() || machine.ending().is_some() {
            return Poll::Ready(());
        }
        let mut deadline = shared.start + machine.deadline();
        if let Some((since, _)) = self.stuck {
            deadline = deadline.min(since + self.silence);
        } else if let Some(due) = machine.send_deadline() {
            deadline = deadline.min(shared.start + due);
        }
        drop(machine);
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx)
    }

    /// Says why the connection is over, if the other side still listens.
    async fn say_goodbye(&mut self) {
        let goodbye = poll_fn(|cx| {
            loop {
                match self.poll_write(cx) {
                    Ok(true) => {}
                    Ok(false) if !self.unflushed && self.to_send.is_empty() => break,
                    Ok(false) => return Poll::Pending,
                    Err(_) => return Poll::Ready(()),
                }
            }
            Pin::new(&mut self.stream).poll_shutdown(cx).map(drop)
        });
        // It is over in any case.
        let _ = tokio::time::timeout(GOODBYE, pin!(goodbye)).await;
    }
}

/// A driver and whoever hears of its connection, until the end.
struct Running<S, H: FnMut(Arrival)> {
    driver: Driver<S>,
    hear: H,
}

impl<S, H: FnMut(Arrival)> Drop for Running<S, H> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // perhaps in `hear`
        }
        let links = &self.driver.links;
        links.shared.lock().fail(Ending::Ended);
        tell(links, &mut self.hear);
    }
}

/// Tells what has happened, without a lock: whoever hears it may answer at once.
fn tell(links: &Links, hear: &mut dyn FnMut(Arrival)) {
    loop {
        let events = links.shared.lock().take_events();
        if events.is_empty() {
            return;
        }
        for event in events {
            hear(event.map(|held| Place {
                links: links.clone(),
                held: Some(held),
            }));
        }
    }
}
