//! Peers that stall: each stage ends at its own deadline with its own outcome.

use std::time::Duration;

use adit_hbone::{Failure, Settings};
use adit_mesh::Outcome;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::certificates::Ca;
use crate::support::script::{self, HEADERS};
use crate::support::server::Server;
use crate::support::{Client, run, settings};

const SHORT: Duration = Duration::from_millis(60);

#[test]
fn a_server_that_never_accepts_or_never_speaks_tls() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        // The kernel completes the TCP handshake; nobody reads.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let mut short = settings();
        short.deadlines.tls = SHORT;
        let client = Client::new(listener.local_addr().expect("an address"), &web, &ledger, short);
        let failure = client.open().await.err().expect("a failure");
        assert_eq!(failure.outcome, Outcome::TlsTimeout);
    });
}

#[test]
fn a_server_that_closes_or_speaks_something_else_during_tls() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        for greeting in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
            let client = Client::new(
                listener.local_addr().expect("an address"),
                &web,
                &ledger,
                settings(),
            );
            let server = async {
                let (mut socket, _) = listener.accept().await.expect("a client");
                // The hello is read, so that closing is a FIN.
                socket.read_u8().await.expect("a hello");
                tokio::io::AsyncWriteExt::write_all(&mut socket, greeting)
                    .await
                    .expect("written");
            };
            let (failure, ()) = tokio::join!(client.open(), server);
            assert_eq!(failure.err().expect("a failure").outcome, Outcome::TlsFailed);
        }
    });
}

#[test]
fn a_server_that_sends_no_settings() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (address, peer) = script::serve(ledger.server_config(), |mut peer| {
            peer.preface();
            let sent = peer.drain();
            assert!(sent.iter().any(|frame| frame.kind == HEADERS), "{sent:?}");
        });
        let mut short = settings();
        short.deadlines.http2 = SHORT;
        let client = Client::new(address, &web, &ledger, short);
        let failure = client.open().await.err().expect("a failure");
        assert_eq!(failure.outcome, Outcome::Http2Failed);
        assert!(failure.detail.contains("SETTINGS"), "{failure}");
        script::joined(peer).await;
    });
}

#[test]
fn a_server_that_does_not_answer_a_connect_keeps_its_other_streams() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (address, peer) = script::serve(ledger.server_config(), |mut peer| {
            peer.greet(&[]);
            assert_eq!(peer.expect(HEADERS).stream, 1);
            peer.answer(1);
            assert_eq!(peer.expect(HEADERS).stream, 3);
            // The stream is given up, the connection is not.
            assert_eq!(peer.expect(script::RST_STREAM).stream, 3);
            peer.send(script::DATA, script::END_STREAM, 1, b"still here");
            peer.drain();
        });
        let mut short = settings();
        short.deadlines.answer = Duration::from_millis(300);
        let client = Client::new(address, &web, &ledger, short);
        let mut first = client.stream().await;
        let failure = client.open().await.err().expect("a failure");
        assert_eq!(failure.outcome, Outcome::ConnectAnswerTimeout);
        assert_eq!(
            crate::support::read_all(&mut first).await.expect("an end"),
            b"still here"
        );
        drop((first, client));
        script::joined(peer).await;
    });
}

#[test]
fn a_client_that_stalls_in_tls_or_before_its_preface() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let mut short = settings();
        short.deadlines.tls = SHORT;
        short.deadlines.http2 = SHORT;
        let mut server = Server::echo(&ledger, short).await;
        let silent = TcpStream::connect(server.address).await.expect("a server");
        assert_eq!(ended(&mut server).await.outcome, Outcome::TlsTimeout);
        drop(silent);

        let socket = TcpStream::connect(server.address).await.expect("a server");
        let config = web.client_config(&[ledger.identity().clone()].into());
        let role = adit_hbone::transport::Role::Client(config);
        let open = adit_hbone::transport::handshake(socket, role, settings().deadlines.tls).await;
        let failure = ended(&mut server).await;
        assert_eq!(failure.outcome, Outcome::Http2Failed);
        assert!(failure.detail.contains("preface"), "{failure}");
        drop(open);
    });
}

async fn ended(server: &mut Server) -> Failure {
    server.ends.recv().await.expect("an end").expect_err("a failure")
}

#[test]
fn a_path_that_died_is_noticed_and_one_that_carries_data_is_kept_without_pongs() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (address, peer) = script::serve(ledger.server_config(), |mut peer| {
            peer.greet(&[]);
            peer.expect(HEADERS);
            peer.answer(1);
            // Never a PONG, but a byte every now and then, for much longer than interval and timeout. The pauses are
            // what is tested; nothing waits for them to be long enough.
            for _ in 0..40 {
                peer.send(script::DATA, 0, 1, b"x");
                std::thread::sleep(Duration::from_millis(20));
            }
            let sent = peer.drain();
            assert!(
                sent.iter().any(|frame| frame.kind == script::PING),
                "asked once it was silent"
            );
        });
        let short = Settings {
            ping_interval: Duration::from_millis(120),
            ping_timeout: Duration::from_millis(120),
            ..settings()
        };
        let client = Client::new(address, &web, &ledger, short);
        let mut opened = client.open().await.expect("a stream");
        assert_eq!(crate::support::read_some(&mut opened.stream, 40).await.len(), 40);
        crate::support::read(&mut opened.stream)
            .await
            .expect_err("the peer is dead");
        let cause = opened.stream.cause().expect("a cause");
        assert!(cause.detail.contains("PING"), "{cause}");
        assert!(opened.connection.is_closing());
        script::joined(peer).await;
    });
}
