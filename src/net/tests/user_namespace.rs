//! An ordinary user's way to a network of his own. A program without a test harness, because the kernel lets only a
//! process without threads into a user namespace.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};

use adit_net::namespace::check_privileges;
use adit_net::rules::{self, Options, Verified};
use adit_net::socket::{ListenOptions, listen, original_destination};
use adit_net::userns::{UserNamespaceError, enter_user_namespace};
use adit_net::{Namespace, NamespaceError, link, policy_routing};
use nix::unistd::{Gid, Uid};

fn main() {
    become_an_ordinary_user();
    an_ordinary_user_is_told_which_capability_is_missing();
    match enter_user_namespace() {
        Ok(()) => {}
        Err(error @ (UserNamespaceError::Forbidden { .. } | UserNamespaceError::Refused(_))) => {
            println!("not tried, because this kernel forbids it: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    the_user_is_root_inside_and_run_is_private();
    a_pod_can_be_made_and_redirected();
    a_process_with_threads_is_turned_away();
    println!("user namespace: ok");
}

fn become_an_ordinary_user() {
    if !Uid::effective().is_root() {
        return;
    }
    let nobody = 65534;
    nix::unistd::setgroups(&[]).expect("root may");
    nix::unistd::setgid(Gid::from_raw(nobody)).expect("root may");
    nix::unistd::setuid(Uid::from_raw(nobody)).expect("root may");
    // A process that changed its user cannot write its own /proc files until it says so.
    nix::sys::prctl::set_dumpable(true).expect("any process may");
}

fn an_ordinary_user_is_told_which_capability_is_missing() {
    let error = check_privileges().expect_err("an ordinary user has no capabilities");
    assert!(
        matches!(
            error,
            NamespaceError::Privilege {
                capability: "CAP_SYS_ADMIN",
                ..
            }
        ),
        "{error}"
    );
}

fn the_user_is_root_inside_and_run_is_private() {
    assert!(Uid::effective().is_root());
    assert_eq!(check_privileges(), Ok(()));
    let names: Vec<_> = std::fs::read_dir("/run")
        .expect("it was mounted")
        .map(|entry| entry.expect("it can be read").file_name())
        .collect();
    assert_eq!(names, ["netns"]);
}

fn a_pod_can_be_made_and_redirected() {
    let pod = Namespace::create().expect("root of a user namespace may");
    let name = pod
        .mount_at("/run/netns/pod")
        .expect("so that `ip netns` sees it");
    link::set_up(&pod, "lo").expect("a namespace has one");
    link::add_address(&pod, "lo", "10.0.0.1/32".parse().expect("an address")).expect("lo exists");
    let outwards = link::Route {
        destination: "0.0.0.0/0".parse().expect("a network"),
        via: None,
        device: Some("lo"),
    };
    link::add_route(&pod, &outwards).expect("lo is up");
    let options = Options::default();
    rules::apply(&pod, &options).expect("nft is installed");
    policy_routing::apply(&pod, true).expect("lo is up");
    assert_eq!(rules::verify(&pod, &options), Ok(Verified::Exact));

    let application = SocketAddr::from(([127, 0, 0, 1], 80));
    let listener = listen(Some(&pod), application, &ListenOptions::default()).expect("the port is free");
    let dialled = pod
        .run(|| TcpStream::connect(application))
        .expect("it can be entered");
    let _client = dialled.expect("somebody listens");
    let (accepted, _) = match listener.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            panic!("a connection that is up was not there")
        }
        accepted => accepted.expect("a connection waits"),
    };
    assert_eq!(original_destination(&accepted).expect("it is open"), application);
    drop(name);
}

fn a_process_with_threads_is_turned_away() {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || ended.recv());
    assert_eq!(enter_user_namespace(), Err(UserNamespaceError::Threads));
    drop(end);
    assert!(thread.join().expect("it only waits").is_err());
}
