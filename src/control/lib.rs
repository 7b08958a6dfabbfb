//! The control plane: Kubernetes' and Istio's objects in, configuration and certificates out.
//!
//! A [`source`] tells what happens to [`objects`]; the [`graph`] works out what follows from it, with the rules of
//! [`translate`]; the [`mill`] publishes the result to those who are connected. Beside it, [`certificates`] are signed
//! for who proves who they are ([`authenticate`]) and is where they say ([`placement`]).

pub mod authenticate;
pub mod certificates;
pub mod cli;
pub mod graph;
pub mod kinds;
pub mod metrics;
pub mod mill;
pub mod objects;
pub mod placement;
mod process;
pub mod settings;
pub mod source;
pub mod translate;

pub use process::run;
