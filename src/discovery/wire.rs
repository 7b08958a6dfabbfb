//! Workloads, services and policies as they travel: the resources of delta xDS, read into values of the mesh and written
//! from them.
//!
//! A resource is read as a whole or rejected as a whole, by name and with the reason, and then claims what could be read
//! of its addresses: a tombstone refuses them, where passing over the resource would make them nobody's. What is not
//! known is passed over in workloads and services, whose fields only add; in a policy it rejects, because what is passed
//! over may be the condition that made it narrow.

mod invalid;
mod numbers;
mod parts;
mod policy;
mod service;
#[cfg(test)]
mod tests;
mod unknown;
mod workload;

use std::sync::Arc;

use adit_mesh::registry::{Rejection, ResourceName, Update};
use adit_mesh::{Interner, Policy, PolicyKey, Service, ServiceKey, Text, Workload};
use adit_proto::security::Authorization;
use adit_proto::workload::{Address, address};
use prost::Message;

use invalid::Invalid;

/// The type URL of workloads and services.
pub const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
/// The type URL of policies.
pub const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";

/// Reads a workload or a service that was sent under a name.
///
/// # Errors
/// What is wrong with it, as the rejection of the resource of that name.
pub fn read_address(name: &str, bytes: &[u8], texts: &mut Interner) -> Result<Update, Rejection> {
    let nameless = |reason: Invalid| Rejection::new(address_name(name), reason.told().into());
    let message = Address::decode(bytes).map_err(|error| nameless(Invalid::new(error)))?;
    match message.r#type {
        Some(address::Type::Workload(sent)) => {
            let read = workload::read(&sent, texts).and_then(|read| named(name, &read.uid).map(|()| read));
            read.map(|workload| Update::Workload(Arc::new(workload)))
                .map_err(|error| Rejection {
                    addresses: workload::claims(&sent),
                    ..Rejection::new(ResourceName::Workload(name.into()), error.told().into())
                })
        }
        Some(address::Type::Service(sent)) => {
            let read = service::read(&sent, texts)
                .and_then(|read| named(name, &read.key.to_string()).map(|()| read));
            read.map(|service| Update::Service(Arc::new(service)))
                .map_err(|error| {
                    let (addresses, ranges) = service::claims(&sent);
                    Rejection {
                        addresses,
                        ranges,
                        ..Rejection::new(address_name(name), error.told().into())
                    }
                })
        }
        None => Err(nameless(Invalid::new(
            "neither a workload nor a service, or of a kind that is not known",
        ))),
    }
}

/// Reads a policy that was sent under a name.
///
/// # Errors
/// What is wrong with it, as the rejection of the resource of that name.
pub fn read_authorization(name: &str, bytes: &[u8], texts: &mut Interner) -> Result<Update, Rejection> {
    let message = Authorization::decode(bytes).map_err(|error| (None, Invalid::new(error)));
    let read = message.and_then(|message| {
        let read = unknown::check_authorization(bytes)
            .and_then(|()| policy::read(&message, texts))
            .and_then(|read| named(name, &read.key.to_string()).map(|()| read));
        read.map_err(|error| (policy::scope(&message).ok(), error))
    });
    read.map(|policy| Update::Policy(Arc::new(policy)))
        .map_err(|(scope, error)| Rejection {
            scope,
            ..Rejection::new(ResourceName::Policy(policy_name(name)), error.told().into())
        })
}

/// What a removal under this name of the type [`ADDRESS`] is about. A name that was never sent is about nothing.
pub fn address_name(name: &str) -> ResourceName {
    match name.split_once('/') {
        // Every uid has a kind with a group between two slashes, or more parts; a hostname has no slash.
        Some((namespace, hostname))
            if !namespace.is_empty() && !hostname.is_empty() && !hostname.contains('/') =>
        {
            ResourceName::Service(ServiceKey {
                namespace: namespace.into(),
                hostname: hostname.into(),
            })
        }
        _ => ResourceName::Workload(name.into()),
    }
}

/// The policy that a name of the type [`AUTHORIZATION`] is about.
pub fn policy_name(name: &str) -> PolicyKey {
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    PolicyKey {
        namespace: Text::from(namespace),
        name: Text::from(name),
    }
}

/// A workload as it is sent, under its uid.
pub fn write_workload(workload: &Workload) -> Vec<u8> {
    let sent = address::Type::Workload(workload::write(workload));
    Address { r#type: Some(sent) }.encode_to_vec()
}

/// A service as it is sent, under its key.
pub fn write_service(service: &Service) -> Vec<u8> {
    let sent = address::Type::Service(service::write(service));
    Address { r#type: Some(sent) }.encode_to_vec()
}

/// A policy as it is sent, under its key.
pub fn write_policy(policy: &Policy) -> Vec<u8> {
    policy::write(policy).encode_to_vec()
}

/// A resource that is called one thing and says that it is another could not be removed by its name.
fn named(name: &str, own: &str) -> Result<(), Invalid> {
    if name == own {
        return Ok(());
    }
    Err(Invalid::new(format_args!("it says that its name is {own:?}")))
}
