//! The mesh that is measured: 100,000 workloads on 1,000 nodes, 10,000 services of ten endpoints in 200 namespaces.
//! The same mesh as resources for a registry and as a file of the format that the tunnel reads.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use adit_mesh::policy::{Action, Clause, Group, Match, PolicyScope, StringMatch};
use adit_mesh::registry::{LocalNode, Update};
use adit_mesh::service::ServiceKey;
use adit_mesh::workload::{NetworkAddress, TunnelProtocol, WorkloadType};
use adit_mesh::{Interner, Policy, PolicyKey, Registry, Service, Text, TrustDomain, Workload};

/// Workloads of the mesh.
pub const WORKLOADS: usize = 100_000;
/// Services of the mesh.
pub const SERVICES: usize = 10_000;
/// Policies that apply to each measured workload.
pub const POLICIES: usize = 20;
/// Destinations that are called in turn.
pub const HOT: usize = 64;
const NAMESPACES: usize = 200;
const NODES: usize = 1_000;
/// The node whose tunnel is measured.
pub const NODE: &str = "node-0000";

/// The names and address of one workload.
struct Pod {
    number: usize,
    service: usize,
}

impl Pod {
    fn new(number: usize) -> Self {
        let service = number % SERVICES;
        Self { number, service }
    }

    fn name(&self) -> String {
        format!("app-{:05}-6d5f9c7b8-{:05}", self.service, self.number)
    }

    fn node(&self) -> String {
        // Each service is spread over ten nodes.
        format!("node-{:04}", (self.number / 7) % NODES)
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + self.number as u32)
    }

    fn revision(&self) -> &'static str {
        ["v1", "v2"][self.number % 2]
    }
}

fn namespace(service: usize) -> String {
    format!("team-{:03}", service % NAMESPACES)
}

fn app(service: usize) -> String {
    format!("app-{service:05}")
}

fn hostname(service: usize) -> String {
    format!("{}.{}.svc.cluster.local", app(service), namespace(service))
}

fn virtual_address(service: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(172, 20, 0, 1).to_bits() + service as u32)
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("not zero")
}

/// The mesh as the tunnel's file, in YAML as people and generators write it.
pub fn write(to: &mut impl Write) -> io::Result<()> {
    writeln!(to, "workloads:")?;
    for pod in (0..WORKLOADS).map(Pod::new) {
        let (name, app, namespace) = (pod.name(), app(pod.service), namespace(pod.service));
        writeln!(to, "- uid: Kubernetes//Pod/{namespace}/{name}")?;
        writeln!(
            to,
            "  name: {name}\n  namespace: {namespace}\n  serviceAccount: {app}"
        )?;
        writeln!(to, "  workloadIps: [{}]\n  protocol: HBONE", pod.address())?;
        writeln!(to, "  node: {}\n  clusterId: Kubernetes", pod.node())?;
        writeln!(
            to,
            "  canonicalName: {app}\n  canonicalRevision: {}",
            pod.revision()
        )?;
        writeln!(to, "  workloadName: {app}\n  workloadType: deployment")?;
        writeln!(
            to,
            "  services:\n    {namespace}/{}:\n      80: 8080",
            hostname(pod.service)
        )?;
    }
    writeln!(to, "services:")?;
    for service in 0..SERVICES {
        writeln!(
            to,
            "- name: {}\n  namespace: {}",
            app(service),
            namespace(service)
        )?;
        writeln!(
            to,
            "  hostname: {}\n  vips: [/{}]",
            hostname(service),
            virtual_address(service)
        )?;
        writeln!(to, "  ports:\n    80: 8080\n  canonical: true")?;
    }
    writeln!(to, "policies:")?;
    for n in 0..POLICIES {
        writeln!(to, "- name: policy-{n:02}\n  namespace: {}", namespace(0))?;
        writeln!(
            to,
            "  scope: Namespace\n  action: {}",
            if n < 5 { "Deny" } else { "Allow" }
        )?;
        writeln!(
            to,
            "  rules:\n  - - - principals:\n        - Exact: {}",
            principal(n)
        )?;
    }
    Ok(())
}

fn principal(policy: usize) -> String {
    // The last policy is the one that allows.
    let account = if policy + 1 == POLICIES {
        app(0)
    } else {
        format!("other-{policy:02}")
    };
    format!("cluster.local/ns/{}/sa/{account}", namespace(0))
}

/// The mesh in a registry.
pub fn registry() -> Registry {
    let mut texts = Interner::default();
    let mut registry = Registry::new(LocalNode {
        name: NODE.into(),
        network: Text::empty(),
        cluster: "Kubernetes".into(),
    });
    let services = (0..SERVICES)
        .map(|n| Update::Service(Arc::new(service(n, &mut texts))))
        .collect::<Vec<_>>();
    registry.apply(services);
    let workloads = (0..WORKLOADS).map(|n| Update::Workload(Arc::new(workload(n, &mut texts))));
    registry.apply(workloads);
    registry.apply((0..POLICIES).map(|n| Update::Policy(Arc::new(policy(n)))));
    registry
}

/// One workload of the mesh.
pub fn workload(number: usize, texts: &mut Interner) -> Workload {
    let pod = Pod::new(number);
    let (name, app, namespace) = (pod.name(), app(pod.service), namespace(pod.service));
    let made = Workload::new(
        format!("Kubernetes//Pod/{namespace}/{name}").into(),
        name.into(),
        TrustDomain::default(),
        texts.intern(&namespace),
        texts.intern(&app),
    );
    let key = ServiceKey {
        namespace: texts.intern(&namespace),
        hostname: texts.intern(&hostname(pod.service)),
    };
    Workload {
        addresses: Box::new([IpAddr::V4(pod.address())]),
        protocol: TunnelProtocol::Hbone,
        node: texts.intern(&pod.node()),
        cluster: texts.intern("Kubernetes"),
        canonical_name: texts.intern(&app),
        canonical_revision: texts.intern(pod.revision()),
        workload_name: texts.intern(&app),
        workload_type: WorkloadType::Deployment,
        services: Box::new([(key, [(port(80), Some(port(8080)))].into_iter().collect())]),
        ..made.expect("valid names")
    }
}

fn service(number: usize, texts: &mut Interner) -> Service {
    let key = ServiceKey {
        namespace: texts.intern(&namespace(number)),
        hostname: texts.intern(&hostname(number)),
    };
    Service {
        addresses: Box::new([NetworkAddress::new(Text::empty(), virtual_address(number).into())]),
        ports: [(port(80), Some(port(8080)))].into_iter().collect(),
        canonical: true,
        ..Service::new(key, texts.intern(&app(number)))
    }
}

/// One policy of namespace 0: all are evaluated before the last one allows.
fn policy(number: usize) -> Policy {
    let condition = Match {
        principals: Box::new([StringMatch::Exact(principal(number).into())]),
        ..Match::default()
    };
    Policy {
        key: PolicyKey {
            namespace: namespace(0).into(),
            name: format!("policy-{number:02}").into(),
        },
        scope: PolicyScope::Namespace,
        action: if number < 5 { Action::Deny } else { Action::Allow },
        groups: Box::new([Group {
            clauses: Box::new([Clause {
                matches: Box::new([condition]),
            }]),
        }]),
        dry_run: false,
    }
}

/// The uid of the measured workload, which runs on the measured node and to which the policies apply.
pub fn local_uid() -> String {
    let pod = Pod::new(0);
    format!("Kubernetes//Pod/{}/{}", namespace(pod.service), pod.name())
}

/// The destinations that are called: virtual addresses all over the mesh.
pub fn hot() -> Vec<SocketAddr> {
    let every = SERVICES / HOT;
    (0..HOT)
        .map(|n| SocketAddr::new(virtual_address(n * every).into(), 80))
        .collect()
}
