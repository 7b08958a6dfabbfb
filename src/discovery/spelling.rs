//! How the variants of the mesh are spelled: the same in files and in dumps, and as stock ztunnel spells them.

use adit_mesh::policy::{Action, PolicyScope};
use adit_mesh::service::{BalancingMode, HealthPolicy, IpFamilies, Scope, Visibility};
use adit_mesh::workload::{ApplicationProtocol, Health, NetworkMode, TunnelProtocol, WorkloadType};

/// A value that is written as one of a few words.
pub(crate) trait Spelled: Copy + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// The word.
    fn spelling(self) -> &'static str;

    /// The value of a word, if it is one of them.
    fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.spelling() == word)
    }
}

impl Spelled for TunnelProtocol {
    const ALL: &'static [Self] = &[Self::Tcp, Self::Hbone, Self::LegacyIstioMtls];

    fn spelling(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Hbone => "HBONE",
            Self::LegacyIstioMtls => "LEGACY_ISTIO_MTLS",
        }
    }
}

impl Spelled for NetworkMode {
    const ALL: &'static [Self] = &[Self::Standard, Self::HostNetwork];

    fn spelling(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::HostNetwork => "HostNetwork",
        }
    }
}

impl Spelled for Health {
    const ALL: &'static [Self] = &[Self::Healthy, Self::Unhealthy];

    fn spelling(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Unhealthy => "Unhealthy",
        }
    }
}

impl Spelled for WorkloadType {
    const ALL: &'static [Self] = &[Self::Deployment, Self::CronJob, Self::Pod, Self::Job];

    fn spelling(self) -> &'static str {
        self.as_str()
    }
}

impl Spelled for ApplicationProtocol {
    const ALL: &'static [Self] = &[Self::None, Self::Proxy];

    fn spelling(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Proxy => "PROXY",
        }
    }
}

impl Spelled for BalancingMode {
    const ALL: &'static [Self] = &[Self::Standard, Self::Strict, Self::Failover, Self::Passthrough];

    fn spelling(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::Strict => "Strict",
            Self::Failover => "Failover",
            Self::Passthrough => "Passthrough",
        }
    }
}

impl Spelled for Scope {
    const ALL: &'static [Self] = &[
        Self::Region,
        Self::Zone,
        Self::Subzone,
        Self::Node,
        Self::Cluster,
        Self::Network,
    ];

    fn spelling(self) -> &'static str {
        match self {
            Self::Region => "Region",
            Self::Zone => "Zone",
            Self::Subzone => "Subzone",
            Self::Node => "Node",
            Self::Cluster => "Cluster",
            Self::Network => "Network",
        }
    }
}

impl Spelled for HealthPolicy {
    const ALL: &'static [Self] = &[Self::OnlyHealthy, Self::AllowAll];

    fn spelling(self) -> &'static str {
        match self {
            Self::OnlyHealthy => "OnlyHealthy",
            Self::AllowAll => "AllowAll",
        }
    }
}

impl Spelled for IpFamilies {
    const ALL: &'static [Self] = &[Self::Automatic, Self::V4Only, Self::V6Only, Self::Dual];

    fn spelling(self) -> &'static str {
        match self {
            Self::Automatic => "Automatic",
            Self::V4Only => "IPv4",
            Self::V6Only => "IPv6",
            Self::Dual => "Dual",
        }
    }
}

impl Spelled for Visibility {
    const ALL: &'static [Self] = &[Self::Public, Self::Namespace];

    fn spelling(self) -> &'static str {
        match self {
            Self::Public => "Public",
            Self::Namespace => "Namespace",
        }
    }
}

impl Spelled for PolicyScope {
    const ALL: &'static [Self] = &[Self::Global, Self::Namespace, Self::WorkloadSelector];

    fn spelling(self) -> &'static str {
        match self {
            Self::Global => "Global",
            Self::Namespace => "Namespace",
            Self::WorkloadSelector => "WorkloadSelector",
        }
    }
}

impl Spelled for Action {
    const ALL: &'static [Self] = &[Self::Allow, Self::Deny];

    fn spelling(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}
