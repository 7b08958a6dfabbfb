//! Bytes from pod to pod.

use adit::lab::apps::HTTP_PORT;
use adit_integration::harness::bed::Bed;
use anyhow::ensure;

/// Two pods of one node talk through their node's tunnel.
pub fn pods_of_one_node_talk() -> anyhow::Result<()> {
    let mut bed = Bed::new(1)?;
    bed.add_pod("client", 0)?;
    bed.add_pod("server", 0)?;
    bed.configure()?;
    let tunnel = bed.start_tunnel(0, &[])?;
    bed.enrol(&["client", "server"])?;
    let mark = tunnel.mark()?;
    let answered = bed.call("client", bed.socket("server", HTTP_PORT)?)?;
    ensure!(answered == "server");
    tunnel.access(mark, &[("outcome", "completed"), ("direction", "outbound")])?;
    Ok(())
}
