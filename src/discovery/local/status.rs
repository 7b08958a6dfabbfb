//! What the source of configuration tells about itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use adit_mesh::registry::ResourceName;

/// How a source of configuration fares.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Status {
    /// When a file was last applied; none before the first success. The age of the configuration counts from here.
    pub applied_at: Option<SystemTime>,
    /// Why the last attempt failed; none after a success. What was applied before stays.
    pub error: Option<LoadError>,
    /// The resources of the applied file that could not be understood, in the order of the file.
    pub rejected: Arc<[Rejected]>,
    /// What in the applied file was understood but looks like a mistake, such as an unknown key.
    pub warnings: Arc<[String]>,
    /// How many workloads the applied file has.
    pub workloads: usize,
    /// How many services the applied file has.
    pub services: usize,
    /// How many policies the applied file has.
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

/// Why a file could not be applied at all.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("{}: cannot be read ({kind}); is the path right, and may this process read it?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        kind: std::io::ErrorKind,
    },
    /// The file is not YAML.
    #[error("{}:{line}:{column}: not YAML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 where it is not known.
        line: u64,
        /// The column, from 1; 0 where it is not known.
        column: u64,
        /// What the parser said.
        reason: String,
    },
    /// The file is YAML of another shape.
    #[error("{}: {reason}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and what is allowed.
        reason: String,
    },
}
