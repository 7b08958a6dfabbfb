use std::sync::Arc;

use crate::authorize::PolicySet;
use crate::authorize::Unusable;
use crate::fixtures::{mesh, node, pod, policy, policy_key};
use crate::policy::{Action, Policy, PolicyScope};
use crate::registry::{Local, LocalNode, Registry, Rejection, ResourceName, Update};

fn web(registry: &Registry) -> Arc<Local> {
    Arc::clone(registry.local("bank", "web", "web").expect("web is local"))
}

fn applied(set: &PolicySet) -> Vec<String> {
    set.policies().map(|policy| policy.key.to_string()).collect()
}

fn names_policy(name: &'static str) -> Update {
    pod("web", "10.0.0.1", |w| {
        w.authorization_policies = Box::new([policy_key(name)])
    })
    .into()
}

#[test]
fn only_the_workloads_of_this_node_are_local() {
    let there = pod("there", "10.0.0.2", |w| w.node = "node-2".into());
    let mut registry = mesh([pod("web", "10.0.0.1", |_| {}).into(), there.clone().into()]);
    let local = web(&registry);
    assert_eq!(
        &local.baggage[..],
        b"k8s.cluster.name=Kubernetes,k8s.namespace.name=bank"
    );
    assert!(registry.local("bank", "web", "other").is_none());
    assert!(registry.local("other", "web", "web").is_none());
    assert!(registry.local("bank", "there", "there").is_none());
    assert!(registry.local_by_uid(&there.uid).is_none());
    assert_eq!(registry.local_by_uid(&local.workload.uid), Some(&local));

    registry.apply([pod("web", "10.0.0.1", |w| w.node = "node-2".into()).into()]);
    assert_eq!(registry.locals().count(), 0);
    let mut everywhere = Registry::new(LocalNode::default());
    everywhere.apply([there.into()]);
    assert_eq!(everywhere.locals().count(), 1);
}

#[test]
fn of_two_pods_by_one_name_that_of_our_cluster_is_meant() {
    let theirs = pod("web", "10.0.0.2", |w| {
        w.uid = "Another//Pod/bank/web".into();
        w.cluster = "Another".into();
    });
    let ours = pod("web", "10.0.0.1", |_| {});
    for batch in [[theirs.clone(), ours.clone()], [ours.clone(), theirs.clone()]] {
        let registry = mesh(batch.map(Update::from));
        assert_eq!(web(&registry).workload.uid, ours.uid);
        assert_eq!(registry.locals().count(), 2);
    }
}

#[test]
fn global_namespace_and_named_policies_apply_once_each() {
    let registry = mesh([
        pod("web", "10.0.0.1", |w| {
            w.authorization_policies = Box::new([policy_key("root/named"), policy_key("bank/all")]);
        })
        .into(),
        policy("root/global", PolicyScope::Global).into(),
        policy("bank/all", PolicyScope::Namespace).into(),
        policy("shop/all", PolicyScope::Namespace).into(),
        policy("root/named", PolicyScope::WorkloadSelector).into(),
        policy("bank/unnamed", PolicyScope::WorkloadSelector).into(),
    ]);
    assert_eq!(
        applied(&web(&registry).policies),
        ["bank/all", "root/global", "root/named"]
    );
}

#[test]
fn a_policy_may_come_after_the_workload_that_names_it() {
    let mut registry = mesh([names_policy("bank/late")]);
    let missing = (policy_key("bank/late"), Unusable::Missing);
    assert_eq!(web(&registry).policies.unusable().collect::<Vec<_>>(), [&missing]);
    registry.apply([policy("bank/late", PolicyScope::WorkloadSelector).into()]);
    assert_eq!(applied(&web(&registry).policies), ["bank/late"]);
    assert_eq!(web(&registry).policies.unusable().count(), 0);
    registry.apply([Update::Remove(ResourceName::Policy(policy_key("bank/late")))]);
    assert_eq!(web(&registry).policies.unusable().collect::<Vec<_>>(), [&missing]);
}

#[test]
fn a_rejected_policy_denies_in_its_scope() {
    let reject = |name: &str, scope: Option<PolicyScope>| {
        Update::Reject(Rejection {
            scope,
            ..Rejection::new(ResourceName::Policy(policy_key(name)), "no such CIDR".into())
        })
    };
    let cases = [
        ("root/p", Some(PolicyScope::Global), true),
        ("bank/p", Some(PolicyScope::Namespace), true),
        ("shop/p", Some(PolicyScope::Namespace), false),
        ("bank/p", Some(PolicyScope::WorkloadSelector), false),
        ("bank/p", None, true),
        ("shop/p", None, false),
        ("bank/named", Some(PolicyScope::WorkloadSelector), true),
        ("bank/named", None, true),
    ];
    for (name, scope, denies) in cases {
        let mut registry = mesh([names_policy("bank/named")]);
        registry.apply([
            policy("bank/named", PolicyScope::WorkloadSelector).into(),
            Update::Remove(ResourceName::Policy(policy_key("bank/named"))),
        ]);
        registry.apply([reject(name, scope)]);
        let expected = (policy_key(name), Unusable::Rejected("no such CIDR".into()));
        let set = web(&registry).policies.clone();
        assert_eq!(
            set.unusable().any(|found| *found == expected),
            denies,
            "{name} {scope:?}"
        );
    }
}

#[test]
fn a_rejected_policy_keeps_its_last_good_version() {
    let mut registry = mesh([
        names_policy("bank/strict"),
        policy("bank/strict", PolicyScope::WorkloadSelector).into(),
    ]);
    let before = web(&registry);
    let name = ResourceName::Policy(policy_key("bank/strict"));
    registry.apply([Update::Reject(Rejection::new(name, "no such CIDR".into()))]);
    assert!(Arc::ptr_eq(&web(&registry), &before));
}

#[test]
fn what_is_not_concerned_keeps_its_allocations() {
    let mut registry = mesh([
        pod("web", "10.0.0.1", |_| {}).into(),
        policy("bank/all", PolicyScope::Namespace).into(),
    ]);
    let before = web(&registry);
    registry.apply([
        policy("shop/all", PolicyScope::Namespace).into(),
        policy("bank/other", PolicyScope::WorkloadSelector).into(),
        pod("other", "10.0.0.2", |_| {}).into(),
    ]);
    assert!(Arc::ptr_eq(&web(&registry), &before));

    registry.apply([pod("web", "10.0.0.3", |_| {}).into()]);
    let moved = web(&registry);
    assert!(!Arc::ptr_eq(&moved, &before));
    assert!(Arc::ptr_eq(&moved.policies, &before.policies));

    let deny = Policy {
        action: Action::Deny,
        ..policy("bank/all", PolicyScope::Namespace)
    };
    registry.apply([deny.into()]);
    assert!(!Arc::ptr_eq(&web(&registry).policies, &before.policies));
}

#[test]
fn a_policy_that_narrows_its_scope_lets_go() {
    let mut registry = mesh([
        pod("web", "10.0.0.1", |_| {}).into(),
        policy("bank/p", PolicyScope::Global).into(),
    ]);
    assert_eq!(applied(&web(&registry).policies), ["bank/p"]);
    registry.apply([policy("bank/p", PolicyScope::WorkloadSelector).into()]);
    assert!(web(&registry).policies.is_empty());
    assert_eq!(registry.node(), &node());
}
