//! The control plane: Kubernetes' and Istio's objects in, configuration and certificates out.
//!
//! [`objects`] are what sources give, [`kinds`] the types of Istio's.

pub mod graph;
pub mod kinds;
pub mod objects;
pub mod settings;
pub mod source;
pub mod translate;
