//! The bed of most scenarios: two nodes with a tunnel each.

use crate::harness::bed::Bed;
use crate::harness::tunnels::Tunnel;

/// Two nodes, and the tunnel of each.
#[derive(Debug)]
pub struct Pair {
    /// Everything but the tunnels.
    pub bed: Bed,
    /// The tunnel of the first node.
    pub first: Tunnel,
    /// The tunnel of the second.
    pub second: Tunnel,
}

impl Pair {
    /// Makes pods with the lab's application in them, each as name and number of its node, then what `prepare`
    /// does, and enrols these pods.
    ///
    /// # Errors
    /// What the kernel refuses, or a tunnel that does not become ready.
    pub fn build(
        pods: &[(&str, usize)],
        prepare: impl FnOnce(&mut Bed) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let mut bed = Bed::new(2)?;
        for (name, node) in pods {
            bed.add_pod(name, *node)?;
        }
        prepare(&mut bed)?;
        bed.configure()?;
        let first = bed.start_tunnel(0, &[])?;
        let second = bed.start_tunnel(1, &[])?;
        let names: Vec<_> = pods.iter().map(|(name, _)| *name).collect();
        bed.enrol(&names)?;
        Ok(Self { bed, first, second })
    }

    /// Writes the configuration, and waits until both tunnels have applied it.
    ///
    /// # Errors
    /// They do not in time.
    pub fn apply(&self) -> anyhow::Result<()> {
        self.bed.apply(&[&self.first, &self.second])
    }
}
