//! No proxy: what the kernel and the load generators cost alone.

use super::System;
use crate::cost::Processes;
use crate::ground::Ground;

pub fn start(ground: &mut Ground) -> anyhow::Result<System> {
    Ok(System {
        name: "direct",
        pods: ground.add_pods("direct")?,
        near: Processes::default(),
        far: Processes::default(),
        program: None,
        handshake: None,
    })
}
