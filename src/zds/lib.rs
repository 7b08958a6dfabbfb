//! zds
