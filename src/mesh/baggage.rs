//! The `baggage` header by which each side of a tunnel tells the other's telemetry who it is. The form is the one
//! that ztunnel and Istio's waypoints read: members in a fixed order, no percent-encoding, empty ones left out. It
//! is a hint for metrics and is never trusted for a decision.

use crate::workload::Workload;

/// The header of a workload; "" if nothing about it is known.
///
/// A value that the form cannot spell (a comma or an equals sign in it, or anything but visible ASCII) is left out:
/// cut or mangled it would name something else.
pub fn format(workload: &Workload) -> String {
    let owner = format!("k8s.{}.name", workload.workload_type.as_str());
    let members = [
        ("k8s.cluster.name", &workload.cluster),
        ("k8s.namespace.name", workload.namespace()),
        (owner.as_str(), &workload.workload_name),
        ("service.name", &workload.canonical_name),
        ("service.version", &workload.canonical_revision),
        ("cloud.region", &workload.locality.region),
        ("cloud.availability_zone", &workload.locality.zone),
    ];
    let mut header = String::with_capacity(256);
    for (key, value) in members {
        if value.is_empty() || !value.bytes().all(may_stand) {
            continue;
        }
        if !header.is_empty() {
            header.push(',');
        }
        header.push_str(key);
        header.push('=');
        header.push_str(value);
    }
    header
}

fn may_stand(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b',' | b'=' | b'"' | b';' | b'\\')
}

#[cfg(test)]
mod tests;
