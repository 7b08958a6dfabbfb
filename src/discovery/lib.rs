//! Where the tunnel's configuration comes from, and how it is shown.
//!
//! [`local`] reads the mesh from a YAML file in the format of stock ztunnel's `LOCAL_XDS_PATH`; [`dump`] writes
//! it in the shape of ztunnel's `config_dump`, which is the same format with what was computed beside it, so that a
//! dump of one tunnel can be the file of another. [`wire`] reads and writes resources as they travel between the control
//! plane and those that it serves, and [`xds`] is how they travel: [`RemoteSource`] is the end of the tunnel. Certificates
//! come by the same [`ControlPlane`], from a [`RemoteAuthority`]. All only translate and move: what the mesh means is
//! decided in [`adit_mesh`].

pub mod auth;
pub mod authority;
pub mod channel;
pub mod dump;
pub mod kept;
pub mod listen;
pub mod local;
pub mod remote;
mod spelling;
mod status;
pub mod wire;
pub mod xds;

pub use authority::RemoteAuthority;
pub use authority::kept::KeptIssuer;
pub use channel::ControlPlane;
pub use dump::config_dump;
pub use kept::Kept;
pub use local::LocalSource;
pub use remote::{Memory, RemoteSource};
pub use status::{Rejected, SourceError, Status};
