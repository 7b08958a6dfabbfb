//! Entering and leaving namespaces.

use std::fs::File;

use adit_net::namespace::check_privileges;
use adit_net::{Namespace, NamespaceError};
use nix::errno::Errno;

use crate::support::as_root;

#[test]
fn a_visit_ends_where_it_began() {
    as_root(|| {
        let home = Namespace::current().unwrap();
        let pod = Namespace::create().unwrap();
        let inside = pod.run(|| Namespace::current().unwrap()).unwrap();
        assert_eq!(inside, pod);
        assert_ne!(inside, home);
        assert_eq!(Namespace::current().unwrap(), home);
    });
}

#[test]
fn visits_nest() {
    as_root(|| {
        let home = Namespace::current().unwrap();
        let (one, other) = (Namespace::create().unwrap(), Namespace::create().unwrap());
        one.run(|| {
            assert_eq!(other.run(|| Namespace::current().unwrap()).unwrap(), other);
            assert_eq!(Namespace::current().unwrap(), one);
        })
        .unwrap();
        assert_eq!(Namespace::current().unwrap(), home);
    });
}

#[test]
fn a_panic_inside_does_not_leave_the_thread_there() {
    as_root(|| {
        let home = Namespace::current().unwrap();
        let pod = Namespace::create().unwrap();
        let panicked = std::panic::catch_unwind(|| pod.run(|| panic!("inside")));
        assert!(panicked.is_err());
        assert_eq!(Namespace::current().unwrap(), home);
    });
}

#[test]
fn a_thread_that_entered_stays() {
    as_root(|| {
        let pod = Namespace::create().unwrap();
        let other = Namespace::create().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pod.enter().unwrap();
                other.run(|| ()).unwrap();
                assert_eq!(Namespace::current().unwrap(), pod);
            });
        });
    });
}

#[test]
fn only_network_namespaces_are_taken() {
    for path in ["/proc/self/ns/mnt", "/dev/null"] {
        let fd = File::open(path).unwrap().into();
        assert_eq!(
            Namespace::from_fd(fd),
            Err(NamespaceError::NotANetworkNamespace),
            "{path}"
        );
    }
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    let error = Namespace::open("/nonexistent/pod").unwrap_err();
    assert_eq!(
        error,
        NamespaceError::Open {
            path: "/nonexistent/pod".into(),
            errno: Errno::ENOENT
        }
    );
    assert!(error.to_string().contains("/nonexistent/pod"));
}

#[test]
fn two_descriptors_of_one_namespace_are_equal() {
    let (one, other) = (
        Namespace::current().unwrap(),
        Namespace::open("/proc/self/ns/net").unwrap(),
    );
    assert_eq!(one, other);
    assert_eq!(one.id(), other.id());
}

#[test]
fn a_name_in_the_file_system_leads_to_the_namespace_and_goes_with_its_value() {
    as_root(|| {
        // A mount namespace of the thread's own, so that no name can stay behind.
        std::thread::spawn(|| {
            let before = Namespace::current().unwrap();
            before.run(|| ()).unwrap();
            adit_net::userns::enter_namespaces_as_root().unwrap();
            let own = Namespace::current().unwrap();
            assert_ne!(own, before);
            own.run(|| ()).unwrap();
            assert_eq!(
                Namespace::current().unwrap(),
                own,
                "a visit led back to where the thread was before"
            );
            let pod = Namespace::create().unwrap();
            let name = pod.mount_at("/run/netns/pod").unwrap();
            assert_eq!(Namespace::open("/run/netns/pod").unwrap(), pod);
            assert_eq!(name.path(), std::path::Path::new("/run/netns/pod"));
            drop(name);
            assert!(!std::path::Path::new("/run/netns/pod").exists());
        })
        .join()
        .unwrap();
    });
}

#[test]
fn root_has_the_privileges_that_the_tunnel_needs() {
    as_root(|| assert_eq!(check_privileges(), Ok(())));
}
