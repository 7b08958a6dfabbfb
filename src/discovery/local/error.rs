//! Why a file could not be applied.

use std::path::PathBuf;

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
