//! The messages between node agent and tunnel: what is read is complete and is written so that it reads the same, and
//! every answer fits a packet, whatever the failure says.

#![no_main]

use std::fs::File;
use std::os::fd::OwnedFd;

use adit_zds::LONGEST_MESSAGE;
use adit_zds::message::{self, Packet, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for descriptor in [None, Some(nothing())] {
        if let Ok(request) = Request::try_from(packet(bytes, descriptor)) {
            reads_the_same(request);
        }
    }
    let hello = message::read_hello(&packet(bytes, None));
    assert!(hello.is_ok() || message::hello() != bytes, "{hello:?}");
    assert!(message::read_hello(&packet(bytes, Some(nothing()))).is_err());
    if let Ok(outcome) = message::read_answer(&packet(bytes, None)) {
        answers_the_same(&outcome);
    }
    if let Some(text) = adit_fuzz::text(bytes) {
        answers_the_same(&Err(text.to_owned()));
    }
});

fn packet(bytes: &[u8], descriptor: Option<OwnedFd>) -> Packet {
    Packet {
        bytes: bytes.to_owned(),
        descriptor,
    }
}

fn nothing() -> OwnedFd {
    File::open("/dev/null").expect("a device of every Linux").into()
}

fn reads_the_same(request: Request) {
    match request {
        Request::Add {
            uid,
            workload,
            namespace,
        } => {
            let again = Request::try_from(packet(&message::add(&uid, &workload), Some(namespace)));
            match again.expect("what we write is complete") {
                Request::Add {
                    uid: other,
                    workload: same,
                    ..
                } => assert_eq!((uid, workload), (other, same)),
                other => panic!("became {other:?}"),
            }
        }
        Request::Keep { uid } => match Request::try_from(packet(&message::keep(&uid), None)) {
            Ok(Request::Keep { uid: same }) => assert!(same == uid && !uid.is_empty()),
            other => panic!("became {other:?}"),
        },
        Request::Delete { uid } => match Request::try_from(packet(&message::delete(&uid), None)) {
            Ok(Request::Delete { uid: same }) => assert!(same == uid && !uid.is_empty()),
            other => panic!("became {other:?}"),
        },
        Request::SnapshotSent => {
            let again = Request::try_from(packet(&message::snapshot_sent(), None));
            assert!(matches!(again, Ok(Request::SnapshotSent)), "became {again:?}");
        }
    }
}

fn answers_the_same(outcome: &Result<(), String>) {
    let answer = message::answer(outcome);
    assert!(answer.len() <= LONGEST_MESSAGE, "{} bytes", answer.len());
    let read = message::read_answer(&packet(&answer, None)).expect("what we write is an answer");
    match (outcome, read) {
        (Ok(()), Ok(())) => {}
        (Err(told), Err(heard)) if told.is_empty() => assert_eq!(heard, "failed"),
        (Err(told), Err(heard)) => assert!(told.starts_with(&heard) && !heard.is_empty()),
        (outcome, read) => panic!("{outcome:?} became {read:?}"),
    }
}
