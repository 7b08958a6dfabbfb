//! Where the tunnel's configuration comes from, and how it is shown.
//!
//! [`local`] reads the mesh from a YAML file in the format of stock ztunnel's `LOCAL_XDS_PATH`; [`dump`] writes
//! it in the shape of ztunnel's `config_dump`, which is the same format with what was computed beside it, so that a
//! dump of one tunnel can be the file of another. [`wire`] reads and writes resources as they travel between the control
//! plane and those that it serves, and [`xds`] is how they travel. All only translate and move: what the mesh means is
//! decided in [`adit_mesh`].

pub mod dump;
pub mod local;
mod spelling;
pub mod wire;
pub mod xds;

pub use dump::config_dump;
pub use local::{LocalSource, Status};
