//! One stream: bytes both ways, half closes, resets.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use adit_hbone::meter::{Level, Meter};
use bytes::Bytes;
use h2::Reason;
use tokio::task::spawn_local;

use crate::support::certificates::Ca;
use crate::support::script::{self, DATA, END_STREAM, RST_STREAM};
use crate::support::server::Server;
use crate::support::{Client, connect, dial, pattern, read, read_all, read_some, run, settings, write};

#[test]
fn megabytes_come_back_unchanged() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let mut opened = client.open().await.expect("a stream");
        assert_eq!(opened.connection.peer()[0], ledger.chain()[0]);
        let data = pattern(9 << 20);
        let mut returned = Vec::new();
        // Written and read by turns of 1 MiB, which is less than the windows hold.
        for part in data.chunks(1 << 20) {
            write(&mut opened.stream, Bytes::copy_from_slice(part))
                .await
                .expect("sent");
            returned.extend(read_some(&mut opened.stream, part.len()).await);
        }
        opened.stream.finish().expect("finished");
        returned.extend(read_all(&mut opened.stream).await.expect("an end"));
        assert!(returned == data, "{} bytes came back", returned.len());
    });
}

#[test]
fn a_sender_waits_for_a_receiver_that_does_not_take_and_is_counted_as_stalled() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (server, mut streams) = Server::streams(&ledger, settings()).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let mut opened = client.open().await.expect("a stream");
        let meter = Rc::new(Counts::default());
        opened.connection.meter(meter.clone());
        let mut accepted = streams.recv().await.expect("a stream");
        let data = pattern(12 << 20);
        let sender = spawn_local({
            let data = data.clone();
            async move {
                write(&mut opened.stream, data).await.expect("sent");
                opened.stream.finish().expect("finished");
                read_all(&mut opened.stream).await.expect("an end")
            }
        });
        // Nothing is taken until the sender had to stop.
        while !opened.connection.is_saturated() {
            tokio::task::yield_now().await;
        }
        assert!(opened.connection.stalls() > 0);
        let received = read_all(&mut accepted).await.expect("an end");
        assert!(received == data, "{} bytes arrived", received.len());
        write(&mut accepted, Bytes::from_static(b"thanks"))
            .await
            .expect("sent");
        accepted.finish().expect("finished");
        assert_eq!(sender.await.expect("a sender"), b"thanks");
        assert!(!opened.connection.is_saturated());
        assert_eq!(meter.stalls.get(), opened.connection.stalls());
    });
}

/// What a meter was told.
#[derive(Default)]
struct Counts {
    connections: Cell<i64>,
    streams: Cell<i64>,
    opened: Cell<u64>,
    stalls: Cell<u64>,
}

impl Meter for Counts {
    fn connection_opened(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    fn connection_closed(&self) {
        self.connections.set(self.connections.get() - 1);
    }

    fn stream_opened(&self) {
        self.opened.set(self.opened.get() + 1);
        self.streams.set(self.streams.get() + 1);
    }

    fn stream_closed(&self) {
        self.streams.set(self.streams.get() - 1);
    }

    fn stalled(&self, _: Level) {
        self.stalls.set(self.stalls.get() + 1);
    }
}

#[test]
fn a_meter_is_told_of_every_stream_and_of_the_end_once() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let mut server = Server::echo(&ledger, settings()).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let key = client.key.clone();
        let connection = dial(key, web, &settings()).await.expect("a connection");
        let meter = Rc::new(Counts::default());
        connection.meter(meter.clone());
        connection.meter(meter.clone());
        assert_eq!(meter.connections.get(), 1);
        let within = settings().deadlines.answer;
        let (one, _) = connection.open(connect(), within).await.expect("a stream");
        let (other, _) = connection.open(connect(), within).await.expect("a stream");
        assert_eq!((meter.opened.get(), meter.streams.get()), (2, 2));
        drop((one, other, connection));
        assert_eq!((meter.opened.get(), meter.streams.get()), (2, 0));
        server.ends.recv().await.expect("an end").expect("a regular one");
        while Rc::strong_count(&meter) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(meter.connections.get(), 0);
    });
}

#[test]
fn either_side_may_finish_first_and_still_receive() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (server, mut streams) = Server::streams(&ledger, settings()).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        for client_first in [true, false] {
            let ours = client.stream().await;
            let theirs = streams.recv().await.expect("a stream");
            let (mut first, mut second) = if client_first {
                (ours, theirs)
            } else {
                (theirs, ours)
            };
            first.finish().expect("finished");
            assert_eq!(read(&mut second).await.expect("an end"), None);
            write(&mut second, pattern(300_000)).await.expect("sent");
            second.finish().expect("finished");
            assert!(read_all(&mut first).await.expect("an end") == pattern(300_000));
        }
        assert_eq!(client.dials.get(), 1);
    });
}

#[test]
fn a_stream_that_is_dropped_or_reset_never_passes_for_complete() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (server, mut streams) = Server::streams(&ledger, settings()).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        for case in 0..6 {
            let ours = client.stream().await;
            let theirs = streams.recv().await.expect("a stream");
            let (mut leaving, mut staying) = if case % 2 == 0 {
                (ours, theirs)
            } else {
                (theirs, ours)
            };
            match case / 2 {
                0 => {}
                1 => leaving.reset(Reason::CANCEL),
                // Its own direction is finished, the other one is not.
                _ => {
                    leaving.finish().expect("finished");
                    assert_eq!(read(&mut staying).await.expect("an end"), None);
                }
            }
            drop(leaving);
            let reason = poll_fn(|cx| staying.poll_reset(cx)).await.expect("a reset");
            assert_eq!(reason, Reason::CANCEL, "case {case}");
            if case < 4 {
                let error = read_all(&mut staying).await.expect_err("no end");
                assert_eq!(error.reason(), Some(Reason::CANCEL), "case {case}");
            }
        }
    });
}

#[test]
fn what_came_before_a_reset_is_delivered() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (address, peer) = script::serve(ledger.server_config(), |mut peer| {
            peer.greet(&[]);
            for (stream, reason) in [(1, Reason::NO_ERROR), (3, Reason::CANCEL)] {
                assert_eq!(peer.expect(script::HEADERS).stream, stream);
                peer.answer(stream);
                let end = if reason == Reason::NO_ERROR { END_STREAM } else { 0 };
                peer.send(DATA, end, stream, b"the last words");
                peer.send(RST_STREAM, 0, stream, &u32::from(reason).to_be_bytes());
            }
            peer.drain();
        });
        let client = Client::new(address, &web, &ledger, settings());
        let mut complete = client.stream().await;
        // A server that needs no more of the request says so with NO_ERROR (RFC 9113, section 8.1).
        assert_eq!(read_all(&mut complete).await.expect("an end"), b"the last words");
        let mut aborted = client.stream().await;
        assert_eq!(
            read(&mut aborted).await.expect("data").as_deref(),
            Some(&b"the last words"[..])
        );
        assert_eq!(
            read(&mut aborted).await.expect_err("a reset").reason(),
            Some(Reason::CANCEL)
        );
        drop((complete, aborted, client));
        script::joined(peer).await;
    });
}
