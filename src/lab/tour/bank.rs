//! The cast: who is in the bank, and what its mesh looks like.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, bail};

use crate::lab::apps::{self, Answer, ECHO_PORT, HTTP_PORT};
use crate::lab::http::{self, Failure};
use crate::lab::manifests;
use crate::lab::screen::Screen;
use crate::lab::world::{Pod, PodSpec, STRICT, Tunnel, World};
use crate::lab::{host, observe};

/// The Kubernetes namespace of the bank.
pub(super) const BANK: &str = "bank";

/// What must not be readable on any wire: it is part of every request, and of every answer.
pub(super) const SECRET: &str = "DE89370400440532013000";

/// The policy that says who may call the ledger.
pub(super) const LEDGER_POLICY: &str = "ledger-callers";

/// The policy that says who may call customer-analytics.
pub(super) const ANALYTICS_POLICY: &str = "analytics-callers";

/// The policy that refuses plaintext, which the control plane gives to every workload.
pub(super) const STRICT_POLICY: &str = STRICT;

/// The manifests that say who may do what.
pub(super) const POLICIES: &str = "policies.yaml";

/// Pod, service account, node. Those without a node of the mesh are not enrolled.
const CAST: [(&str, &str, usize); 6] = [
    ("web", "web", 0),
    ("payments", "payments", 0),
    ("ledger-1", "ledger", 0),
    ("ledger-2", "ledger", 1),
    ("customer-analytics", "customer-analytics", 1),
    (INTRUDER, "default", 1),
];

/// The pod outside of the mesh.
pub(super) const INTRUDER: &str = "intruder";

const PAYMENTS_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 20));
const LEDGER_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 30));

/// The bank, and the world that it is in.
pub(super) struct Bank {
    pub(super) world: World,
}

impl Bank {
    /// Makes the pods and starts their applications; nobody is enrolled yet.
    pub(super) fn build(mut world: World) -> anyhow::Result<Self> {
        for (name, service_account, node) in CAST {
            let namespace = if name == INTRUDER { "outside" } else { BANK };
            world.add_pod(PodSpec {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                service_account: service_account.to_owned(),
                node,
            })?;
        }
        // A service goes before a pod of the same name, as it would in a cluster.
        let mut hosts = vec![
            ("payments".to_owned(), PAYMENTS_VIP),
            ("ledger".to_owned(), LEDGER_VIP),
        ];
        let pods = world.pods().filter(|pod| pod.spec.name != "payments");
        hosts.extend(pods.map(|pod| (pod.spec.name.clone(), pod.address())));
        host::name_hosts(&hosts)?;
        let mut bank = Self { world };
        for (name, ..) in CAST {
            bank.start_app(name)?;
        }
        Ok(bank)
    }

    /// Starts the application of a pod, and waits until it listens.
    pub(super) fn start_app(&mut self, pod: &str) -> anyhow::Result<()> {
        let upstream = match pod {
            "web" => Some(SocketAddr::new(PAYMENTS_VIP, HTTP_PORT)),
            "payments" => Some(self.ledger(HTTP_PORT)),
            _ => None,
        };
        let name = pod.to_owned();
        let args = apps::Args { name, upstream };
        self.world.run_in(pod, &args.to_command())?;
        let pod = self.world.pod(pod)?;
        let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ECHO_PORT);
        observe::eventually(format_args!("{} listens", pod.spec.name), || {
            let connect = || std::net::TcpStream::connect(here);
            Ok(pod.namespace().run(connect)?.ok())
        })?;
        Ok(())
    }

    /// A port of the ledger, whichever replica it is.
    pub(super) fn ledger(&self, port: u16) -> SocketAddr {
        SocketAddr::new(LEDGER_VIP, port)
    }

    /// Writes the bank's services.
    pub(super) fn deploy(&self) -> anyhow::Result<()> {
        let ports = [HTTP_PORT, ECHO_PORT];
        manifests::write(
            "services.yaml",
            &[
                manifests::service("payments", BANK, PAYMENTS_VIP, &ports),
                manifests::service("ledger", BANK, LEDGER_VIP, &ports),
            ],
        )
    }

    /// Writes the bank's policies, with these service accounts allowed to call the ledger.
    pub(super) fn configure(&self, ledger_callers: &[&str]) -> anyhow::Result<()> {
        manifests::write(
            POLICIES,
            &[
                manifests::allow_only(LEDGER_POLICY, BANK, "ledger", ledger_callers),
                manifests::allow_only(ANALYTICS_POLICY, BANK, "customer-analytics", &["web"]),
            ],
        )
    }

    /// Calls an application from a pod, with the secret in the request.
    pub(super) fn call(&self, from: &str, address: SocketAddr) -> anyhow::Result<Answer> {
        let response = self.attempt(from, address)?;
        let response = response.with_context(|| format!("{from} calls {address}"))?;
        if response.status != 200 {
            bail!("{from} calls {address}: status {}", response.status);
        }
        let answer: Answer = serde_json::from_str(&response.body)?;
        if !answer.target.contains(SECRET) {
            bail!("{} was asked something else: {}", answer.app, answer.target);
        }
        Ok(answer)
    }

    /// Calls an application from a pod, whatever comes of it.
    pub(super) fn attempt(
        &self,
        from: &str,
        address: SocketAddr,
    ) -> anyhow::Result<Result<http::Response, Failure>> {
        let namespace = self.world.pod(from)?.namespace();
        let target = format!("/transfer?iban={SECRET}");
        Ok(http::request(namespace, address, "GET", &target))
    }

    /// The newest tunnel of the node of a pod.
    pub(super) fn tunnel_of(&self, pod: &Pod) -> anyhow::Result<&Tunnel> {
        self.world.node(pod.spec.node)?.tunnel()
    }

    /// Shows who is there.
    pub(super) fn introduce(&self, screen: &Screen) -> anyhow::Result<()> {
        for (index, node) in self.world.nodes().iter().enumerate() {
            let pods = self.world.pods().filter(|pod| pod.spec.node == index);
            let pods: Vec<_> = pods
                .map(|pod| format!("{} {}", pod.spec.name, pod.address()))
                .collect();
            screen.shows(&node.name, pods.join("   "));
        }
        Ok(())
    }
}

/// The SPIFFE identity of a service account of the bank.
pub(super) fn identity(service_account: &str) -> String {
    format!("spiffe://cluster.local/ns/{BANK}/sa/{service_account}")
}
