//! `baggage`, one header a line: what is read stands in the header, and what we write of a workload reads back as what
//! was written, without one value spilling into another.

#![no_main]

use adit_hbone::headers::baggage::{self, Baggage};
use adit_mesh::workload::{Locality, WorkloadType};
use adit_mesh::{Text, TrustDomain, Workload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = adit_fuzz::text(bytes) else {
        return;
    };
    if let Ok(read) = baggage::parse(text.lines()) {
        for value in values(&read).into_iter().flatten() {
            assert!(
                !value.is_empty() && !value.contains([',', ';', '\n']),
                "{value:?} of {text:?}"
            );
            assert!(text.contains(value));
        }
    }

    let workload = workload(text);
    let header = adit_mesh::baggage::format(&workload);
    assert!(
        http::HeaderValue::from_str(&header).is_ok(),
        "{header:?} cannot be sent"
    );
    let read = baggage::parse([header.as_str()]).unwrap_or_else(|error| match header.len() {
        ..=8192 => panic!("{header:?}: {error}"),
        _ => Baggage::default(),
    });
    let written = [
        &workload.cluster,
        workload.namespace(),
        &workload.workload_name,
        &workload.canonical_name,
        &workload.canonical_revision,
        &workload.locality.region,
        &workload.locality.zone,
    ];
    for (value, written) in values(&read).into_iter().zip(written) {
        assert!(
            value.is_none_or(|value| *written == value),
            "{value:?} of {header:?}"
        );
    }
});

fn values<'a>(baggage: &Baggage<'a>) -> [Option<&'a str>; 7] {
    let Baggage {
        cluster,
        namespace,
        workload,
        service,
        revision,
        region,
        zone,
    } = *baggage;
    [cluster, namespace, workload, service, revision, region, zone]
}

/// A workload with the lines of `text` for names.
fn workload(text: &str) -> Workload {
    let mut lines = text.lines().map(Text::from);
    let mut line = || lines.next().unwrap_or_default();
    let bare = Workload::new(
        "uid".into(),
        "pod".into(),
        TrustDomain::default(),
        "bank".into(),
        "a".into(),
    );
    Workload {
        cluster: line(),
        workload_name: line(),
        workload_type: WorkloadType::Deployment,
        canonical_name: line(),
        canonical_revision: line(),
        locality: Locality {
            region: line(),
            zone: line(),
            subzone: line(),
        },
        ..bare.expect("well formed")
    }
}
