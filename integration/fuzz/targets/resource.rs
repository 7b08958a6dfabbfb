//! Workloads, services and policies as they travel: whatever is accepted is written so that it reads as the same, and
//! what is rejected is rejected by the name that it was sent under.

#![no_main]

use adit_discovery::wire;
use adit_mesh::Interner;
use adit_mesh::registry::{ResourceName, Update};
use libfuzzer_sys::fuzz_target;

// The name, a newline, and what was sent under it.
fuzz_target!(|input: &[u8]| {
    let end = input
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(input.len());
    let (name, bytes) = input.split_at(end);
    let Some(name) = adit_fuzz::text(name) else {
        return;
    };
    let bytes = bytes.get(1..).unwrap_or_default();
    let mut texts = Interner::default();
    match wire::read_address(name, bytes, &mut texts) {
        Ok(Update::Workload(workload)) => {
            let written = wire::write_workload(&workload);
            let again = wire::read_address(name, &written, &mut texts);
            assert_eq!(again, Ok(Update::Workload(workload)));
        }
        Ok(Update::Service(service)) => {
            let written = wire::write_service(&service);
            let again = wire::read_address(name, &written, &mut texts);
            assert_eq!(again, Ok(Update::Service(service)));
        }
        Ok(other) => panic!("an address became {other:?}"),
        Err(rejection) => {
            let named = [wire::address_name(name), ResourceName::Workload(name.into())];
            assert!(named.contains(&rejection.name), "{rejection:?}");
        }
    }
    match wire::read_authorization(name, bytes, &mut texts) {
        Ok(Update::Policy(policy)) => {
            let written = wire::write_policy(&policy);
            let again = wire::read_authorization(name, &written, &mut texts);
            assert_eq!(again, Ok(Update::Policy(policy)));
        }
        Ok(other) => panic!("a policy became {other:?}"),
        Err(rejection) => assert_eq!(rejection.name, ResourceName::Policy(wire::policy_name(name))),
    }
});
