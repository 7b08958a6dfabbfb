//! Handing a port over from one listener to another.

use std::io::{ErrorKind, Read};
use std::net::TcpListener;

use adit_net::listeners::{another_listener, inode, migrate_requests};
use adit_net::socket::{ListenOptions, listen};
use adit_net::{Namespace, link};

use crate::support::{self, as_root};

fn sharing(namespace: &Namespace, port: u16) -> TcpListener {
    let options = ListenOptions {
        reuse_port: true,
        ..ListenOptions::default()
    };
    listen(Some(namespace), ([0, 0, 0, 0], port).into(), &options).unwrap()
}

#[test]
fn another_listener_is_one_whose_socket_is_not_ours() {
    as_root(|| {
        let pod = support::namespace();
        assert!(!another_listener(&pod, 15001, &[]).unwrap());
        let (one, two) = (sharing(&pod, 15001), sharing(&pod, 15001));
        let _elsewhere = sharing(&pod, 15006);
        let ours = [inode(&one).unwrap(), inode(&two).unwrap()];
        assert!(!another_listener(&pod, 15001, &ours).unwrap());
        assert!(another_listener(&pod, 15001, &ours[..1]).unwrap());
    });
}

#[test]
fn listeners_of_ipv6_count_and_connections_do_not() {
    as_root(|| {
        let pod = support::namespace();
        let listener = support::listener(&pod, 15001);
        assert!(another_listener(&pod, 15001, &[]).unwrap());
        let _stream = support::dial(&pod, "127.0.0.1:15001").unwrap();
        let _accepted = support::accept(&listener);
        drop(listener);
        assert!(!another_listener(&pod, 15001, &[]).unwrap());
    });
}

#[test]
fn with_migration_no_waiting_connection_is_lost_when_a_listener_closes() {
    as_root(|| {
        let pod = support::namespace();
        migrate_requests(&pod).unwrap();
        migrate_requests(&pod).unwrap();
        let (ending, successor) = (sharing(&pod, 15001), sharing(&pod, 15001));
        // Enough that each listener has some, whatever the hash says: missing one of them is a chance of 2^-63.
        let clients: Vec<_> = (0..64)
            .map(|_| support::dial(&pod, "127.0.0.1:15001").unwrap())
            .collect();

        drop(ending);

        for _ in &clients {
            support::accept(&successor);
        }
    });
}

#[test]
fn without_migration_connections_are_lost_which_is_why_it_is_set() {
    as_root(|| {
        let pod = support::namespace();
        link::set(&pod, "ipv4/tcp_migrate_req", "0").unwrap();
        let (ending, _successor) = (sharing(&pod, 15001), sharing(&pod, 15001));
        let clients: Vec<_> = (0..64)
            .map(|_| support::dial(&pod, "127.0.0.1:15001").unwrap())
            .collect();

        drop(ending);

        let lost = clients.into_iter().filter(|mut client| {
            client.set_nonblocking(true).unwrap();
            let outcome = client.read(&mut [0]);
            outcome.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
        });
        assert!(lost.count() > 0);
    });
}
