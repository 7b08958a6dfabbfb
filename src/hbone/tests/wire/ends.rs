//! How connections end: in order, by a drain, broken in the middle.

use std::future::poll_fn;

use adit_hbone::{Failure, Settings};
use adit_mesh::Outcome;
use h2::Reason;
use tokio::sync::oneshot;

use crate::support::certificates::Ca;
use crate::support::script::{self, ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM};
use crate::support::server::Server;
use crate::support::{Client, pattern, read, read_all, run, settings, write};

#[test]
fn a_connect_that_arrives_after_goaway_was_sent_is_served() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let mut server = Server::echo(&ledger, settings()).await;
        let config = web.client_config(&[ledger.identity().clone()].into());
        let (open, opened) = oneshot::channel();
        let peer = script::call(server.address, config, |mut peer| {
            peer.connect(1);
            assert_eq!(peer.expect(HEADERS).stream, 1);
            open.send(()).expect("the test waits");
            peer.expect(GOAWAY);
            let ping = peer.expect(PING);
            // As if the GOAWAY had crossed with this request.
            peer.connect(3);
            peer.send(PING, ACK, 0, &ping.payload);
            assert_eq!(peer.expect(HEADERS).stream, 3);
            for stream in [1, 3] {
                peer.send(DATA, END_STREAM, stream, b"hello");
            }
            let rest = peer.drain();
            let echoed: Vec<_> = rest.iter().filter(|frame| frame.payload == b"hello").collect();
            assert_eq!(echoed.len(), 2, "{rest:?}");
        });
        opened.await.expect("a stream");
        server.controls.borrow()[0].drain();
        assert_eq!(
            server.ends.recv().await,
            Some(Ok(())),
            "the drain ends with the last stream"
        );
        script::joined(peer).await;
    });
}

#[test]
fn what_is_sent_before_a_connection_is_let_go_arrives() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (mut server, mut streams) = Server::streams(&ledger, settings()).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let mut opened = client.open().await.expect("a stream");
        let mut accepted = streams.recv().await.expect("a stream");
        accepted.finish().expect("finished");
        assert_eq!(read(&mut opened.stream).await.expect("an end"), None);
        // The last part of it is still inside HTTP/2 when everybody lets go.
        write(&mut opened.stream, pattern(4 << 20)).await.expect("sent");
        opened.stream.finish().expect("finished");
        drop(opened);
        client.pool.close();
        drop(client);
        assert!(read_all(&mut accepted).await.expect("an end") == pattern(4 << 20));
        drop(accepted);
        assert_eq!(server.ends.recv().await, Some(Ok(())), "closed in order");
    });
}

#[test]
fn a_connection_that_breaks_fails_its_streams_with_the_cause() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (address, peer) = script::serve(ledger.server_config(), |mut peer| {
            peer.greet(&[]);
            for stream in [1, 3] {
                assert_eq!(peer.expect(HEADERS).stream, stream);
                peer.answer(stream);
            }
            peer.send(DATA, 0, 1, b"half a sent");
        });
        let client = Client::new(address, &web, &ledger, settings());
        let (mut first, mut second) = (
            client.open().await.expect("a stream"),
            client.open().await.expect("a stream"),
        );
        assert_eq!(
            read(&mut first.stream).await.expect("data").as_deref(),
            Some(&b"half a sent"[..])
        );
        read(&mut first.stream).await.expect_err("not an end");
        read(&mut second.stream).await.expect_err("not an end");
        poll_fn(|cx| second.stream.poll_capacity(cx, 1))
            .await
            .expect_err("broken");
        assert!(first.connection.is_closing());
        assert_eq!(
            first.stream.cause().expect("a cause").outcome,
            Outcome::Http2Failed
        );
        assert_eq!(first.stream.cause(), second.stream.cause());
        script::joined(peer).await;
    });
}

#[test]
fn ending_a_connection_gives_its_streams_the_reason() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (mut server, mut streams) = Server::streams(&ledger, settings()).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let revoked = Failure::new(Outcome::CertificateRevoked, "revoked while it lived");

        let mut ours = client.stream().await;
        let mut theirs = streams.recv().await.expect("a stream");
        server.controls.borrow()[0].abort(revoked.clone());
        assert_eq!(server.ends.recv().await, Some(Err(revoked.clone())));
        read(&mut theirs).await.expect_err("ended");
        assert_eq!(theirs.cause(), Some(revoked.clone()));
        read(&mut ours).await.expect_err("not an end");

        let mut again = client.open().await.expect("a new connection");
        again.connection.abort(revoked.clone());
        read(&mut again.stream).await.expect_err("ended");
        assert_eq!(again.stream.cause(), Some(revoked));
    });
}

#[test]
fn a_client_that_connects_and_leaves_in_a_burst_ends_nothing() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let config = web.client_config(&[ledger.identity().clone()].into());
        let peer = script::call(server.address, config, |mut peer| {
            let block = [script::literal(2, "CONNECT"), script::literal(1, "10.0.0.2:8080")].concat();
            let mut burst = Vec::new();
            for stream in (1..600).step_by(2) {
                burst.extend(script::frame(HEADERS, script::END_HEADERS, stream, &block));
                burst.extend(script::frame(
                    RST_STREAM,
                    0,
                    stream,
                    &u32::from(Reason::CANCEL).to_be_bytes(),
                ));
            }
            peer.raw(&burst);
            peer.connect(601);
            while peer.expect(HEADERS).stream != 601 {}
        });
        script::joined(peer).await;
    });
}

#[test]
fn aborted_downloads_do_not_wear_a_connection_out() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (address, peer) = script::serve(ledger.server_config(), |mut peer| {
            peer.greet(&[]);
            let mut last = None;
            for stream in (1..=2401).step_by(2) {
                while peer.expect(HEADERS).stream != stream {}
                peer.answer(stream);
                // What was under way when the client reset the stream before.
                let stray = last.map(|last| script::frame(DATA, 0, last, b"too late"));
                peer.raw(&stray.unwrap_or_default());
                last = Some(stream);
            }
            peer.send(DATA, END_STREAM, 2401, b"still here");
            peer.drain();
        });
        let forgetful = Settings {
            remembered_resets: 0,
            ..settings()
        };
        let client = Client::new(address, &web, &ledger, forgetful);
        for _ in 0..1200 {
            drop(client.stream().await);
        }
        let mut stream = client.stream().await;
        assert_eq!(read_all(&mut stream).await.expect("an end"), b"still here");
        assert_eq!(client.dials.get(), 1);
        drop((stream, client));
        script::joined(peer).await;
    });
}
