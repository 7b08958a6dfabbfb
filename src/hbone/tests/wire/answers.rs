//! CONNECT and its answer.

use adit_hbone::headers::BAGGAGE;
use adit_mesh::Outcome;
use http::HeaderValue;
use tokio::sync::mpsc;

use crate::support::certificates::Ca;
use crate::support::script::{self, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, literal};
use crate::support::server::Server;
use crate::support::{Client, run, settings};

#[test]
fn each_refusal_arrives_as_its_own_outcome() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let outcomes = [
            (Outcome::BadRequest, Outcome::PeerRefused, "400"),
            (Outcome::PolicyDenied, Outcome::PeerDenied, "401"),
            (Outcome::ConnectFailed, Outcome::PeerRefused, "503"),
        ];
        for (outcome, expected, status) in outcomes {
            let server = Server::start(&ledger, settings(), move |incoming| incoming.refuse(outcome)).await;
            let client = Client::new(server.address, &web, &ledger, settings());
            for _ in 0..2 {
                let failure = client.open().await.err().expect("a refusal");
                assert_eq!(failure.outcome, expected);
                assert!(failure.detail.contains(status), "{failure}");
            }
            assert_eq!(
                client.dials.get(),
                1,
                "a refusal says nothing about the connection"
            );
        }
    });
}

#[test]
fn a_request_that_nobody_answers_is_refused_with_503() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::start(&ledger, settings(), drop).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let failure = client.open().await.err().expect("a refusal");
        assert_eq!(failure.outcome, Outcome::PeerRefused);
        assert!(failure.detail.contains("503"), "{failure}");
    });
}

#[test]
fn request_and_answer_carry_their_words() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (told, mut heard) = mpsc::unbounded_channel();
        let server = Server::start(&ledger, settings(), move |incoming| {
            let forwarded = incoming.headers().get("forwarded").cloned();
            told.send((incoming.authority().map(str::to_owned), forwarded))
                .expect("a listener");
            let baggage = HeaderValue::from_static("k8s.namespace.name=bank");
            let stream = incoming.accept(Some(baggage)).expect("the client is there");
            tokio::task::spawn_local(crate::support::echo(stream));
        })
        .await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let opened = client.open().await.expect("a stream");
        assert_eq!(opened.headers[BAGGAGE], "k8s.namespace.name=bank");
        let (authority, forwarded) = heard.recv().await.expect("a request");
        assert_eq!(authority.as_deref(), Some("10.0.0.2:8080"));
        assert_eq!(forwarded, Some(HeaderValue::from_static("for=\"10.0.0.1:4000\"")));
    });
}

#[test]
fn a_request_that_is_no_connect_has_no_authority() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::start(&ledger, settings(), |incoming| {
            let outcome = incoming
                .authority()
                .map_or(Outcome::BadRequest, |_| Outcome::Completed);
            incoming.refuse(outcome);
        })
        .await;
        let config = web.client_config(&[ledger.identity().clone()].into());
        let peer = script::call(server.address, config, |mut peer| {
            // :method GET, :scheme https, :path /, :authority
            let get = [vec![0x82, 0x87, 0x84], literal(1, "10.0.0.2:8080")].concat();
            peer.send(HEADERS, END_HEADERS, 1, &get);
            // :status 400, from the static table
            let answer = peer.expect(HEADERS);
            assert_eq!((answer.payload[0], answer.flags & END_STREAM), (0x8c, END_STREAM));
            // A CONNECT with a path is malformed (RFC 9113, section 8.5) and never reaches us.
            let malformed = [literal(2, "CONNECT"), literal(1, "10.0.0.2:8080"), vec![0x84]].concat();
            peer.send(HEADERS, END_HEADERS, 3, &malformed);
            while peer.expect(RST_STREAM).stream != 3 {}
            // The connection is still of use.
            peer.connect(5);
            assert_eq!(peer.expect(HEADERS).stream, 5);
        });
        script::joined(peer).await;
    });
}

#[test]
fn oversized_headers_end_their_stream_and_nothing_else() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let config = web.client_config(&[ledger.identity().clone()].into());
        let peer = script::call(server.address, config, |mut peer| {
            // Values of 126 bytes count 126 + 7 + 32 each (RFC 9113, section 6.5.2); the limit is 64 KiB.
            let fields = literal(0, "x").len();
            assert_eq!(fields, 3);
            let field = [&[0, 7][..], b"baggage", &[126], &[b'a'; 126]].concat();
            let block = [
                literal(2, "CONNECT"),
                literal(1, "10.0.0.2:8080"),
                field.repeat(600),
            ]
            .concat();
            let (first, rest) = block.split_at(16_000);
            peer.send(HEADERS, 0, 1, first);
            let pieces: Vec<_> = rest.chunks(16_000).collect();
            for (index, piece) in pieces.iter().enumerate() {
                let last = if index + 1 == pieces.len() { END_HEADERS } else { 0 };
                peer.send(9, last, 1, piece);
            }
            // 431, or a reset; not 200.
            let end = peer.next_about(1);
            assert!(end.kind == RST_STREAM || end.payload[0] != 0x88, "{end:?}");
            peer.connect(3);
            let answer = loop {
                let frame = peer.expect(HEADERS);
                if frame.stream == 3 {
                    break frame;
                }
            };
            assert_eq!(answer.payload[0], 0x88);
            peer.send(DATA, END_STREAM, 3, b"hello");
            assert_eq!(peer.expect(DATA).payload, b"hello");
        });
        script::joined(peer).await;
    });
}

#[test]
fn an_oversized_answer_is_refused() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (address, peer) = script::serve(ledger.server_config(), |mut peer| {
            peer.greet(&[]);
            peer.expect(HEADERS);
            let field = [&[0, 7][..], b"baggage", &[126], &[b'a'; 126]].concat();
            let block = [vec![0x88], field.repeat(110)].concat();
            peer.send(HEADERS, END_HEADERS, 1, &block);
            peer.drain();
        });
        let client = Client::new(address, &web, &ledger, settings());
        let failure = client.open().await.err().expect("a refusal");
        assert_eq!(failure.outcome, Outcome::ProtocolViolation);
        drop(client);
        script::joined(peer).await;
    });
}

#[test]
fn a_client_that_gives_up_is_noticed_before_the_answer() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (told, mut heard) = mpsc::unbounded_channel();
        let server = Server::start(&ledger, settings(), move |mut incoming| {
            let told = told.clone();
            tokio::task::spawn_local(async move {
                told.send("arrived").expect("a listener");
                incoming.abandoned().await;
                told.send("abandoned").expect("a listener");
            });
        })
        .await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let request = tokio::task::spawn_local({
            let (pool, key) = (client.pool.clone(), client.key.clone());
            async move { pool.open(&key, &crate::support::connect()).await.map(|_| ()) }
        });
        assert_eq!(heard.recv().await, Some("arrived"));
        request.abort();
        assert_eq!(heard.recv().await, Some("abandoned"));
    });
}
