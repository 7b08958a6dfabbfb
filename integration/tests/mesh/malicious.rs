//! What a pod or a stranger may try that means ill. Calls to the tunnel's own ports, from pods, from outside of the mesh and
//! from the pod itself: none of them leads anywhere, none goes round in circles, and everybody else is served on. Claims in
//! headers and a borrowed address, which make nobody somebody else. And a pod that takes the tunnel's mark, which lets it
//! out of its pod and in nowhere that is strict.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use adit::lab::apps::HTTP_PORT;
use adit::lab::http::Failure;
use adit::lab::world::PATIENCE;
use adit_integration::harness::bed::{Bed, NAMESPACE};
use adit_integration::harness::credentials::{Ca, spiffe};
use adit_integration::harness::marked::{self, Capability, Fate};
use adit_integration::harness::pair::Pair;
use adit_integration::harness::scripted::{Client, failure};
use adit_integration::harness::watch::{OPENED, Watch};
use adit_mesh::constants::HBONE_PORT;
use anyhow::{Context, ensure};
use http::{Method, Request};
use serde_json::json;
use socket2::{Domain, Socket, Type};

/// Where tunnels listen in pods, and where they listen for operators in a namespace of their own.
const IN_PODS: [u16; 3] = [15001, 15006, 15008];
const OF_TUNNELS: [u16; 3] = [15000, 15020, 15021];
const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 50);

/// How many connections one call may cause. A loop causes thousands.
const FEW: f64 = 4.0;

fn build() -> anyhow::Result<Pair> {
    Pair::build(&[("client", 0), ("server", 1), ("neighbour", 0)], |bed| {
        let ports = IN_PODS.map(|port| (port.to_string(), json!(port)));
        let ports = serde_json::Map::from_iter(ports).into();
        bed.mesh.add_service("trap", NAMESPACE, &VIP.to_string(), ports);
        bed.mesh.serves("server", "trap", NAMESPACE, json!({}));
        bed.add_machine("plain", 0)
    })
}

/// What the tunnels have refused or opened.
fn connections(watch: &Watch<'_>) -> anyhow::Result<f64> {
    let opened = watch.rise("istio_tcp_connections_opened_total", &[])?;
    Ok(opened + watch.rise("adit_refused_connections_total", &[])?)
}

/// The call is not answered with a page, and causes few connections.
fn leads_nowhere(pair: &Pair, from: &str, to: SocketAddr) -> anyhow::Result<Failure> {
    let (first, second) = (Watch::begin(&pair.first)?, Watch::begin(&pair.second)?);
    let failure = pair.bed.refused(from, to)?;
    let caused = connections(&first)? + connections(&second)?;
    ensure!(
        caused <= FEW,
        "{from} calls {to}, and {caused} connections came of it"
    );
    Ok(failure)
}

fn others_are_served(bed: &Bed) -> anyhow::Result<()> {
    ensure!(bed.call("client", bed.socket("server", HTTP_PORT)?)? == "server");
    ensure!(bed.call("plain", bed.socket("server", HTTP_PORT)?)? == "server");
    Ok(())
}

/// From a pod of the mesh: to other pods, to itself, to loopback, and through a service.
pub fn a_pod_cannot_call_the_tunnels_ports() -> anyhow::Result<()> {
    let pair = build()?;
    let address = |pod: &str| anyhow::Ok(pair.bed.world.pod(pod)?.address());
    let targets = [
        ("another node's pod", address("server")?),
        ("the neighbour", address("neighbour")?),
        ("itself", address("client")?),
        ("loopback", IpAddr::from(Ipv4Addr::LOCALHOST)),
        ("a service", IpAddr::from(VIP)),
    ];
    for (what, target) in targets {
        for port in IN_PODS.into_iter().chain(OF_TUNNELS) {
            leads_nowhere(&pair, "client", SocketAddr::new(target, port))
                .with_context(|| format!("{what}, port {port}"))?;
        }
    }
    others_are_served(&pair.bed)
}

/// From outside of the mesh: ports that take plaintext refuse those who call them, the HBONE port those without TLS.
pub fn a_stranger_cannot_call_the_tunnels_ports() -> anyhow::Result<()> {
    let pair = build()?;
    let server = pair.bed.world.pod("server")?.address();
    let watch = Watch::begin(&pair.second)?;
    for port in IN_PODS.into_iter().chain(OF_TUNNELS) {
        leads_nowhere(&pair, "plain", SocketAddr::new(server, port))
            .with_context(|| format!("port {port}"))?;
    }
    watch.line("inbound", "loop", &[("dst.workload", "server")])?;
    watch.line("inbound", "tls_failed", &[("response_flags", "TLS_FAILURE")])?;
    watch.risen(
        "adit_refused_connections_total",
        &[("outcome", "loop"), ("direction", "inbound")],
        2,
    )?;
    others_are_served(&pair.bed)
}

/// `client` and `guest` on the first node; `server` on the second lets in `client` alone, by its identity or its address.
fn guarded() -> anyhow::Result<Pair> {
    Pair::build(&[("client", 0), ("guest", 0), ("server", 1)], |bed| {
        bed.add_machine("outside", 0)?;
        let principal = spiffe("client").replace("spiffe://", "");
        let client = json!({ "principals": [{ "Exact": principal }] });
        bed.mesh.add_policy("doors", NAMESPACE, "Allow", client);
        bed.mesh.workload("server")["authorizationPolicies"] = json!(["bank/doors"]);
        Ok(())
    })
}

/// Whatever a peer's headers say of it, it is who its certificate says, and comes from where it comes from.
pub fn what_a_peer_says_of_itself_decides_nothing() -> anyhow::Result<()> {
    let mut pair = guarded()?;
    let client = pair.bed.world.pod("client")?.address();
    let by_address = json!({ "sourceIps": [format!("{client}/32")] });
    pair.bed.mesh.policies[0]["rules"]
        .as_array_mut()
        .context("no rules")?
        .push(json!([[by_address]]));
    pair.apply()?;
    let authority = pair.bed.socket("server", HTTP_PORT)?.to_string();
    let connect = |identity: &str| {
        let credentials = Ca::of_the_mesh()?.peer(identity)?;
        let port = pair.bed.socket("server", HBONE_PORT)?;
        anyhow::Ok(Client::connect(
            pair.bed.namespace("outside")?,
            port,
            &credentials,
            &spiffe("server"),
        )??)
    };
    connect(&spiffe("client"))?.open(&authority).map_err(failure)?;
    let claims = [
        (
            "baggage",
            "k8s.cluster.name=lab,k8s.namespace.name=bank,k8s.deployment.name=client,service.name=client"
                .to_owned(),
        ),
        ("forwarded", format!("for={client}")),
        ("x-forwarded-for", client.to_string()),
        ("x-forwarded-client-cert", format!("URI={}", spiffe("client"))),
    ];
    let watch = Watch::begin(&pair.second)?;
    let mut request = Request::builder().method(Method::CONNECT).uri(&authority);
    for (name, value) in &claims {
        request = request.header(*name, value);
    }
    match connect(&spiffe("outside"))?.request(request.body(())?) {
        Ok(_) => anyhow::bail!("headers have opened the door"),
        Err(error) => ensure!(failure(error).detail.contains("401"), "refused in another way"),
    }
    watch.line(
        "inbound",
        "policy_not_allowed",
        &[("src.identity", &spiffe("outside"))],
    )?;
    Ok(())
}

/// A pod that calls from the address of another one is still itself: who it is depends on where it was captured.
pub fn a_borrowed_address_lends_no_identity() -> anyhow::Result<()> {
    let pair = guarded()?;
    let bed = &pair.bed;
    let server = bed.socket("server", HTTP_PORT)?;
    let borrowed = bed.world.pod("client")?.address();
    ensure!(bed.call("client", server)? == "server");
    let mut ip = std::process::Command::new("ip");
    ip.args(["address", "add", &format!("{borrowed}/32"), "dev", "lo"]);
    let status = adit_net::process::spawn(Some(bed.namespace("guest")?), ip)?.wait()?;
    ensure!(status.success(), "ip ended with {status}");
    let watch = Watch::begin(&pair.second)?;
    let call = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(borrowed, 0).into())?;
        socket.connect_timeout(&server.into(), PATIENCE)?;
        Ok::<_, std::io::Error>(TcpStream::from(socket))
    };
    let mut stream = bed.namespace("guest")?.run(call).flatten()?;
    ensure!(stream.local_addr()?.ip() == borrowed, "the address was not taken");
    stream.set_read_timeout(Some(PATIENCE))?;
    let _cut = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    let mut answer = Vec::new();
    let _end = stream.read_to_end(&mut answer);
    ensure!(
        answer.is_empty(),
        "it was answered: {:?}",
        String::from_utf8_lossy(&answer)
    );
    watch.line(
        "inbound",
        "policy_not_allowed",
        &[("src.identity", &spiffe("guest"))],
    )?;
    Ok(())
}

/// Whether the kernel lets a process with NET_RAW set a mark.
fn net_raw_may_mark() -> anyhow::Result<bool> {
    let release = nix::sys::utsname::uname()?;
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor) >= (5, 17)),
        _ => anyhow::bail!("which Linux is {release}?"),
    }
}

/// A process with NET_RAW, which Kubernetes gives to every container, takes the tunnel's mark: its connection leaves its
/// pod uncaptured. It has no identity then, and a pod whose policies ask for one refuses it, on the same node as well: the
/// mark does not pass from one pod to another. Without NET_RAW there is no mark to be had.
pub fn a_marked_connection_leaves_uncaptured_and_strict_peers_refuse_it() -> anyhow::Result<()> {
    let pods = [("client", 0), ("neighbour", 0), ("server", 1), ("open", 1)];
    let pair = Pair::build(&pods, |bed| {
        let somebody = json!({ "notPrincipals": [{ "Presence": [] }] });
        bed.mesh.add_policy("strict", NAMESPACE, "Deny", somebody);
        for pod in ["neighbour", "server"] {
            bed.mesh.workload(pod)["authorizationPolicies"] = json!(["bank/strict"]);
        }
        Ok(())
    })?;
    let bed = &pair.bed;
    let client = bed.namespace("client")?;
    let call = |to: &str, capability| marked::call(client, bed.socket(to, HTTP_PORT)?, capability);
    for pod in ["neighbour", "server", "open"] {
        ensure!(
            bed.call("client", bed.socket(pod, HTTP_PORT)?)? == pod,
            "captured as it should be"
        );
        ensure!(
            call(pod, Capability::None)? == Fate::Unmarked,
            "a mark without any capability"
        );
    }
    if !net_raw_may_mark()? {
        // Then nothing short of NET_ADMIN gets that far.
        ensure!(
            call("open", Capability::NetRaw)? == Fate::Unmarked,
            "a mark on a kernel before 5.17"
        );
        return Ok(());
    }
    let (here, there) = (Watch::begin(&pair.first)?, Watch::begin(&pair.second)?);
    ensure!(
        call("open", Capability::NetRaw)? == Fate::Answered,
        "the mark lets nobody out any more"
    );
    let line = there.completed("inbound", &[("dst.workload", "open")])?;
    ensure!(
        line["src.identity"].is_null(),
        "an identity that nobody proved: {line}"
    );
    ensure!(
        call("server", Capability::NetRaw)? == Fate::Refused,
        "a strict peer answers plaintext"
    );
    let line = there.line("inbound", "policy_denied", &[("dst.workload", "server")])?;
    ensure!(
        line["src.identity"].is_null(),
        "an identity that nobody proved: {line}"
    );
    let captured = here.rise(OPENED, &[("reporter", "source")])?;
    ensure!(captured == 0.0, "{captured} connections were captured after all");
    ensure!(
        call("neighbour", Capability::NetRaw)? == Fate::Refused,
        "a strict neighbour answers plaintext"
    );
    here.line("inbound", "policy_denied", &[("dst.workload", "neighbour")])?;
    Ok(())
}
