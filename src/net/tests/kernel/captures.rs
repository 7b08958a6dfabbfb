//! Captured packets.

use std::io::{Read, Write};

use adit_net::capture::Capture;

use crate::support::{self, Pair, as_root};

#[test]
fn what_passes_the_device_is_captured_and_what_does_not_is_not() {
    as_root(|| {
        let pair = Pair::new();
        let server = support::listener(&pair.outside, 80);
        let mut capture = Capture::open(&pair.pod, "eth0").unwrap();
        for destination in ["10.0.0.2:80", "[fd00::2]:80"] {
            let mut client = support::dial(&pair.pod, destination).unwrap();
            let (mut accepted, _) = support::accept(&server);
            client.write_all(b"the amount is 100").unwrap();
            accepted.read_exact(&mut [0; 17]).unwrap();
            let captured = capture.take().unwrap();
            assert_eq!(captured.dropped, 0);
            assert!(captured.contains(b"amount"));
            assert!(!captured.contains(b"other words"));
        }
        let inside = support::listener(&pair.pod, 81);
        let mut client = support::dial(&pair.pod, "127.0.0.1:81").unwrap();
        let (mut accepted, _) = support::accept(&inside);
        client.write_all(b"the amount is 100").unwrap();
        accepted.read_exact(&mut [0; 17]).unwrap();
        assert!(!capture.take().unwrap().contains(b"amount"));
    });
}

#[test]
fn a_device_that_does_not_exist_cannot_be_captured() {
    as_root(|| {
        let pod = support::namespace();
        let error = Capture::open(&pod, "eth7").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    });
}
