//! Topologies.

use adit_net::Reason;
use adit_net::link::{self, End, Route, SettingError};
use nix::errno::Errno;

use crate::support::{self, as_root};

#[test]
fn pods_on_a_bridge_reach_each_other() {
    as_root(|| {
        let node = support::namespace();
        link::add_bridge(&node, "br0").unwrap();
        let pods = [("one", "10.1.0.1/24"), ("two", "10.1.0.2/24")].map(|(name, address)| {
            let pod = support::namespace();
            let inner = End {
                namespace: &pod,
                name: "eth0",
            };
            let outer = End {
                namespace: &node,
                name,
            };
            link::add_veth(inner, outer).unwrap();
            link::attach_to_bridge(&node, name, "br0").unwrap();
            link::add_address(&pod, "eth0", address.parse().unwrap()).unwrap();
            link::set_mtu(&pod, "eth0", 1400).unwrap();
            pod
        });
        let listener = support::listener(&pods[1], 80);
        let mut stream = support::dial(&pods[0], "10.1.0.2:80").unwrap();
        let (mut accepted, peer) = support::accept(&listener);
        assert_eq!(peer.to_string(), "10.1.0.1");
        support::assert_talk(&mut stream, &mut accepted);

        link::remove(&node, "two").unwrap();
        let gone = link::set_up(&pods[1], "eth0").unwrap_err();
        assert_eq!(gone.reason, Reason::Refused(Errno::ENODEV));
    });
}

#[test]
fn a_device_that_does_not_exist_is_named() {
    as_root(|| {
        let node = support::namespace();
        let error = link::add_address(&node, "eth7", "10.0.0.1/24".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("eth7"), "{error}");
    });
}

#[test]
fn a_route_to_ipv6_through_ipv4_is_refused() {
    as_root(|| {
        let node = support::namespace();
        let route = Route {
            destination: "fd00::/8".parse().unwrap(),
            via: Some("10.0.0.1".parse().unwrap()),
            device: None,
        };
        let error = link::add_route(&node, &route).unwrap_err();
        assert_eq!(error.reason, Reason::Refused(Errno::EAFNOSUPPORT));
    });
}

#[test]
fn settings_are_those_of_the_namespace() {
    as_root(|| {
        let (one, other) = (support::namespace(), support::namespace());
        link::set(&one, "ipv4/ip_forward", "1").unwrap();
        link::set(&other, "ipv4/ip_forward", "0").unwrap();
        let read = |namespace: &adit_net::Namespace| {
            namespace
                .run(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap())
                .unwrap()
        };
        assert_eq!((read(&one).trim(), read(&other).trim()), ("1", "0"));
        assert_eq!(
            link::set(&one, "ipv4/no_such_setting", "1"),
            Err(SettingError {
                setting: "ipv4/no_such_setting".to_owned(),
                value: "1".to_owned(),
                errno: Errno::ENOENT,
            })
        );
    });
}
