//! Streams of one connection and their applications: none can take the connection from the others.

use std::future::poll_fn;
use std::task::Poll;

use adit_hbone::{Settings, Stream};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::task::spawn_local;

use crate::support::certificates::Ca;
use crate::support::server::Server;
use crate::support::{CHUNK, Client, pattern, read_all, read_some, run, settings, write};

/// Keeps every stream on one connection.
fn one_connection() -> Settings {
    Settings {
        max_streams: 1000,
        streams_per_connection: 1000,
        connections_per_peer: 1,
        ..settings()
    }
}

#[test]
fn idle_streams_keep_no_capacity_from_active_ones() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, one_connection()).await;
        let client = Client::new(server.address, &web, &ledger, one_connection());
        // 300 times what a relay asks for is more than the connection's window of 16 MiB.
        let mut idle = Vec::new();
        for _ in 0..300 {
            let mut stream = client.stream().await;
            write(&mut stream, Bytes::from_static(b"x")).await.expect("sent");
            assert_eq!(read_some(&mut stream, 1).await, b"x");
            idle.push(stream);
        }
        let active = (0..4).map(|_| async {
            let mut stream = client.stream().await;
            for _ in 0..16 {
                write(&mut stream, pattern(CHUNK)).await.expect("sent");
                assert_eq!(read_some(&mut stream, CHUNK).await.len(), CHUNK);
            }
        });
        join_all(active).await;
        assert_eq!((client.dials.get(), idle.len()), (1, 300));
    });
}

/// Polls an application that has stopped reading as its relay does: it gathers what arrives.
fn stall(mut stream: Stream) -> tokio::task::JoinHandle<()> {
    stream.note_receive_stalled(true);
    spawn_local(async move {
        let end = poll_fn(|cx| stream.poll_reset(cx)).await;
        drop((stream, end));
    })
}

#[test]
fn twelve_stalled_streams_hold_their_own_windows_only() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (server, mut streams) = Server::streams(&ledger, one_connection()).await;
        let client = Client::new(server.address, &web, &ledger, one_connection());
        let mut stalled = Vec::new();
        for _ in 0..12 {
            let mut stream = client.stream().await;
            stall(streams.recv().await.expect("a stream"));
            // Exactly a stream's window is taken from us, and then nothing more.
            write(&mut stream, pattern(4 << 20)).await.expect("sent");
            let more = poll_fn(|cx| Poll::Ready(stream.poll_capacity(cx, 1)));
            assert!(more.await.is_pending(), "the window has an end");
            stalled.push(stream);
        }
        let mut flowing = client.stream().await;
        let receiver = spawn_local(crate::support::echo(streams.recv().await.expect("a stream")));
        for _ in 0..64 {
            write(&mut flowing, pattern(1 << 20)).await.expect("sent");
            assert_eq!(read_some(&mut flowing, 1 << 20).await.len(), 1 << 20);
        }
        flowing.finish().expect("finished");
        receiver.await.expect("the echo");
        assert_eq!(client.dials.get(), 1);
    });
}

#[test]
fn however_many_streams_are_stalled_the_others_flow() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (server, mut streams) = Server::streams(&ledger, one_connection()).await;
        let client = Client::new(server.address, &web, &ledger, one_connection());
        let mut flowing = client.stream().await;
        spawn_local(crate::support::echo(streams.recv().await.expect("a stream")));
        let mut stalled = Vec::new();
        for _ in 0..24 {
            let mut stream = client.stream().await;
            stall(streams.recv().await.expect("a stream"));
            // Some are given up on the way, so that the others have room.
            let _ = write(&mut stream, pattern(4 << 20)).await;
            stalled.push(stream);
            for _ in 0..4 {
                write(&mut flowing, pattern(1 << 20)).await.expect("sent");
                assert_eq!(read_some(&mut flowing, 1 << 20).await.len(), 1 << 20);
            }
        }
        let mut given_up = 0;
        for stream in &mut stalled {
            let reset = poll_fn(|cx| Poll::Ready(stream.poll_reset(cx))).await;
            given_up += usize::from(reset.is_ready());
        }
        assert!((10..24).contains(&given_up), "{given_up} of 24");
        assert_eq!(client.dials.get(), 1);
    });
}

#[test]
fn a_stalled_application_fed_byte_by_byte_disturbs_nobody_and_loses_nothing() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        // h2 would end the connection after 4,100 such frames.
        let small = Settings {
            small_frame_budget: 1 << 20,
            ..one_connection()
        };
        let (server, mut streams) = Server::streams(&ledger, small).await;
        let client = Client::new(server.address, &web, &ledger, one_connection());
        let mut fed = client.stream().await;
        let mut starving = streams.recv().await.expect("a stream");
        let mut neighbour = client.stream().await;
        spawn_local(crate::support::echo(streams.recv().await.expect("a stream")));
        let data = pattern(20_000);
        starving.note_receive_stalled(true);
        for part in data.chunks(500) {
            for byte in part {
                write(&mut fed, Bytes::copy_from_slice(&[*byte]))
                    .await
                    .expect("sent");
            }
            // The neighbour's answer comes after the bytes before it, so they have arrived; the relay of the stalled
            // application is then polled as it would be by their arrival.
            write(&mut neighbour, Bytes::from_static(b"x"))
                .await
                .expect("the connection lives");
            assert_eq!(read_some(&mut neighbour, 1).await, b"x");
            let reset = poll_fn(|cx| Poll::Ready(starving.poll_reset(cx))).await;
            assert!(reset.is_pending(), "{reset:?}");
        }
        fed.finish().expect("finished");
        starving.note_receive_stalled(false);
        assert!(read_all(&mut starving).await.expect("an end") == data);
    });
}

#[test]
fn two_bulk_streams_share_a_connection_evenly() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (server, mut streams) = Server::streams(&ledger, one_connection()).await;
        let client = Client::new(server.address, &web, &ledger, one_connection());
        let mut receiving = Vec::new();
        for _ in 0..2 {
            let mut stream = client.stream().await;
            spawn_local(async move {
                // Ends when the receiver leaves.
                while write(&mut stream, Bytes::from_static(&[7; CHUNK])).await.is_ok() {}
            });
            receiving.push(streams.recv().await.expect("a stream"));
        }
        let mut counts = [0, 0];
        while counts[0] + counts[1] < 64 << 20 {
            poll_fn(|cx| {
                let mut progress = Poll::Pending;
                for (stream, count) in receiving.iter_mut().zip(&mut counts) {
                    if let Poll::Ready(data) = stream.poll_data(cx) {
                        let length = data.expect("data").expect("more data").len();
                        stream.taken(length);
                        *count += length;
                        progress = Poll::Ready(());
                    }
                }
                progress
            })
            .await;
        }
        let least = *counts.iter().min().expect("two");
        assert!(least > 16 << 20, "{counts:?}");
    });
}
