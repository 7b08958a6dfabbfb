//! Options of sockets, as the kernel reports them.

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::task::{Context, Waker};
use std::time::Duration;

use adit_net::socket::{self, ConnectError, ListenOptions, listen};
use adit_net::{Congestion, Keepalive, Namespace, SocketOptions, Source, link};
use nix::errno::Errno;
use socket2::SockRef;

use crate::support::{self, Pair, as_root};

fn every_option() -> SocketOptions {
    SocketOptions {
        mark: Some(0x539),
        keepalive: Some(Keepalive {
            time: Duration::from_secs(180),
            interval: Duration::from_secs(30),
            retries: 4,
        }),
        user_timeout: Some(Duration::from_secs(20)),
        congestion: Congestion::for_node_local(),
        nodelay: true,
    }
}

fn assert_every_option(socket: SockRef<'_>) {
    let options = every_option();
    let keepalive = options.keepalive.unwrap();
    assert_eq!(socket.mark().unwrap(), 0x539);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), keepalive.time);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), keepalive.interval);
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), keepalive.retries);
    assert_eq!(socket.tcp_user_timeout().unwrap(), options.user_timeout);
    assert!(socket.tcp_nodelay().unwrap());
    let congestion = socket.tcp_congestion().unwrap();
    let name = options.congestion.unwrap();
    assert_eq!(
        congestion.split(|byte| *byte == 0).next().unwrap(),
        name.name().as_bytes()
    );
}

#[test]
fn options_are_set_on_opened_connections_and_inherited_by_accepted_ones() {
    as_root(|| {
        let pod = support::namespace();
        let listening = ListenOptions {
            options: every_option(),
            ..ListenOptions::default()
        };
        let listener = listen(Some(&pod), "[::]:80".parse().unwrap(), &listening).unwrap();
        let destination: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let socket = socket::connector(Some(&pod), destination, Source::Any, &every_option()).unwrap();
        assert_every_option(SockRef::from(&socket));
        socket
            .connect_timeout(&destination.into(), support::PATIENCE)
            .unwrap();
        let (accepted, _) = support::accept(&listener);
        assert_every_option(SockRef::from(&accepted));
    });
}

#[test]
fn a_socket_belongs_to_the_namespace_and_the_thread_does_not() {
    as_root(|| {
        let home = Namespace::current().unwrap();
        let pod = support::namespace();
        let _listener = support::listener(&pod, 80);
        assert_eq!(Namespace::current().unwrap(), home);
        assert!(support::dial(&pod, "127.0.0.1:80").is_ok());
        let elsewhere = support::namespace();
        let error = support::dial(&elsewhere, "127.0.0.1:80").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_listener_is_not_blocking_and_shares_its_port_when_told() {
    as_root(|| {
        let pod = support::namespace();
        let any = "[::]:80".parse().unwrap();
        let sharing = ListenOptions {
            reuse_port: true,
            transparent: true,
            ..ListenOptions::default()
        };
        let one = listen(Some(&pod), any, &sharing).unwrap();
        let _other = listen(Some(&pod), any, &sharing).unwrap();
        assert_eq!(one.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let alone = listen(Some(&pod), any, &ListenOptions::default()).unwrap_err();
        assert_eq!(alone.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn where_ipv6_is_disabled_a_listener_on_every_address_serves_ipv4() {
    as_root(|| {
        for interface in ["all", "lo"] {
            let pod = support::namespace();
            assert!(socket::ipv6_available(Some(&pod)).unwrap());
            link::set(&pod, &format!("ipv6/conf/{interface}/disable_ipv6"), "1").unwrap();
            assert!(!socket::ipv6_available(Some(&pod)).unwrap());
            let listener = support::listener(&pod, 80);
            assert!(listener.local_addr().unwrap().is_ipv4());
            assert!(support::dial(&pod, "127.0.0.1:80").is_ok());
        }
    });
}

#[test]
fn a_listener_on_every_address_serves_both_families_unless_told_otherwise() {
    as_root(|| {
        let pod = support::namespace();
        let _both = support::listener(&pod, 80);
        assert!(support::dial(&pod, "127.0.0.1:80").is_ok());
        assert!(support::dial(&pod, "[::1]:80").is_ok());
        let only = ListenOptions {
            only_v6: true,
            ..ListenOptions::default()
        };
        let _only = listen(Some(&pod), "[::]:81".parse().unwrap(), &only).unwrap();
        assert!(support::dial(&pod, "127.0.0.1:81").is_err());
        assert!(support::dial(&pod, "[::1]:81").is_ok());
    });
}

#[test]
fn a_source_that_cannot_be_had_is_an_error_of_its_own() {
    as_root(|| {
        let pod = support::namespace();
        let connect = |source| {
            let destination = "127.0.0.1:80".parse().unwrap();
            socket::connector(Some(&pod), destination, source, &SocketOptions::default())
        };
        let foreign = "192.0.2.1".parse().unwrap();
        assert_eq!(
            connect(Source::Bind(foreign)).unwrap_err(),
            ConnectError::SourceUnavailable {
                address: foreign,
                errno: Errno::EADDRNOTAVAIL
            }
        );
        let of_another_family = "2001:db8::1".parse().unwrap();
        assert_eq!(
            connect(Source::Transparent(of_another_family)).unwrap_err(),
            ConnectError::SourceUnavailable {
                address: of_another_family,
                errno: Errno::EAFNOSUPPORT
            }
        );
        assert!(connect(Source::Transparent(foreign)).is_ok());
    });
}

#[test]
fn connecting_tells_refused_from_open() {
    as_root(|| {
        let pod = support::namespace();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let connect = || {
            let destination = "127.0.0.1:80".parse().unwrap();
            runtime.block_on(async {
                socket::connect(Some(&pod), Source::Any, destination, &SocketOptions::default()).await
            })
        };
        assert_eq!(connect().unwrap_err(), ConnectError::Connect(Errno::ECONNREFUSED));
        let listener = support::listener(&pod, 80);
        let stream = connect().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), "127.0.0.1:80".parse().unwrap());
        support::accept(&listener);
    });
}

#[test]
fn without_redirection_the_original_destination_is_the_local_address() {
    as_root(|| {
        let pair = Pair::new();
        let listener = support::listener(&pair.pod, 80);
        for destination in ["10.0.0.1:80", "[fd00::1]:80"] {
            let _stream = support::dial(&pair.outside, destination).unwrap();
            let (accepted, _) = support::accept(&listener);
            let original = socket::original_destination(&accepted).unwrap();
            assert_eq!(original, destination.parse().unwrap());
        }
    });
}

#[test]
fn a_reset_is_seen_as_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = support::accept(&listener);
    socket::reset(&accepted).unwrap();
    drop(accepted);
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn an_accepted_connection_may_have_options_of_its_own() {
    as_root(|| {
        let pod = support::namespace();
        let listener = support::listener(&pod, 80);
        let _client = support::dial(&pod, "127.0.0.1:80").unwrap();
        let (accepted, _) = support::accept(&listener);
        let options = SocketOptions {
            nodelay: false,
            ..every_option()
        };
        socket::apply_accepted(&accepted, &options).unwrap();
        let socket = SockRef::from(&accepted);
        assert!(!socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), options.user_timeout);
        assert_eq!(
            socket.tcp_keepalive_retries().unwrap(),
            options.keepalive.unwrap().retries
        );
    });
}

#[test]
fn a_connection_is_broken_by_a_reset_and_not_by_bytes_or_their_end() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = support::accept(&listener);
        accepted.set_nonblocking(true).unwrap();
        let accepted = tokio::net::TcpStream::from_std(accepted).unwrap();
        client.write_all(b"?").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        accepted.readable().await.unwrap();
        let waiting = std::pin::pin!(socket::broken(&accepted));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.poll(&mut context).is_pending());

        socket::reset(&client).unwrap();
        drop(client);
        socket::broken(&accepted).await.unwrap();
    });
}

#[test]
fn an_unknown_congestion_control_is_named_with_those_that_exist() {
    let error = Congestion::new("warp").unwrap_err();
    assert_eq!((error.name.as_str(), error.errno), ("warp", Errno::ENOENT));
    assert!(error.to_string().contains("reno"), "{error}");
    assert_eq!(Congestion::new("").unwrap_err().errno, Errno::EINVAL);
    assert_eq!(Congestion::new("reno").unwrap().name(), "reno");
}
