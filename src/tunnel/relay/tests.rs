mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use adit_hbone::Failure;
use adit_mesh::Outcome;
use adit_net::socket::reset;
use futures_util::future::{join4, poll_fn};

use super::*;
use support::{Path, Relaying, fill, in_worker, is_reset, path, pattern, receive, send, sockets};

const MANY: usize = 9 << 20;

#[test]
fn megabytes_go_both_ways_through_a_tunnel_unchanged_and_are_counted() {
    in_worker(async {
        let Path {
            client,
            server,
            outbound,
            inbound,
            connection: _connection,
            ..
        } = path().await;
        let (forth, back) = (pattern(MANY, 1), pattern(MANY + 1, 2));
        let ((mut client_in, mut client_out), (mut server_in, mut server_out)) =
            (client.into_split(), server.into_split());
        let (_, at_server, _, at_client) = join4(
            send(&mut client_out, &forth),
            receive(&mut server_in),
            send(&mut server_out, &back),
            receive(&mut client_in),
        )
        .await;
        assert!(at_server == forth, "{} bytes went forth", at_server.len());
        assert!(at_client == back, "{} bytes came back", at_client.len());
        let counted = (Ended::completed(), MANY as u64, MANY as u64 + 1);
        assert_eq!(outbound.ended().await, counted);
        assert_eq!(inbound.ended().await, counted);
    });
}

#[test]
fn megabytes_go_both_ways_between_sockets_unchanged_and_are_counted() {
    in_worker(async {
        let ((client, accepted), (dialled, server)) = (sockets().await, sockets().await);
        let relaying = Relaying::start(Sides::sockets(accepted, dialled, &Ledger::unlimited()));
        let (forth, back) = (pattern(MANY, 1), pattern(MANY + 1, 2));
        let ((mut client_in, mut client_out), (mut server_in, mut server_out)) =
            (client.into_split(), server.into_split());
        let (_, at_server, _, at_client) = join4(
            send(&mut client_out, &forth),
            receive(&mut server_in),
            send(&mut server_out, &back),
            receive(&mut client_in),
        )
        .await;
        assert!(at_server == forth, "{} bytes went forth", at_server.len());
        assert!(at_client == back, "{} bytes came back", at_client.len());
        assert_eq!(
            relaying.ended().await,
            (Ended::completed(), MANY as u64, MANY as u64 + 1)
        );
    });
}

#[test]
fn either_side_may_finish_first_and_still_receive() {
    in_worker(async {
        for client_first in [true, false] {
            let Path {
                mut client,
                mut server,
                outbound,
                inbound,
                connection: _connection,
                ..
            } = path().await;
            let (first, second) = match client_first {
                true => (&mut client, &mut server),
                false => (&mut server, &mut client),
            };
            send(first, b"question").await;
            assert_eq!(receive(second).await, b"question");
            send(second, b"answer").await;
            assert_eq!(receive(first).await, b"answer");
            assert_eq!(outbound.ended().await.0, Ended::completed());
            assert_eq!(inbound.ended().await.0, Ended::completed());
        }
    });
}

#[test]
fn a_reset_of_either_side_resets_the_other_through_a_tunnel() {
    in_worker(async {
        for client_resets in [true, false] {
            let Path {
                client,
                server,
                outbound,
                inbound,
                connection: _connection,
                ..
            } = path().await;
            let (leaving, mut staying) = if client_resets {
                (client, server)
            } else {
                (server, client)
            };
            reset(&leaving).expect("an option");
            drop(leaving);
            assert!(is_reset(&mut staying).await);
            assert_eq!(outbound.ended().await.0.outcome, Outcome::Reset);
            assert_eq!(inbound.ended().await.0.outcome, Outcome::Reset);
        }
    });
}

#[test]
fn a_reset_of_either_side_resets_the_other_between_sockets() {
    in_worker(async {
        for client_resets in [true, false] {
            let ((client, accepted), (dialled, server)) = (sockets().await, sockets().await);
            let relaying = Relaying::start(Sides::sockets(accepted, dialled, &Ledger::unlimited()));
            let (leaving, mut staying) = if client_resets {
                (client, server)
            } else {
                (server, client)
            };
            reset(&leaving).expect("an option");
            drop(leaving);
            assert!(is_reset(&mut staying).await);
            let (ended, ..) = relaying.ended().await;
            assert_eq!(ended.outcome, Outcome::Reset);
            let who = if client_resets { "client: " } else { "server: " };
            let detail = ended.detail.expect("what happened");
            assert!(detail.starts_with(who), "{detail}");
        }
    });
}

#[test]
fn a_cut_resets_both_sides_and_tells_its_reason() {
    in_worker(async {
        let Path {
            mut client,
            mut server,
            outbound,
            inbound,
            connection: _connection,
            ..
        } = path().await;
        inbound.cut.now(Outcome::PolicyChanged, "a policy");
        assert!(is_reset(&mut client).await);
        assert!(is_reset(&mut server).await);
        let (ended, ..) = inbound.ended().await;
        assert_eq!(ended.outcome, Outcome::PolicyChanged);
        assert_eq!(ended.detail.as_deref(), Some("a policy"));
        assert_eq!(outbound.ended().await.0.outcome, Outcome::Reset);
    });
}

#[test]
fn a_connection_tells_why_we_ended_the_tunnel_under_it() {
    in_worker(async {
        let revoked = Failure::new(Outcome::CertificateRevoked, "revoked");
        let near = path().await;
        near.connection.abort(revoked.clone());
        let (ended, ..) = near.outbound.ended().await;
        assert_eq!(ended.outcome, Outcome::CertificateRevoked);
        assert_eq!(ended.detail.as_deref(), Some("revoked"));
        // The peer's end only knows that the connection broke.
        assert_eq!(near.inbound.ended().await.0.outcome, Outcome::Reset);

        let far = path().await;
        far.control.abort(revoked);
        assert_eq!(far.inbound.ended().await.0.outcome, Outcome::CertificateRevoked);
        assert_eq!(far.outbound.ended().await.0.outcome, Outcome::Reset);
    });
}

#[test]
fn a_reader_that_stalls_bounds_what_is_buffered_and_then_gets_everything() {
    in_worker(async {
        let mut path = path().await;
        let sent = fill(&mut path.client).await;
        // The stream's window, and what the kernel buffers of three sockets.
        assert!(
            sent < 64 << 20,
            "{sent} bytes were taken for a reader that takes none"
        );
        tokio::io::AsyncWriteExt::shutdown(&mut path.client)
            .await
            .expect("an end");
        assert_eq!(receive(&mut path.server).await.len(), sent);
        send(&mut path.server, b"thanks").await;
        assert_eq!(receive(&mut path.client).await, b"thanks");
        assert_eq!(path.outbound.ended().await.0, Ended::completed());
    });
}

#[test]
fn a_client_that_resets_behind_a_stalled_tunnel_is_noticed() {
    in_worker(async {
        let mut path = path().await;
        fill(&mut path.client).await;
        reset(&path.client).expect("an option");
        drop(path.client);
        // Although the server reads nothing.
        let (ended, ..) = path.outbound.ended().await;
        assert_eq!(ended.outcome, Outcome::Reset);
        assert!(ended.detail.expect("what happened").starts_with("client: "));
        assert_eq!(path.inbound.ended().await.0.outcome, Outcome::Reset);
        assert!(is_reset(&mut path.server).await);
    });
}

#[test]
fn a_client_that_resets_behind_a_stalled_socket_is_noticed() {
    in_worker(async {
        let ((mut client, accepted), (dialled, mut server)) = (sockets().await, sockets().await);
        let relaying = Relaying::start(Sides::sockets(accepted, dialled, &Ledger::unlimited()));
        fill(&mut client).await;
        reset(&client).expect("an option");
        drop(client);
        let (ended, ..) = relaying.ended().await;
        assert_eq!(ended.outcome, Outcome::Reset);
        assert!(ended.detail.expect("what happened").starts_with("client: "));
        assert!(is_reset(&mut server).await);
    });
}

/// A buffer that says when it is given back.
struct Lent(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_is_written_keeps_no_buffer() {
    in_worker(async {
        let (mut socket, mut peer) = sockets().await;
        let given_back = Arc::new(AtomicBool::new(false));
        let mut pending = Bytes::from_owner(Lent(vec![7; 1000], given_back.clone()));
        let mut taken = 0;
        poll_fn(|cx| poll_write_all(&mut socket, cx, &mut pending, |n| taken += n))
            .await
            .expect("an open socket");
        assert_eq!((taken, given_back.load(Ordering::Relaxed)), (1000, true));
        drop(socket);
        assert_eq!(receive(&mut peer).await, vec![7; 1000]);
    });
}
