use std::num::NonZeroU16;

use proptest::prelude::{any, prop_assert_eq, proptest};

use crate::fixtures::socket;
use crate::route::{Authority, InvalidAuthority as I};

#[test]
fn reads_and_prints_the_form_on_the_wire() {
    for (wire, printed) in [
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("[fd00::1]:8080", "[fd00::1]:8080"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        (
            "Ledger.bank.svc.cluster.local:80",
            "ledger.bank.svc.cluster.local:80",
        ),
        ("my_db:65535", "my_db:65535"),
    ] {
        let authority: Authority = wire.parse().expect("well formed");
        assert_eq!(authority.to_string(), printed);
    }
    assert_eq!(
        "10.0.0.1:80".parse(),
        Ok(Authority::Address(socket("10.0.0.1:80")))
    );
    let port = NonZeroU16::new(80).expect("not 0");
    let hostname = "ledger".into();
    assert_eq!("ledger:80".parse(), Ok(Authority::Host { hostname, port }));
}

#[test]
fn refuses_what_two_parsers_could_read_differently() {
    let long = format!("{}:80", "a".repeat(254));
    for (wire, expected) in [
        ("", I::Port),
        ("ledger", I::Port),
        ("ledger:", I::Port),
        ("ledger:0", I::Port),
        ("ledger:080", I::Port),
        ("ledger:+80", I::Port),
        ("ledger:65536", I::Port),
        ("10.0.0.1", I::Port),
        ("10.0.0.1:80 ", I::Port),
        (":80", I::HostnameLength),
        (&long, I::HostnameLength),
        ("fd00::1:80", I::HostnameCharacter { found: ':' }),
        ("user@ledger:80", I::HostnameCharacter { found: '@' }),
        ("http://ledger:80", I::HostnameCharacter { found: ':' }),
        ("ledger/:80", I::HostnameCharacter { found: '/' }),
        ("bücher:80", I::HostnameCharacter { found: 'ü' }),
        ("a..b:80", I::EmptyLabel),
        ("ledger.:80", I::EmptyLabel),
        ("[fd00::1:80", I::Address),
        ("[fd00::g]:80", I::Address),
        ("[10.0.0.1]:80", I::Address),
        ("[fe80::1%2]:80", I::Address),
        ("10.0.0.256:80", I::Address),
        ("10.0.1:80", I::Address),
        ("0x7f.1:80", I::Address),
    ] {
        assert_eq!(wire.parse::<Authority>(), Err(expected), "{wire:?}");
    }
}

proptest! {
    #[test]
    fn never_panics_and_prints_what_it_read(wire in any::<String>()) {
        if let Ok(authority) = wire.parse::<Authority>() {
            prop_assert_eq!(authority.to_string().parse::<Authority>(), Ok(authority));
        }
    }

    #[test]
    fn every_address_survives_the_wire(address in any::<std::net::SocketAddr>()) {
        let address = std::net::SocketAddr::new(address.ip().to_canonical(), address.port().max(1));
        prop_assert_eq!(Authority::Address(address).to_string().parse(), Ok(Authority::Address(address)));
    }
}
