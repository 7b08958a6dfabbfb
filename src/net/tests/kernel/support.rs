//! A stage for tests: where they may be root, and a small network.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use adit_net::constants::TUNNEL_MARK;
use adit_net::link::{self, End, Route};
use adit_net::{Namespace, SocketOptions, Source, socket};

/// Set in the child process that runs one test inside a user namespace.
const INSIDE: &str = "ADIT_NET_TEST_INSIDE";

/// How long a connection may take that is expected to come.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the test where it is root: here, or in a child process inside a user namespace. Call it with a closure
/// written in the test function itself, whose name it takes from there.
pub fn as_root<F: FnOnce()>(test: F) {
    if nix::unistd::geteuid().is_root() {
        return test();
    }
    assert!(
        std::env::var_os(INSIDE).is_none(),
        "not root inside the user namespace"
    );
    let path = std::any::type_name::<F>();
    let name = path
        .trim_end_matches("::{{closure}}")
        .split_once("::")
        .expect("a test's path begins with its crate")
        .1;
    // Kept back unless it fails: what it prints is not the result of this run of tests.
    let played = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount"])
        .arg(std::env::current_exe().expect("a test runs from a file"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("the program unshare is needed (package util-linux)");
    assert!(
        played.status.success(),
        "{name} failed inside the user namespace:\n{}{}",
        String::from_utf8_lossy(&played.stdout),
        String::from_utf8_lossy(&played.stderr)
    );
}

/// A new namespace with its loopback device up.
pub fn namespace() -> Namespace {
    let namespace = Namespace::create().unwrap();
    link::set_up(&namespace, "lo").unwrap();
    namespace
}

/// A pod and somebody outside of it, on one link, with IPv4 and IPv6, each the other's default route.
pub struct Pair {
    pub pod: Namespace,
    pub outside: Namespace,
}

impl Pair {
    pub const POD: [&str; 2] = ["10.0.0.1", "fd00::1"];
    pub const OUTSIDE: [&str; 2] = ["10.0.0.2", "fd00::2"];

    pub fn new() -> Self {
        let pair = Self {
            pod: namespace(),
            outside: namespace(),
        };
        let ends = [(&pair.pod, Self::POD), (&pair.outside, Self::OUTSIDE)];
        link::add_veth(
            End {
                namespace: &pair.pod,
                name: "eth0",
            },
            End {
                namespace: &pair.outside,
                name: "eth0",
            },
        )
        .unwrap();
        for (namespace, addresses) in ends {
            for (address, length) in addresses.iter().zip([24, 64]) {
                let address = format!("{address}/{length}").parse().unwrap();
                link::add_address(namespace, "eth0", address).unwrap();
            }
        }
        for (namespace, gateways) in [(&pair.pod, Self::OUTSIDE), (&pair.outside, Self::POD)] {
            for (gateway, destination) in gateways.iter().zip(["0.0.0.0/0", "::/0"]) {
                let route = Route {
                    destination: destination.parse().unwrap(),
                    via: Some(gateway.parse().unwrap()),
                    device: Some("eth0"),
                };
                link::add_route(namespace, &route).unwrap();
            }
        }
        pair
    }
}

/// A blocking listener on every address of the namespace.
pub fn listener(namespace: &Namespace, port: u16) -> TcpListener {
    let any = SocketAddr::new("::".parse().unwrap(), port);
    let listener = socket::listen(Some(namespace), any, &socket::ListenOptions::default()).unwrap();
    listener.set_nonblocking(false).unwrap();
    listener
}

/// Connects as an application does.
pub fn dial(namespace: &Namespace, destination: &str) -> std::io::Result<TcpStream> {
    let destination: SocketAddr = destination.parse().unwrap();
    let stream = namespace.run(|| TcpStream::connect_timeout(&destination, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Connects as the tunnel does: marked.
pub fn dial_marked(namespace: &Namespace, source: Source, destination: &str) -> TcpStream {
    let options = SocketOptions {
        mark: Some(TUNNEL_MARK),
        ..SocketOptions::default()
    };
    let destination: SocketAddr = destination.parse().unwrap();
    let socket = socket::connector(Some(namespace), destination, source, &options).unwrap();
    socket.connect_timeout(&destination.into(), PATIENCE).unwrap();
    socket.set_nonblocking(false).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One byte each way.
pub fn assert_talk(one: &mut TcpStream, other: &mut TcpStream) {
    let mut byte = [0];
    one.write_all(b"?").unwrap();
    other.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"?");
    other.write_all(b"!").unwrap();
    one.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"!");
}

/// Accepts one connection, which must come in time.
pub fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    listener.set_nonblocking(true).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                return (stream, peer.ip().to_canonical());
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(std::time::Instant::now() < deadline, "no connection came");
                std::thread::yield_now();
            }
            Err(error) => panic!("accept: {error}"),
        }
    }
}
