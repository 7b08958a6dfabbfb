//! The entry point of the node tunnel.
fn main() {}
