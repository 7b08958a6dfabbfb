//! The indices by address: within a network, by single address or by range.
//!
//! They are persistent *ordered* maps. A lookup in one costs a few comparisons of 17 bytes more than a hash, and an
//! entry 79 bytes instead of about 200, which a mesh of 100,000 workloads feels on every node. Networks are few, so
//! a map of maps is cheaper than a key of both, and can be asked without building a key.

use std::cmp::Reverse;
use std::net::IpAddr;

use imbl::OrdMap;
use ipnet::IpNet;

use super::known::{Claimant, Claims, Known, Named};
use crate::service::Service;
use crate::text::Text;

/// Who claims which single address.
#[derive(Debug)]
pub(super) struct ByAddress<T: Named>(OrdMap<Text, OrdMap<IpAddr, Claims<T>>>);

impl<T: Named> Clone for ByAddress<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Named + PartialEq> PartialEq for ByAddress<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Named> Default for ByAddress<T> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<T: Claimant> ByAddress<T> {
    pub(super) fn get(&self, network: &str, ip: IpAddr) -> Option<&Claims<T>> {
        self.0.get(network)?.get(&ip.to_canonical())
    }

    pub(super) fn insert(&mut self, network: &Text, ip: IpAddr, known: Known<T>) {
        let addresses = self.0.entry(network.clone()).or_default();
        claim(addresses, ip.to_canonical(), known);
    }

    pub(super) fn remove(&mut self, network: &Text, ip: IpAddr, known: &Known<T>) {
        if let Some(addresses) = self.0.get_mut(network.as_str()) {
            release(addresses, &ip.to_canonical(), known);
            if addresses.is_empty() {
                self.0.remove(network.as_str());
            }
        }
    }
}

/// Which services stand for which address ranges; the longest prefix counts.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct ByRange(OrdMap<Text, Ranges>);

#[derive(Clone, PartialEq, Default, Debug)]
struct Ranges {
    claims: OrdMap<IpNet, Claims<Service>>,
    /// How many ranges there are of each family (IPv6?) and prefix length. A lookup tries the lengths that
    /// exist, longest first: a mesh has thousands of ranges, but of a handful of lengths.
    lengths: OrdMap<(bool, Reverse<u8>), usize>,
}

impl ByRange {
    /// The claims to the ranges that hold `ip`, longest prefix first.
    pub(super) fn around(&self, network: &str, ip: IpAddr) -> impl Iterator<Item = &Claims<Service>> {
        let ip = ip.to_canonical();
        let ranges = self.0.get(network);
        ranges.into_iter().flat_map(move |ranges| {
            let family = (ip.is_ipv6(), Reverse(u8::MAX))..=(ip.is_ipv6(), Reverse(0));
            ranges
                .lengths
                .range(family)
                .filter_map(move |(&(_, Reverse(length)), _)| {
                    let range = IpNet::new(ip, length).ok()?.trunc();
                    ranges.claims.get(&range)
                })
        })
    }

    pub(super) fn insert(&mut self, network: &Text, range: IpNet, known: Known<Service>) {
        let ranges = self.0.entry(network.clone()).or_default();
        let range = range.trunc();
        if !ranges.claims.contains_key(&range) {
            *ranges.lengths.entry(length_of(range)).or_default() += 1;
        }
        claim(&mut ranges.claims, range, known);
    }

    pub(super) fn remove(&mut self, network: &Text, range: IpNet, known: &Known<Service>) {
        let Some(ranges) = self.0.get_mut(network.as_str()) else {
            return;
        };
        let range = range.trunc();
        if release(&mut ranges.claims, &range, known) {
            let length = length_of(range);
            match ranges.lengths.get_mut(&length) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    ranges.lengths.remove(&length);
                }
            }
        }
        if ranges.claims.is_empty() {
            self.0.remove(network.as_str());
        }
    }
}

fn length_of(range: IpNet) -> (bool, Reverse<u8>) {
    (range.addr().is_ipv6(), Reverse(range.prefix_len()))
}

/// Adds a claim to what is claimed under `key`.
pub(super) fn claim<K, T>(map: &mut OrdMap<K, Claims<T>>, key: K, known: Known<T>)
where
    K: Ord + Clone,
    T: Claimant,
{
    map.entry(key).or_default().insert(known);
}

/// Takes a claim back; tells whether it was the last one, so that nothing is kept under `key` any more.
pub(super) fn release<K, T>(map: &mut OrdMap<K, Claims<T>>, key: &K, known: &Known<T>) -> bool
where
    K: Ord + Clone,
    T: Claimant,
{
    let Some(claims) = map.get_mut(key) else {
        return false;
    };
    claims.remove(known);
    let last = claims.is_empty();
    if last {
        map.remove(key);
    }
    last
}
