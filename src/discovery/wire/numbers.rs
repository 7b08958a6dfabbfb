//! The variants of the mesh and the numbers that stand for them in messages.

use adit_mesh::policy::{Action, PolicyScope};
use adit_mesh::service::{BalancingMode, HealthPolicy, IpFamilies, Scope, Visibility};
use adit_mesh::workload::{ApplicationProtocol, Health, NetworkMode, TunnelProtocol, WorkloadType};
use adit_proto::workload::load_balancing as lb;
use adit_proto::{security, workload as wire};

use super::invalid::Invalid;

/// A value that travels as a number.
pub(super) trait Numbered: Copy + PartialEq + 'static {
    /// What it is called, for people.
    const WHAT: &'static str;
    /// Every value.
    const ALL: &'static [(Self, i32)];

    /// The number of the value.
    fn number(self) -> i32 {
        let found = Self::ALL.iter().find(|(value, _)| *value == self);
        // Every value stands in its table, which the tests look at.
        found.map_or(0, |(_, number)| *number)
    }

    /// The value of a number.
    ///
    /// # Errors
    /// There is none: a newer protocol, or nonsense.
    fn of(number: i32) -> Result<Self, Invalid> {
        let found = Self::ALL.iter().find(|(_, own)| *own == number);
        found
            .map(|(value, _)| *value)
            .ok_or_else(|| Invalid::new(format_args!("{number} is no {} that is known", Self::WHAT)))
    }
}

macro_rules! numbered {
    ($type:ty, $what:literal, $($value:ident = $number:expr),+ $(,)?) => {
        impl Numbered for $type {
            const WHAT: &'static str = $what;
            const ALL: &'static [(Self, i32)] = &[$((Self::$value, $number as i32)),+];
        }
    };
}

numbered!(
    TunnelProtocol,
    "tunnel protocol",
    Tcp = wire::TunnelProtocol::None,
    Hbone = wire::TunnelProtocol::Hbone,
    LegacyIstioMtls = wire::TunnelProtocol::LegacyIstioMtls,
);
numbered!(
    NetworkMode,
    "network mode",
    Standard = wire::NetworkMode::Standard,
    HostNetwork = wire::NetworkMode::HostNetwork,
);
numbered!(
    Health,
    "status",
    Healthy = wire::WorkloadStatus::Healthy,
    Unhealthy = wire::WorkloadStatus::Unhealthy,
);
numbered!(
    WorkloadType,
    "workload type",
    Deployment = wire::WorkloadType::Deployment,
    CronJob = wire::WorkloadType::Cronjob,
    Pod = wire::WorkloadType::Pod,
    Job = wire::WorkloadType::Job,
);
numbered!(
    ApplicationProtocol,
    "application protocol",
    None = wire::application_tunnel::Protocol::None,
    Proxy = wire::application_tunnel::Protocol::Proxy,
);
numbered!(
    BalancingMode,
    "mode",
    Standard = lb::Mode::UnspecifiedMode,
    Strict = lb::Mode::Strict,
    Failover = lb::Mode::Failover,
    Passthrough = lb::Mode::Passthrough,
);
numbered!(
    Scope,
    "scope",
    Region = lb::Scope::Region,
    Zone = lb::Scope::Zone,
    Subzone = lb::Scope::Subzone,
    Node = lb::Scope::Node,
    Cluster = lb::Scope::Cluster,
    Network = lb::Scope::Network,
);
numbered!(
    HealthPolicy,
    "health policy",
    OnlyHealthy = lb::HealthPolicy::OnlyHealthy,
    AllowAll = lb::HealthPolicy::AllowAll,
);
numbered!(
    IpFamilies,
    "choice of address families",
    Automatic = wire::IpFamilies::Automatic,
    V4Only = wire::IpFamilies::Ipv4Only,
    V6Only = wire::IpFamilies::Ipv6Only,
    Dual = wire::IpFamilies::Dual,
);
numbered!(
    Visibility,
    "visibility",
    Public = wire::Visibility::Public,
    Namespace = wire::Visibility::Namespace,
);
numbered!(
    PolicyScope,
    "scope",
    Global = security::Scope::Global,
    Namespace = security::Scope::Namespace,
    WorkloadSelector = security::Scope::WorkloadSelector,
);
numbered!(
    Action,
    "action",
    Allow = security::Action::Allow,
    Deny = security::Action::Deny,
);
