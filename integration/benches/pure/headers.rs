//! The words that go with a CONNECT, and the header of the PROXY protocol.

use std::hint::black_box;
use std::net::SocketAddr;

use adit_hbone::headers::traceparent::Traceparent;
use adit_hbone::headers::{baggage, forwarded};
use adit_mesh::Identity;
use adit_mesh::route::Authority;
use adit_tunnel::proxy_protocol;

use crate::case::Case;

const BAGGAGE: &str = "k8s.cluster.name=Kubernetes,k8s.namespace.name=bank,k8s.deployment.name=payments,\
    service.name=payments,service.version=v1,cloud.region=eu-central-1,cloud.availability_zone=eu-central-1a";
const FORWARDED: &str = "for=\"10.0.1.5:40312\";host=ledger.bank.svc.cluster.local";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("authority, address", || || "10.0.1.7:8080".parse::<Authority>()),
        Case::new("authority, hostname", || {
            || "ledger.bank.svc.cluster.local:80".parse::<Authority>()
        }),
        Case::new("baggage", || || baggage::parse([black_box(BAGGAGE)])),
        Case::new("forwarded", || || forwarded::parse(black_box(FORWARDED))),
        Case::new("traceparent", || || Traceparent::parse(black_box(TRACEPARENT))),
        Case::new("PROXY header", proxy_header),
    ]
}

fn proxy_header() -> impl FnMut() -> Vec<u8> {
    let client: SocketAddr = "10.0.1.5:40312".parse().expect("an address");
    let called: SocketAddr = "10.96.0.10:80".parse().expect("an address");
    let identity: Identity = "spiffe://cluster.local/ns/bank/sa/payments"
        .parse()
        .expect("an identity");
    move || {
        let service = Some("ledger.bank.svc.cluster.local");
        proxy_protocol::header(client, called, Some(&identity), service)
    }
}
