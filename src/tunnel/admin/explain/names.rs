//! What somebody who asks may call a pod or a service, and which address that is.
//!
//! A pod is named by its address, its uid, `namespace/name`, `name.namespace`, or its name alone where only one has it; a
//! service by its hostname or in the same ways. As in DNS, a name alone means the one of the client's own namespace
//! first, and a service comes before a pod of the same name.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adit_mesh::near::hint;
use adit_mesh::registry::Registry;
use adit_mesh::{Service, Workload};

use super::describe::name;

/// A workload by any of its names.
pub(super) fn workload(registry: &Registry, parameter: &str, text: &str) -> Result<Arc<Workload>, String> {
    if let Ok(ip) = text.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        let found = registry.workload_at(&registry.node().network, ip);
        return found
            .cloned()
            .ok_or_else(|| format!("{parameter}={text}: no workload has this address"));
    }
    if let Some(found) = registry.workload(text) {
        return Ok(Arc::clone(found));
    }
    let called = |workload: &&Arc<Workload>| is_called(text, workload.namespace(), &workload.name);
    let found: Vec<_> = registry.workloads().filter(called).collect();
    match &found[..] {
        [one] => Ok(Arc::clone(one)),
        [] => {
            let names = both_names(registry.workloads().map(|one| (name(one), &*one.name)), text);
            let hint = hint(text, names.iter().map(String::as_str));
            Err(format!("{parameter}={text}: no workload is called that{hint}"))
        }
        several => Err(format!(
            "{parameter}={text}: several workloads are called that; give one of {}",
            list(several.iter().map(|one| name(one)))
        )),
    }
}

/// What `text` means to a client: an address and port, or the name of a service or a workload with a port. The port may
/// be left out for a service that has only one.
pub(super) fn destination(
    registry: &Registry,
    client: Option<&Workload>,
    text: &str,
) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(SocketAddr::new(address.ip().to_canonical(), address.port()));
    }
    let (called, port) = match text.rsplit_once(':') {
        // More colons are an IPv6 address without a port.
        Some((before, port)) if !before.contains(':') => match port.parse() {
            Ok(port) if port != 0 => (before, Some(port)),
            _ => return Err(format!("destination={text}: {port:?} is no port (1 to 65535)")),
        },
        _ => (text, None),
    };
    if let Some(service) = service(registry, client, called)? {
        let ip = address_of(registry, client, &service)?;
        return Ok(SocketAddr::new(ip, port.map_or_else(|| only_port(&service), Ok)?));
    }
    let found = workload(registry, "destination", called).map_err(|problem| {
        let services = both_names(registry.services().map(|one| (short(one), &*one.name)), called);
        match hint(called, services.iter().map(String::as_str)) {
            meant if meant.starts_with("; did you mean") => {
                format!("destination={called}: no service or workload is called that{meant}")
            }
            _ => problem,
        }
    })?;
    let ip = match called.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical(),
        Err(_) => {
            let preferred = found.addresses.iter().find(|ip| same_family(client, **ip));
            let ip = preferred.or(found.addresses.first());
            *ip.ok_or_else(|| format!("destination={called}: {} has no address", name(&found)))?
        }
    };
    let port = port.ok_or_else(|| {
        let example = SocketAddr::new(ip, 8080);
        format!("destination={text}: a port is missing, as in {called}:8080 or {example}")
    })?;
    Ok(SocketAddr::new(ip, port))
}

/// A service by any of its names or by its address, as the client would find it.
fn service(
    registry: &Registry,
    client: Option<&Workload>,
    text: &str,
) -> Result<Option<Arc<Service>>, String> {
    let network = client.map_or(&registry.node().network, |client| &client.network);
    let namespace = client.map_or("", |client| client.namespace().as_str());
    if let Ok(ip) = text.parse::<IpAddr>() {
        let ip = ip.to_canonical();
        let found = registry.service_at(network, ip, namespace);
        return Ok(found.filter(|service| has(service, ip)).cloned());
    }
    let called = |service: &&Arc<Service>| {
        let key = &service.key;
        let full = is_called(text, &key.namespace, &service.name);
        let with_domain = text.strip_suffix(".svc");
        let hostname = *key.hostname == *text || key.to_string() == text;
        full || hostname || with_domain.is_some_and(|text| is_called(text, &key.namespace, &service.name))
    };
    let mut found: Vec<_> = registry.services().filter(called).collect();
    if found.iter().any(|service| *service.key.namespace == *namespace) {
        found.retain(|service| *service.key.namespace == *namespace);
    }
    match &found[..] {
        [] => Ok(None),
        [one] => Ok(Some(Arc::clone(one))),
        several => Err(format!(
            "destination={text}: several services are called that; give one of {}",
            list(several.iter().map(|one| short(one)))
        )),
    }
}

/// The address by which the client would call the service.
fn address_of(registry: &Registry, client: Option<&Workload>, service: &Service) -> Result<IpAddr, String> {
    let network = client.map_or(&registry.node().network, |client| &client.network);
    let here = || service.addresses.iter().filter(|one| one.network == *network);
    let preferred = here().find(|one| same_family(client, one.ip));
    let found = preferred.or(here().next()).or(service.addresses.first());
    found.map(|one| one.ip).ok_or_else(|| {
        let pods = registry.endpoints(&service.key).map(|one| name(one));
        format!(
            "destination={}: the service has no address of its own; ask about one of its pods: {}",
            service.key,
            list(pods)
        )
    })
}

fn only_port(service: &Service) -> Result<u16, String> {
    let ports: Vec<_> = service.ports.iter().map(|(port, _)| port.get()).collect();
    match ports[..] {
        [port] => Ok(port),
        _ => Err(format!(
            "destination={}: which port? It has {}",
            service.key,
            list(ports)
        )),
    }
}

fn has(service: &Service, ip: IpAddr) -> bool {
    service.addresses.iter().any(|one| one.ip == ip)
}

/// Whether the client has an address of this family; anything will do for one that has none.
fn same_family(client: Option<&Workload>, ip: IpAddr) -> bool {
    let first = client.and_then(|client| client.addresses.first());
    first.is_none_or(|first| first.is_ipv4() == ip.is_ipv4())
}

fn is_called(text: &str, namespace: &str, name: &str) -> bool {
    let split = |separator| {
        let (one, other) = text.split_once(separator)?;
        Some((one, other))
    };
    text == name
        || split('/').is_some_and(|halves| halves == (namespace, name))
        // A pod's name may have dots itself.
        || text.strip_suffix(namespace).and_then(|text| text.strip_suffix('.')) == Some(name)
}

/// `namespace/name` of a service.
fn short(service: &Service) -> String {
    format!("{}/{}", service.key.namespace, service.name)
}

/// The names to compare with: with their namespaces if the text has one.
fn both_names<'a>(names: impl Iterator<Item = (String, &'a str)>, text: &str) -> Vec<String> {
    let qualified = text.contains('/');
    names
        .map(|(full, short)| if qualified { full } else { short.to_owned() })
        .collect()
}

/// What may be listed in a sentence: sorted, and not more than a person reads.
fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    const MOST: usize = 8;
    let mut items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    items.sort();
    let more = items.len().saturating_sub(MOST);
    items.truncate(MOST);
    let mut text = if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    };
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}
