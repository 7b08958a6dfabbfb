//! How connections end that got as far as a peer: policies, applications, clients that leave, pods that go.

use std::net::{IpAddr, SocketAddr, TcpStream};

use adit::lab::apps::{ECHO_PORT, HTTP_PORT};
use adit::lab::observe;
use adit_integration::harness::bed::{Bed, reset};
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::rogue::{Rogue, frames};
use adit_integration::harness::scripted::{Client, failure};
use adit_mesh::Outcome;
use adit_mesh::constants::HBONE_PORT;
use adit_net::link;
use anyhow::{Context, ensure};
use http::{Method, Request};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::{Case, Counted, Held, Stage, Teller};

/// The enrolled pods beside client and server.
pub(super) const ENROLLED: &[&str] = &["denied", "choosy", "orphan", "doomed", "leaving", "crowded"];

/// A port that nobody listens on.
const CLOSED: u16 = 1;

/// Adds pods with policies, pods that will go, and one that no packet comes through to.
pub(super) fn prepare(bed: &mut Bed, _: &Ca) -> anyhow::Result<()> {
    bed.add_bare("denied", 1)?["authorizationPolicies"] = json!(["bank/no-client"]);
    bed.add_bare("choosy", 1)?["authorizationPolicies"] = json!(["bank/only-friends"]);
    bed.add_bare("orphan", 1)?["authorizationPolicies"] = json!(["bank/never-written"]);
    bed.add_pod("doomed", 1)?;
    bed.add_pod("leaving", 1)?;
    bed.add_bare("crowded", 0)?;
    let is =
        |account: &str| json!({"principals": [{"Exact": format!("cluster.local/ns/bank/sa/{account}")}]});
    bed.mesh.add_policy("no-client", "bank", "Deny", is("client"));
    bed.mesh.add_policy("only-friends", "bank", "Allow", is("friend"));
    bed.add_machine("silent", 1)?;
    bed.wall_in("silent")
}

pub(super) const CASES: &[Case] = &[
    case(Outcome::PolicyDenied, Teller::Server, "bank/no-client", |stage| {
        refused(stage, "denied", HTTP_PORT)
    }),
    case(
        Outcome::PolicyNotAllowed,
        Teller::Server,
        "bank/only-friends",
        |stage| refused(stage, "choosy", HTTP_PORT),
    ),
    case(
        Outcome::PolicyMissing,
        Teller::Server,
        "bank/never-written",
        |stage| refused(stage, "orphan", HTTP_PORT),
    ),
    case(Outcome::PeerDenied, Teller::Client, "status 401", |stage| {
        refused(stage, "denied", HTTP_PORT)
    }),
    case(Outcome::ConnectFailed, Teller::Server, "refused", |stage| {
        refused(stage, "server", CLOSED)
    }),
    case(Outcome::PeerRefused, Teller::Client, "status 503", |stage| {
        refused(stage, "server", CLOSED)
    }),
    case(
        Outcome::ConnectTimeout,
        Teller::Client,
        "did not answer within 1s",
        |stage| refused(stage, "silent", HTTP_PORT),
    ),
    case(
        Outcome::ClientGone,
        Teller::Client,
        "the client closed",
        |stage| {
            let silent = stage.bed.socket("silent", HTTP_PORT)?;
            let client = stage.bed.connect("client", silent)?;
            observe::eventually("the connection in the table", || {
                Ok(shows(&stage.tunnels[0].dump()?, &silent.to_string()).then_some(()))
            })?;
            reset(client)?;
            nothing()
        },
    ),
    case(
        Outcome::ProtocolViolation,
        Teller::Server,
        "protocol error",
        |stage| {
            let credentials = stage.ca.peer(&spiffe("client"))?;
            let address = stage.bed.socket("server", HBONE_PORT)?;
            let plain = stage.bed.namespace("plain")?;
            let mut rogue = Rogue::call(plain, address, credentials, &spiffe("server"))?;
            rogue.greet(&[])?;
            rogue.send(frames::DATA, 0, 0, b"on no stream")?;
            Ok(Box::new(rogue))
        },
    ),
    case(Outcome::BadRequest, Teller::Server, "not a CONNECT", |stage| {
        let mut request = Request::new(());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = "https://server/".parse()?;
        ask(
            stage,
            |client, _| failure(client.request(request).err().expect("a refusal")).to_string(),
            "400",
        )
    }),
    case(Outcome::WrongDestination, Teller::Server, "neither", |stage| {
        let refusal = |client: &Client, _: SocketAddr| {
            failure(client.open("10.9.9.9:80").err().expect("a refusal")).to_string()
        };
        ask(stage, refusal, "400")
    }),
    case(
        Outcome::SourceAddress,
        Teller::Server,
        "cannot be used",
        |stage| {
            // A link-local address means nothing without an interface, so no socket can be bound to the client's.
            let pod = stage.bed.world.pod("server")?;
            let node = stage.bed.world.node(1)?;
            let here = link_local(pod.namespace(), "eth0")?;
            let there = link_local(&node.namespace, &pod.attachment.cable)?;
            let index = interface_index(&node.namespace, &pod.attachment.cable)?;
            let socket = node
                .namespace
                .run(|| Socket::new(Domain::IPV6, Type::STREAM, None))
                .flatten()?;
            let scoped = |ip: IpAddr, port| match ip {
                IpAddr::V6(ip) => SocketAddr::V6(std::net::SocketAddrV6::new(ip, port, 0, index)),
                IpAddr::V4(_) => SocketAddr::new(ip, port),
            };
            socket.bind(&scoped(there, 0).into())?;
            socket.connect(&scoped(here, HTTP_PORT).into())?;
            Ok(Box::new(socket))
        },
    ),
    case(Outcome::Overloaded, Teller::Client, "", |stage| {
        let namespace = stage.bed.namespace("crowded")?;
        // Two local ports are all that the pod has towards one destination.
        link::set(namespace, "ipv4/ip_local_port_range", "40000 40001")?;
        let plain = stage.bed.socket("plain", ECHO_PORT)?;
        let from = |port: u16| -> anyhow::Result<TcpStream> {
            let socket = namespace
                .run(|| Socket::new(Domain::IPV4, Type::STREAM, None))
                .flatten()?;
            socket.bind(&SocketAddr::from(([0, 0, 0, 0], port)).into())?;
            socket.connect(&plain.into())?;
            Ok(socket.into())
        };
        let many = (50000..50004).map(from).collect::<Result<Vec<_>, _>>()?;
        Ok(Box::new(many))
    }),
    Case {
        outcome: Outcome::Reset,
        teller: Teller::Client,
        counted: Counted::Closed,
        says: "client",
        provoke: |stage| {
            let server = stage.bed.socket("server", ECHO_PORT)?;
            let client = stage.bed.connect("client", server)?;
            observe::eventually("the connection in the server's table", || {
                Ok(shows(&stage.tunnels[1].dump()?, &server.to_string()).then_some(()))
            })?;
            reset(client)?;
            nothing()
        },
    },
    cut(Outcome::PolicyChanged, "bank/no-client", |stage| {
        let server = stage.bed.socket("server", ECHO_PORT)?;
        let mut session = stage.bed.session("client", server)?;
        stage.bed.mesh.workload("server")["authorizationPolicies"] = json!(["bank/no-client"]);
        stage.bed.configure()?;
        session.wait_cut()?;
        stage.bed.mesh.workload("server")["authorizationPolicies"] = json!([]);
        stage.bed.apply(&[&stage.tunnels[1]])?;
        nothing()
    }),
    cut(Outcome::PodGone, "", |stage| {
        let doomed = stage.bed.socket("doomed", ECHO_PORT)?;
        let session = stage.bed.session("client", doomed)?;
        link::remove(stage.bed.namespace("doomed")?, "eth0")?;
        stage.bed.world.release("doomed")?;
        Ok(Box::new(session))
    }),
    cut(Outcome::Shutdown, "deadline of the drain", |stage| {
        let leaving = stage.bed.socket("leaving", ECHO_PORT)?;
        let session = stage.bed.session("client", leaving)?;
        stage.bed.world.release("leaving")?;
        Ok(Box::new(session))
    }),
];

const fn case(
    outcome: Outcome,
    teller: Teller,
    says: &'static str,
    provoke: fn(&mut Stage) -> anyhow::Result<Held>,
) -> Case {
    Case {
        outcome,
        teller,
        counted: Counted::Failed,
        says,
        provoke,
    }
}

/// An established connection that the server's tunnel ends.
const fn cut(outcome: Outcome, says: &'static str, provoke: fn(&mut Stage) -> anyhow::Result<Held>) -> Case {
    Case {
        outcome,
        teller: Teller::Server,
        counted: Counted::Closed,
        says,
        provoke,
    }
}

fn refused(stage: &mut Stage, pod: &str, port: u16) -> anyhow::Result<Held> {
    let address = stage.bed.socket(pod, port)?;
    stage.bed.refused("client", address)?;
    nothing()
}

/// Lets a scripted client ask the server's tunnel something, and looks for a status in what it was told.
fn ask(
    stage: &mut Stage,
    question: impl FnOnce(&Client, SocketAddr) -> String,
    status: &str,
) -> anyhow::Result<Held> {
    let credentials = stage.ca.peer(&spiffe("client"))?;
    let address = stage.bed.socket("server", HBONE_PORT)?;
    let client = Client::connect(
        stage.bed.namespace("plain")?,
        address,
        &credentials,
        &spiffe("server"),
    )??;
    let told = question(&client, address);
    ensure!(
        told.contains(status),
        "the client was told {told:?}, not {status}"
    );
    Ok(Box::new(client))
}

/// Whether the dump has a live connection to this original destination.
fn shows(dump: &Value, destination: &str) -> bool {
    let pods = dump["workloadState"].as_object();
    let connections = pods.into_iter().flat_map(|pods| pods.values()).flat_map(|pod| {
        let of = |direction| pod["connections"][direction].as_array().into_iter().flatten();
        of("inbound").chain(of("outbound"))
    });
    connections
        .into_iter()
        .any(|connection| connection["originalDst"] == destination)
}

fn link_local(namespace: &adit_net::Namespace, device: &str) -> anyhow::Result<IpAddr> {
    observe::eventually(format_args!("a link-local address of {device}"), || {
        let text = namespace
            .run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6"))
            .flatten()?;
        Ok(text.lines().find_map(|line| of_device(line, device)))
    })
}

/// An address of `/proc/net/if_inet6`, if it is the device's link-local one and no longer tentative (0x40).
fn of_device(line: &str, device: &str) -> Option<IpAddr> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [address, _, _, scope, flags, name] = fields[..] else {
        return None;
    };
    let usable = name == device && scope == "20" && u8::from_str_radix(flags, 16).ok()? & 0x40 == 0;
    let number = u128::from_str_radix(address, 16).ok()?;
    usable.then(|| IpAddr::V6(number.into()))
}

fn interface_index(namespace: &adit_net::Namespace, device: &str) -> anyhow::Result<u32> {
    let index = namespace.run(|| nix::net::if_::if_nametoindex(device))?;
    index.with_context(|| format!("no device {device}"))
}

fn nothing() -> anyhow::Result<Held> {
    Ok(Box::new(()))
}
