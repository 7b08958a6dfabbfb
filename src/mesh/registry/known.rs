//! What is known of a resource, and who of several claims a name or an address.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Rejection;
use crate::policy::{Policy, PolicyKey, PolicyScope};
use crate::service::{NetworkRange, Service, ServiceKey, Visibility};
use crate::text::Text;
use crate::workload::{NetworkAddress, Workload};

/// A resource that has a name.
pub trait Named {
    /// The type of its name.
    type Name: Ord + Clone + fmt::Debug;

    /// Its name.
    fn key(&self) -> &Self::Name;
}

impl Named for Workload {
    type Name = Text;

    fn key(&self) -> &Text {
        &self.uid
    }
}

impl Named for Service {
    type Name = ServiceKey;

    fn key(&self) -> &ServiceKey {
        &self.key
    }
}

impl Named for Policy {
    type Name = PolicyKey;

    fn key(&self) -> &PolicyKey {
        &self.key
    }
}

/// What is known of a resource.
#[derive(Debug)]
pub enum Known<T: Named> {
    /// Its last good version.
    Good(Arc<T>),
    /// Nothing good, ever.
    Rejected(Arc<Tombstone<T::Name>>),
}

/// What stands in the place of a resource that was rejected and never had a good version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tombstone<N> {
    /// The resource's name.
    pub name: N,
    /// The addresses that it claims.
    pub addresses: Box<[NetworkAddress]>,
    /// The address ranges that it claims.
    pub ranges: Box<[NetworkRange]>,
    /// The scope of a policy, if it could be read.
    pub scope: Option<PolicyScope>,
    /// What is wrong with it.
    pub reason: Text,
}

impl<N> Tombstone<N> {
    /// What is left of a rejected resource of that name.
    pub(super) fn new(name: N, rejection: Rejection) -> Self {
        Self {
            name,
            addresses: rejection.addresses,
            ranges: rejection.ranges,
            scope: rejection.scope,
            reason: rejection.reason,
        }
    }
}

impl<T: Named> Known<T> {
    /// The good version.
    pub fn good(&self) -> Option<&Arc<T>> {
        match self {
            Self::Good(value) => Some(value),
            Self::Rejected(_) => None,
        }
    }

    /// The resource's name.
    pub fn name(&self) -> &T::Name {
        match self {
            Self::Good(value) => value.key(),
            Self::Rejected(tombstone) => &tombstone.name,
        }
    }
}

impl<T: Named> Clone for Known<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Good(value) => Self::Good(Arc::clone(value)),
            Self::Rejected(tombstone) => Self::Rejected(Arc::clone(tombstone)),
        }
    }
}

impl<T: Named + PartialEq> PartialEq for Known<T> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            // Snapshots share almost everything, so most comparisons end at the pointer.
            (Self::Good(a), Self::Good(b)) => Arc::ptr_eq(a, b) || a == b,
            (Self::Rejected(a), Self::Rejected(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }
}

/// A resource of which several can claim one address or hostname, in an order that does not depend on who came
/// first.
pub(super) trait Claimant: Named + Sized {
    /// Sorts the claims: the least comes first, and equal ones are the same resource.
    type Order<'a>: Ord
    where
        Self: 'a;

    /// Where a claim stands.
    fn order(known: &Known<Self>) -> Self::Order<'_>;
}

/// Pods come before whatever else claims their address, then the uid decides.
impl Claimant for Workload {
    type Order<'a> = (bool, &'a Text);

    fn order(known: &Known<Self>) -> Self::Order<'_> {
        let uid = known.name();
        (!uid.contains("//Pod/"), uid)
    }
}

/// The canonical service comes before the others, then the name decides. (The client's own namespace comes
/// before both, which only a lookup can know: [`Claims::seen_from`].)
impl Claimant for Service {
    type Order<'a> = (bool, &'a ServiceKey);

    fn order(known: &Known<Self>) -> Self::Order<'_> {
        let canonical = known.good().is_some_and(|service| service.canonical);
        (!canonical, known.name())
    }
}

/// The claims to one address, range or hostname; hardly ever more than one.
#[derive(Debug)]
pub(super) struct Claims<T: Named>(SmallVec<[Known<T>; 1]>);

// Derived, these would ask `T` for what only `Known<T>` needs.
impl<T: Named> Clone for Claims<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Named + PartialEq> PartialEq for Claims<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Named> Default for Claims<T> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<T: Claimant> Claims<T> {
    pub(super) fn insert(&mut self, known: Known<T>) {
        match self
            .0
            .binary_search_by(|other| T::order(other).cmp(&T::order(&known)))
        {
            Ok(index) => self.0[index] = known,
            Err(index) => self.0.insert(index, known),
        }
    }

    pub(super) fn remove(&mut self, known: &Known<T>) {
        if let Ok(index) = self
            .0
            .binary_search_by(|other| T::order(other).cmp(&T::order(known)))
        {
            self.0.remove(index);
            // A large group that shrank should not keep its allocation.
            self.0.shrink_to_fit();
        }
    }
}

impl<T: Named> Claims<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<&Known<T>> {
        self.0.first()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Known<T>> {
        self.0.iter()
    }
}

impl Claims<Service> {
    /// The claim that counts for a client of `namespace`: its own namespace's, then the canonical one, then the
    /// first by name. Services that the client may not see are looked past.
    pub(super) fn seen_from(&self, namespace: &str) -> Option<&Known<Service>> {
        let own = self.0.iter().find(|known| known.name().namespace == namespace);
        own.or_else(|| self.0.iter().find(|known| is_visible(known, namespace)))
    }

    /// The claim of the service of that namespace, whoever asks.
    pub(super) fn of_namespace(&self, namespace: &str) -> Option<&Known<Service>> {
        self.0.iter().find(|known| known.name().namespace == namespace)
    }
}

/// A tombstone counts as visible: what it would have hidden from is unknown, so nobody gets past it.
fn is_visible(known: &Known<Service>, namespace: &str) -> bool {
    match known {
        Known::Good(service) => {
            service.visibility == Visibility::Public || service.key.namespace == namespace
        }
        Known::Rejected(_) => true,
    }
}
