//! Child processes.

use std::io::Read;
use std::process::{Command, Stdio};

use adit_net::{Namespace, process};

use crate::support::{self, as_root};

#[test]
fn a_child_lives_in_the_namespace() {
    as_root(|| {
        let pod = support::namespace();
        let mut command = Command::new("readlink");
        command.arg("/proc/self/ns/net").stdout(Stdio::piped());
        let child = process::spawn(Some(&pod), command).unwrap();
        let output = child.wait_with_output().unwrap();
        let expected = format!("net:[{}]\n", pod.id().inode);
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        assert_ne!(Namespace::current().unwrap(), pod);
    });
}

#[test]
fn a_child_survives_the_thread_that_asked_for_it() {
    as_root(|| {
        let pod = support::namespace();
        let asking = std::thread::spawn(move || {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            process::spawn(Some(&pod), command).unwrap()
        });
        let mut child = asking.join().unwrap();
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_child_dies_with_the_thread_that_started_it() {
    let starting = std::thread::spawn(|| {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        process::die_with_parent(&mut command);
        command.spawn().unwrap()
    });
    let mut child = starting.join().unwrap();
    // Its standard input stays open: only the signal ends it.
    let stdin = child.stdin.take();
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    assert!(!child.wait().unwrap().success());
    drop(stdin);
}
