use super::format;
use crate::fixtures::pod;
use crate::workload::WorkloadType;

#[test]
fn tells_what_is_known_in_the_order_that_peers_expect() {
    let workload = pod("web-1", "10.0.0.1", |w| {
        w.workload_name = "web".into();
        w.workload_type = WorkloadType::Deployment;
        w.canonical_name = "web".into();
        w.canonical_revision = "v1".into();
        w.locality.region = "eu".into();
        w.locality.zone = "eu-a".into();
    });
    assert_eq!(
        format(&workload),
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=bank,k8s.deployment.name=web,service.name=web,\
         service.version=v1,cloud.region=eu,cloud.availability_zone=eu-a"
    );
}

#[test]
fn leaves_out_what_is_unknown_or_cannot_be_spelt() {
    let workload = pod("web-1", "10.0.0.1", |w| {
        w.workload_name = "a,service.name=b".into();
        w.canonical_name = "two\r\nlines".into();
        w.canonical_revision = "v 1".into();
        w.locality.zone = "zürich".into();
    });
    assert_eq!(
        format(&workload),
        "k8s.cluster.name=Kubernetes,k8s.namespace.name=bank"
    );
}
