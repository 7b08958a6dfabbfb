//! The rules as nftables text.
//!
//! Chains, in the order in which a packet meets them: connection tracking zones for DNS (`raw`), marks (`mangle`),
//! redirection (`nat`).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Options, Ports};
use crate::constants::{MARK_MASK, PROBE_ADDRESS_V4, PROBE_ADDRESS_V6, REPLY_MARK, TUNNEL_MARK};

/// The table's family and name.
pub(super) const TABLE: &str = "inet adit";

/// The first packet of a connection, whatever ECN says.
const SYN: &str = "tcp flags & (fin | syn | rst | ack) == syn";

/// A transaction that leaves exactly the rules of `options`, whatever was there. `add` before `delete` because deleting
/// what does not exist is an error, and `destroy` is younger than the nft of Debian 12.
pub(super) fn replacement(options: &Options) -> String {
    format!("{}{}", removal(), table(options))
}

/// A transaction that leaves no table.
pub(super) fn removal() -> String {
    format!("add table {TABLE}\ndelete table {TABLE}\n")
}

fn table(options: &Options) -> String {
    let families = Family::of(options);
    let mut text = format!("table {TABLE} {{\n");
    if options.dns {
        chain(
            &mut text,
            "prerouting_zone",
            "filter hook prerouting priority raw",
            &[format!("udp sport 53 {} ct zone set 1", not_tunnel())],
        );
        chain(
            &mut text,
            "output_zone",
            "filter hook output priority raw",
            &[format!("udp dport 53 {} ct zone set 1", tunnel())],
        );
    }
    chain(
        &mut text,
        "prerouting_mark",
        "filter hook prerouting priority mangle",
        // The tunnel's connection to the application, on its way in through the loopback device.
        &[format!(
            "{} ct mark set ct mark & {} | {REPLY_MARK:#x}",
            tunnel(),
            others()
        )],
    );
    chain(
        &mut text,
        "output_mark",
        // Of type route, so that the packet is routed again with its new mark.
        "route hook output priority mangle",
        &[format!(
            "ct mark & {MARK_MASK:#x} == {REPLY_MARK:#x} meta mark set meta mark & {} | {REPLY_MARK:#x}",
            others()
        )],
    );
    chain(
        &mut text,
        "prerouting_redirect",
        "nat hook prerouting priority dstnat",
        &inbound(options, families),
    );
    chain(
        &mut text,
        "output_redirect",
        // The name dstnat is not known at this hook.
        "nat hook output priority -100",
        &outbound(options, families),
    );
    text.push_str("}\n");
    text
}

fn chain(text: &mut String, name: &str, hook: &str, rules: &[String]) {
    let body = rules.iter().fold(String::new(), |mut body, rule| {
        // Writing to a string does not fail.
        let _ = writeln!(body, "\t\t{rule}");
        body
    });
    let _ = write!(
        text,
        "\tchain {name} {{\n\t\ttype {hook}; policy accept;\n{body}\t}}\n"
    );
}

/// What comes to the pod: everything but HBONE goes to the plaintext port, except the kubelet's probes.
fn inbound(options: &Options, families: &[Family]) -> Vec<String> {
    let Ports {
        outbound,
        inbound_plaintext,
        inbound_hbone,
        ..
    } = options.ports;
    let mut rules = Vec::new();
    for interface in &options.virtual_interfaces {
        let from = format!("iifname \"{}\"", interface.as_str());
        rules.push(format!("{from} {SYN} redirect to :{outbound}"));
        rules.push(format!("{from} meta l4proto tcp return"));
    }
    if options.ingress {
        return rules;
    }
    for family in families {
        rules.push(format!(
            "{} saddr {} meta l4proto tcp accept",
            family.word, family.probe
        ));
    }
    for family in families {
        rules.push(format!(
            "{} daddr != {} tcp dport != {inbound_hbone} {} {SYN} redirect to :{inbound_plaintext}",
            family.word,
            family.loopback,
            not_tunnel(),
        ));
    }
    rules
}

/// What leaves the pod: everything goes to the tunnel, except what is the tunnel's own, answers to probes, replies to
/// connections that the tunnel opened, and what stays inside the pod.
fn outbound(options: &Options, families: &[Family]) -> Vec<String> {
    let Ports { outbound, dns, .. } = options.ports;
    let mut rules = Vec::new();
    for family in families {
        rules.push(format!(
            "{} daddr {} meta l4proto tcp accept",
            family.word, family.probe
        ));
    }
    if options.dns {
        rules.push(format!(
            "oifname != \"lo\" udp dport 53 {} redirect to :{dns}",
            not_tunnel()
        ));
        for family in families {
            rules.push(format!(
                "{} daddr != {} tcp dport 53 {} {SYN} redirect to :{dns}",
                family.word,
                family.loopback,
                not_tunnel()
            ));
        }
    }
    rules.push(format!(
        "meta l4proto tcp meta mark & {MARK_MASK:#x} == {REPLY_MARK:#x} accept"
    ));
    for family in families {
        rules.push(format!(
            "{} daddr != {} oifname \"lo\" accept",
            family.word, family.loopback
        ));
    }
    for family in families {
        rules.push(format!(
            "{} daddr != {} {} {SYN} redirect to :{outbound}",
            family.word,
            family.loopback,
            not_tunnel()
        ));
    }
    rules
}

/// Packets of the tunnel's sockets.
fn tunnel() -> String {
    format!("meta mark & {MARK_MASK:#x} == {TUNNEL_MARK:#x}")
}

/// Packets of anybody else.
fn not_tunnel() -> String {
    format!("meta mark & {MARK_MASK:#x} != {TUNNEL_MARK:#x}")
}

/// The bits of a mark that are not the mesh's and stay as they are.
fn others() -> String {
    format!("{:#x}", !MARK_MASK)
}

/// What differs between IPv4 and IPv6.
struct Family {
    /// The keyword.
    word: &'static str,
    /// The address of the pod itself, which is never redirected.
    loopback: IpAddr,
    /// The address of the kubelet's probes.
    probe: IpAddr,
}

impl Family {
    const BOTH: [Self; 2] = [
        Self {
            word: "ip",
            loopback: IpAddr::V4(Ipv4Addr::LOCALHOST),
            probe: IpAddr::V4(PROBE_ADDRESS_V4),
        },
        Self {
            word: "ip6",
            loopback: IpAddr::V6(Ipv6Addr::LOCALHOST),
            probe: IpAddr::V6(PROBE_ADDRESS_V6),
        },
    ];

    fn of(options: &Options) -> &'static [Self] {
        if options.ipv6 {
            &Self::BOTH
        } else {
            &Self::BOTH[..1]
        }
    }
}
