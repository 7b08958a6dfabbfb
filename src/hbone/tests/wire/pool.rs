//! The pool: who shares a connection, when one is made, and what a failure means for those who wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use adit_hbone::client::Connection;
use adit_hbone::pool::{Key, Pool};
use adit_hbone::{Failure, Settings};
use adit_mesh::Outcome;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::support::certificates::Ca;
use crate::support::script::{self, GOAWAY, HEADERS};
use crate::support::server::Server;
use crate::support::{Client, connect, dial, pattern, read_some, run, settings, write};

#[test]
fn many_waiters_share_one_dial() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let opened = join_all((0..50).map(|_| client.open())).await;
        assert!(
            opened
                .iter()
                .all(|one| one.as_ref().is_ok_and(|opened| opened.fresh))
        );
        assert_eq!((client.dials.get(), client.pool.len()), (1, 1));
    });
}

#[test]
fn a_finished_stream_makes_room_for_the_next() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let few = Settings {
            streams_per_connection: 2,
            ..settings()
        };
        let client = Client::new(server.address, &web, &ledger, few);
        for _ in 0..20 {
            let mut streams = [client.stream().await, client.stream().await];
            for stream in &mut streams {
                write(stream, pattern(100)).await.expect("sent");
                assert_eq!(read_some(stream, 100).await.len(), 100);
            }
        }
        assert_eq!(client.dials.get(), 1);
    });
}

#[test]
fn a_full_connection_gets_a_sibling_up_to_the_limit_and_then_they_share() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let few = Settings {
            streams_per_connection: 2,
            connections_per_peer: 2,
            ..settings()
        };
        let client = Client::new(server.address, &web, &ledger, few);
        let opened = join_all((0..9).map(|_| client.open())).await;
        assert!(opened.iter().all(Result::is_ok));
        assert_eq!((client.dials.get(), client.pool.len()), (2, 2));
        let used: Vec<_> = client
            .pool
            .connections()
            .iter()
            .map(|(_, one)| one.streams())
            .collect();
        assert_eq!(used.iter().sum::<usize>(), 9);
        assert!(used.iter().all(|streams| *streams >= 4), "{used:?}");
    });
}

#[test]
fn streams_that_find_no_room_get_connections_beyond_those_for_speed() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let many = Settings {
            streams_per_connection: 2,
            connections_for_speed: 1,
            ..settings()
        };
        let client = Client::new(server.address, &web, &ledger, many);
        let mut held = Vec::new();
        for _ in 0..7 {
            held.push(client.open().await.expect("a stream"));
        }
        assert_eq!((client.dials.get(), client.pool.len()), (4, 4));
        let crowded = |one: &Connection| one.streams() > 2;
        assert!(!client.pool.connections().iter().any(|(_, one)| crowded(one)));
    });
}

#[test]
fn streams_gather_in_few_connections() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let few = Settings {
            streams_per_connection: 4,
            ..settings()
        };
        let client = Client::new(server.address, &web, &ledger, few);
        let mut held = Vec::new();
        for _ in 0..12 {
            held.push(client.open().await.expect("a stream"));
        }
        assert_eq!(client.pool.len(), 3);
        // A crowd has left: one stream stays in the first connection, two in the second, one in the third.
        held = held
            .into_iter()
            .enumerate()
            .filter(|(index, _)| [0, 4, 5, 8].contains(index))
            .map(|(_, one)| one)
            .collect();
        let streams = || {
            let connections = client.pool.connections();
            connections
                .iter()
                .map(|(_, one)| one.streams())
                .collect::<Vec<_>>()
        };
        assert_eq!(streams(), [1, 2, 1]);
        for _ in 0..4 {
            held.push(client.open().await.expect("a stream"));
        }
        assert_eq!(streams(), [3, 4, 1]);
        assert_eq!(client.dials.get(), 3);
    });
}

#[test]
fn the_peers_stream_limit_is_respected() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let narrow = Settings {
            max_streams: 3,
            ..settings()
        };
        let server = Server::echo(&ledger, narrow).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let mut held = Vec::new();
        for _ in 0..7 {
            held.push(client.open().await.expect("a stream"));
        }
        assert_eq!(client.pool.len(), 3);
        for (_, connection) in client.pool.connections() {
            assert!(connection.streams() <= connection.stream_limit());
        }
    });
}

#[test]
fn streams_that_the_peer_refused_unseen_find_another_connection() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let narrow = Settings {
            max_streams: 3,
            ..settings()
        };
        let server = Server::echo(&ledger, narrow).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        // All are sent before the peer's limit is known.
        let opened = join_all((0..9).map(|_| client.open())).await;
        let failures: Vec<_> = opened.iter().filter_map(|one| one.as_ref().err()).collect();
        assert!(failures.is_empty(), "{failures:?}");
    });
}

#[test]
fn a_saturated_connection_gets_a_sibling() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (server, mut streams) = Server::streams(&ledger, settings()).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let mut bulk = client.open().await.expect("a stream");
        let held = streams.recv().await.expect("a stream");
        spawn_local(async move { write(&mut bulk.stream, pattern(8 << 20)).await });
        while !bulk.connection.is_saturated() {
            tokio::task::yield_now().await;
        }
        let other = client.open().await.expect("a stream");
        assert!(!Rc::ptr_eq(&other.connection, &bulk.connection));
        assert_eq!(client.dials.get(), 2);
        drop(held);
    });
}

/// A pool whose dials wait for the test to say how they end.
struct Scripted {
    pool: Pool,
    key: Key,
    dials: mpsc::UnboundedReceiver<oneshot::Sender<Result<Connection, Failure>>>,
}

impl Scripted {
    fn new(key: Key) -> Self {
        let (begun, dials) = mpsc::unbounded_channel();
        let pool = Pool::new(
            Box::new(move |_| {
                let (end, ending) = oneshot::channel();
                begun.send(end).expect("the test listens");
                Box::pin(async move { ending.await.expect("the test decides") })
            }),
            Rc::new(settings()),
        );
        Self { pool, key, dials }
    }

    fn caller(&self) -> tokio::task::JoinHandle<Result<(), Failure>> {
        let (pool, key) = (self.pool.clone(), self.key.clone());
        spawn_local(async move { pool.open(&key, &connect()).await.map(|_| ()) })
    }
}

fn down() -> Failure {
    Failure::new(Outcome::ConnectFailed, "connection refused")
}

#[test]
fn those_who_wait_share_the_failure_and_the_next_dial_waits_for_the_backoff() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let target = Client::new(
            "127.0.0.1:1".parse().expect("an address"),
            &web,
            &ledger,
            settings(),
        );
        let mut scripted = Scripted::new(target.key);
        let mut previous = None;
        for round in 0..6u32 {
            let callers = [scripted.caller(), scripted.caller(), scripted.caller()];
            let dial = scripted.dials.recv().await.expect("a dial");
            if let Some(failed) = previous {
                let pause = Instant::now().duration_since(failed);
                assert!(
                    pause >= Duration::from_millis(10) * 2u32.pow(round - 1),
                    "{pause:?}"
                );
            }
            let _ = dial.send(Err(down()));
            previous = Some(Instant::now());
            for caller in callers {
                assert_eq!(caller.await.expect("a caller"), Err(down()));
            }
            assert!(scripted.dials.try_recv().is_err(), "one dial for all");
        }
    });
}

#[test]
fn a_client_that_leaves_during_the_dial_does_not_take_it_along() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let target = Client::new(server.address, &web, &ledger, settings());
        let mut scripted = Scripted::new(target.key.clone());
        let leaving = scripted.caller();
        let end = scripted.dials.recv().await.expect("a dial");
        leaving.abort();
        assert!(leaving.await.is_err());
        let staying = scripted.caller();
        let connection = dial(target.key.clone(), web, &settings()).await;
        assert!(end.send(connection).is_ok(), "the dial goes on");
        assert_eq!(staying.await.expect("a caller"), Ok(()));
        assert!(scripted.dials.try_recv().is_err());
    });
}

#[test]
fn a_dial_whose_task_dies_does_not_block_the_peer_for_ever() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let target = Client::new(
            "127.0.0.1:1".parse().expect("an address"),
            &web,
            &ledger,
            settings(),
        );
        let mut scripted = Scripted::new(target.key);
        let caller = scripted.caller();
        // Without an end the dial panics.
        drop(scripted.dials.recv().await.expect("a dial"));
        assert!(caller.await.expect("a caller").is_err());
        let next = scripted.caller();
        let _ = scripted
            .dials
            .recv()
            .await
            .expect("another dial")
            .send(Err(down()));
        assert_eq!(next.await.expect("a caller"), Err(down()));
    });
}

#[test]
fn a_closed_pool_dials_no_more_and_keeps_nothing_that_arrives_late() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let target = Client::new(server.address, &web, &ledger, settings());
        let mut scripted = Scripted::new(target.key.clone());
        let caller = scripted.caller();
        let end = scripted.dials.recv().await.expect("a dial");
        scripted.pool.close();
        let _ = end.send(dial(target.key.clone(), web, &settings()).await);
        assert_eq!(
            caller.await.expect("a caller").expect_err("closed").outcome,
            Outcome::Shutdown
        );
        let late = scripted.caller().await.expect("a caller");
        assert_eq!(late.expect_err("closed").outcome, Outcome::Shutdown);
        assert!(scripted.pool.is_empty());
    });
}

#[test]
fn an_idle_connection_is_closed_with_a_goaway_and_one_in_use_is_kept() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let mut server = Server::echo(&ledger, settings()).await;
        let brief = Settings {
            idle_timeout: Duration::from_millis(80),
            ..settings()
        };
        let client = Client::new(server.address, &web, &ledger, brief);
        let began = Instant::now();
        let stream = client.stream().await;
        // A second one, so that its end proves that the first was looked at too.
        let other = Client::new(server.address, &web, &ledger, client_settings());
        drop(other.stream().await);
        assert_eq!(server.ends.recv().await, Some(Ok(())));
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert_eq!(client.pool.len(), 1, "a stream is open");
        drop(stream);
        assert_eq!(server.ends.recv().await, Some(Ok(())), "closed in order");
        assert!(client.pool.is_empty());
    });
}

fn client_settings() -> Settings {
    Settings {
        idle_timeout: Duration::from_millis(300),
        ..settings()
    }
}

#[test]
fn a_peer_that_says_goaway_is_dialled_anew_and_its_streams_go_on() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let server = Server::echo(&ledger, settings()).await;
        let client = Client::new(server.address, &web, &ledger, settings());
        let mut old = client.open().await.expect("a stream");
        write(&mut old.stream, pattern(10)).await.expect("sent");
        read_some(&mut old.stream, 10).await;
        server.controls.borrow()[0].drain();
        // Sent before or after the GOAWAY arrives: each gets a stream.
        for _ in 0..20 {
            let mut stream = client.stream().await;
            write(&mut stream, pattern(10)).await.expect("sent");
            assert_eq!(read_some(&mut stream, 10).await.len(), 10);
        }
        assert_eq!(client.dials.get(), 2);
        write(&mut old.stream, pattern(10))
            .await
            .expect("the old stream lives");
        assert_eq!(read_some(&mut old.stream, 10).await.len(), 10);
    });
}

#[test]
fn connects_that_a_goaway_left_unprocessed_are_repeated() {
    run(async {
        let ca = Ca::new();
        let (web, ledger) = (ca.credentials("web"), ca.credentials("ledger"));
        let (address, peer) = script::serve(ledger.server_config(), |mut peer| {
            peer.greet(&[]);
            peer.expect(HEADERS);
            // The last stream that was processed is none; no error.
            peer.send(GOAWAY, 0, 0, &[0; 8]);
            peer.drain();
        });
        let second = Server::echo(&ledger, settings()).await;
        let target = Client::new(address, &web, &ledger, settings());
        let addresses = RefCell::new(vec![second.address, address]);
        let dials = Rc::new(Cell::new(0));
        let count = dials.clone();
        let pool = Pool::new(
            Box::new(move |mut key: Key| {
                count.set(count.get() + 1);
                key.address = addresses.borrow_mut().pop().expect("two dials");
                let web = web.clone();
                Box::pin(async move { dial(key, web, &settings()).await })
            }),
            Rc::new(settings()),
        );
        let opened = pool.open(&target.key, &connect()).await;
        assert!(opened.is_ok(), "{:?}", opened.err());
        assert_eq!(dials.get(), 2);
        drop((opened, pool));
        script::joined(peer).await;
    });
}
