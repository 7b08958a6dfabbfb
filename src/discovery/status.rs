//! What the source of configuration tells about itself.

use std::sync::Arc;
use std::time::SystemTime;

use adit_mesh::registry::ResourceName;

use crate::local::LoadError;
use crate::remote::RemoteError;

/// How a source of configuration fares.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Status {
    /// When something was last applied; none before the first success. The age of the configuration counts from here.
    pub applied_at: Option<SystemTime>,
    /// Why the last attempt failed; none after a success. What was applied before stays.
    pub error: Option<SourceError>,
    /// The resources that could not be understood: of a file in its order, else by name.
    pub rejected: Arc<[Rejected]>,
    /// What was understood but looks like a mistake, such as an unknown key.
    pub warnings: Arc<[String]>,
    /// How many workloads there are.
    pub workloads: usize,
    /// How many services there are.
    pub services: usize,
    /// How many policies there are.
    pub policies: usize,
}

/// A resource that could not be understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// Its name, as far as it could be read.
    pub name: ResourceName,
    /// What is wrong, where, and what is allowed.
    pub reason: String,
}

/// Why the last attempt failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceError {
    /// To load a file.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// To hear from a control plane.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}
