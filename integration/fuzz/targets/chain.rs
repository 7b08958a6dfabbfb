//! Chains, leaf first, each certificate after its length: whatever is made of what the corpus' root has signed, nobody
//! but the workload that it was signed for comes out, and a chain that is believed is believed again.

#![no_main]

use std::sync::LazyLock;

use adit_pki::trust::{PeerCheck, Side};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;

static CHECK: LazyLock<PeerCheck> = LazyLock::new(|| adit_fuzz::check(&[]).expect("a root"));

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let chain: Vec<_> =
        std::iter::from_fn(|| adit_fuzz::take_counted(&mut rest).map(CertificateDer::from)).collect();
    let again = CHECK.recheck(&chain);
    let Some((leaf, intermediates)) = chain.split_first() else {
        return;
    };
    for side in [Side::Client, Side::Server] {
        if let Ok(identity) = CHECK.identify(leaf, intermediates, side, adit_fuzz::now()) {
            assert_eq!(identity, adit_fuzz::workload(), "nobody else was signed for");
            assert_eq!(again, Ok(()));
        }
    }
});
