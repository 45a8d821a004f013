//! Whether the quiet other end of an HTTP/2 connection is still there: it is asked by `PING` (RFC 9113 §6.7).

use std::task::Context;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

use super::timer::Timer;

/// One connection's pings.
pub(super) struct Pings {
    pings: PingPong,
    timer: Timer,
    interval: Duration,
    timeout: Duration,
    /// When something was heard last, as far as was looked.
    heard: Instant,
    asked: Option<Instant>,
}

impl Pings {
    /// Asks after `interval` of silence, and waits `timeout` for an answer.
    pub(super) fn new(pings: PingPong, interval: Duration, timeout: Duration) -> Self {
        Self { pings, timer: Timer::default(), interval, timeout, heard: Instant::now(), asked: None }
    }

    /// Asks an end that has been silent; true if it has not answered in time. `was_heard` tells whether anything
    /// came since it was called last. While there is nothing to wait for it is not asked, but what it was asked
    /// before it has to answer.
    pub(super) fn poll_silence(
        &mut self,
        cx: &mut Context<'_>,
        is_awaited: bool,
        mut was_heard: impl FnMut() -> bool,
    ) -> bool {
        if self.asked.is_some() && self.pings.poll_pong(cx).is_ready() {
            self.asked = None;
            self.heard = Instant::now();
        }
        if !is_awaited && self.asked.is_none() {
            self.heard = Instant::now();
            return false;
        }
        loop {
            let deadline = self.asked.map_or(self.heard + self.interval, |asked| asked + self.timeout);
            if !self.timer.poll_due(cx, deadline) {
                return false;
            }
            match self.asked {
                // Whatever it sends, it is there.
                _ if was_heard() => (self.heard, self.asked) = (Instant::now(), None),
                Some(_) => return true,
                None => {
                    // It fails while the one before is not answered, which then is waited for again.
                    let _ = self.pings.send_ping(Ping::opaque());
                    self.asked = Some(Instant::now());
                    if self.pings.poll_pong(cx).is_ready() {
                        (self.heard, self.asked) = (Instant::now(), None);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::server::{PING_TIMEOUT, Standing};

    const INTERVAL: Duration = Duration::from_secs(45);
    const LONG: Duration = Duration::from_secs(600);

    /// The type of a `PING` frame (RFC 9113 §6.7).
    const PING: u8 = 6;

    /// A client that has shaken hands and does nothing by itself.
    async fn quiet() -> (DuplexStream, DuplexStream) {
        let (mut client, server) = duplex(64 << 10);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        (client, server)
    }

    /// Serves a client until it is given up; gives after what time that was.
    async fn until_given_up(server: DuplexStream, standing: &Standing) -> Duration {
        until_given_up_if(server, standing, |_| true).await
    }

    /// As above; `is_awaited` tells, by the time that has passed, whether there is something to wait for.
    async fn until_given_up_if(
        server: DuplexStream,
        standing: &Standing,
        is_awaited: impl Fn(Duration) -> bool,
    ) -> Duration {
        let mut connection = h2::server::handshake(server).await.unwrap();
        let mut pings = Pings::new(connection.ping_pong().unwrap(), INTERVAL, PING_TIMEOUT);
        let began = Instant::now();
        poll_fn(|cx| {
            if pings.poll_silence(cx, is_awaited(began.elapsed()), || standing.take_heard()) {
                return Poll::Ready(());
            }
            assert!(connection.poll_accept(cx).is_pending(), "nobody asks for anything, or leaves");
            Poll::Pending
        })
        .await;
        began.elapsed()
    }

    /// Has the client heard again and again, as if it sent something that is no answer to a `PING`.
    async fn keep_sending(standing: &Standing, every: Duration) {
        loop {
            sleep(every).await;
            standing.note_heard();
        }
    }

    async fn count_pings(mut client: DuplexStream) -> usize {
        let mut sent = Vec::new();
        client.read_to_end(&mut sent).await.unwrap();
        let (mut rest, mut pings) = (&sent[..], 0);
        while let [a, b, c, kind, ..] = *rest {
            pings += usize::from(kind == PING);
            rest = &rest[9 + u32::from_be_bytes([0, a, b, c]) as usize..];
        }
        pings
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_gone_is_asked_once_and_given_up() {
        let (client, server) = quiet().await;
        let took = until_given_up(server, &Standing::default()).await;
        assert!(took.abs_diff(INTERVAL + PING_TIMEOUT) < Duration::from_millis(10), "{took:?}");
        assert_eq!(count_pings(client).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_stays_however_long_it_is_quiet() {
        let (client, server) = duplex(64 << 10);
        let asking = async {
            let (requests, connection) = h2::client::handshake(client).await.unwrap();
            let _ = connection.await;
            drop::<h2::client::SendRequest<bytes::Bytes>>(requests);
        };
        let standing = Standing::default();
        let serving = timeout(LONG, until_given_up(server, &standing));
        tokio::select! {
            served = serving => assert!(served.is_err(), "given up after {served:?}"),
            () = asking => panic!("the client left"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_something_is_there_without_being_asked() {
        let (client, server) = quiet().await;
        let standing = Standing::default();
        tokio::select! {
            took = until_given_up(server, &standing) => panic!("given up after {took:?}"),
            () = keep_sending(&standing, INTERVAL / 2) => {}
            () = sleep(LONG) => {}
        }
        assert_eq!(count_pings(client).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_something_else_than_the_answer_is_there_too() {
        let (client, server) = quiet().await;
        let standing = Standing::default();
        tokio::select! {
            took = until_given_up(server, &standing) => panic!("given up after {took:?}"),
            () = keep_sending(&standing, INTERVAL + PING_TIMEOUT / 2) => {}
            () = sleep(LONG) => {}
        }
        assert!(count_pings(client).await >= 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_while_there_is_nothing_to_wait_for() {
        let (client, server) = quiet().await;
        let standing = Standing::default();
        assert!(timeout(LONG, until_given_up_if(server, &standing, |_| false)).await.is_err());
        assert_eq!(count_pings(client).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_has_to_be_answered_also_when_nothing_is_waited_for_any_more() {
        let (client, server) = quiet().await;
        let is_awaited = |passed| passed <= INTERVAL;
        let standing = Standing::default();
        let took = timeout(LONG, until_given_up_if(server, &standing, is_awaited)).await.unwrap();
        assert!(took.abs_diff(INTERVAL + PING_TIMEOUT) < Duration::from_millis(10), "{took:?}");
        assert_eq!(count_pings(client).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_that_stays_unanswered_is_waited_for_again() {
        let (client, server) = quiet().await;
        let standing = Standing::default();
        let sends_once = async {
            sleep(INTERVAL + PING_TIMEOUT / 2).await;
            standing.note_heard();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            took = until_given_up(server, &standing) => assert!(took < 3 * INTERVAL, "{took:?}"),
            () = sends_once => {}
            () = sleep(LONG) => panic!("it is gone and was not noticed"),
        }
        assert_eq!(count_pings(client).await, 1);
    }
}
