//! Node agents: one that keeps the protocol, at a path and for a time of the scenario's choice, and one that does not.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adit::lab::observe;
use adit::lab::world::{PATIENCE, Pod};
use adit_net::{policy_routing, rules};
use adit_zds::WorkloadInfo;
use adit_zds::server::{self, Delivery};
use anyhow::{Context, bail};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::runtime::Runtime;

/// An agent that keeps the protocol. It is gone when the value is dropped.
pub struct Agent {
    zds: server::Agent,
    /// Dropped last: the agent's tasks live here.
    runtime: Runtime,
}

impl Agent {
    /// Listens on `path`.
    ///
    /// # Errors
    /// It cannot.
    pub fn listen(path: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let inside = runtime.enter();
        let zds = server::Agent::listen(path)?;
        drop(inside);
        Ok(Self { zds, runtime })
    }

    /// Tells tunnels of a pod, and redirects its traffic.
    ///
    /// # Errors
    /// The tunnel refuses the pod, or the kernel its rules.
    pub fn enrol(&self, pod: &Pod) -> anyhow::Result<Delivery> {
        let delivery = self.add(pod)?;
        redirect(pod)?;
        Ok(delivery)
    }

    /// Tells tunnels of a pod.
    ///
    /// # Errors
    /// The tunnel refuses it.
    pub fn add(&self, pod: &Pod) -> anyhow::Result<Delivery> {
        let enrolled = server::Pod {
            uid: pod.uid.clone(),
            workload: WorkloadInfo {
                name: pod.spec.name.clone(),
                namespace: pod.spec.namespace.clone(),
                service_account: pod.spec.service_account.clone(),
            },
            namespace: Arc::new(pod.namespace().as_fd().try_clone_to_owned()?),
        };
        Ok(self.runtime.block_on(self.zds.add(enrolled))?)
    }

    /// Tells tunnels that the pod is no longer enrolled; its traffic is still redirected.
    pub fn remove(&self, pod: &Pod) {
        self.runtime.block_on(self.zds.remove(&pod.uid));
    }

    /// Tells tunnels that connect from now on to keep the pod.
    pub fn keep(&self, pod: &Pod) {
        self.zds.keep(&pod.uid);
    }

    /// Waits until a tunnel has acknowledged so many snapshots of this agent.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_snapshots(&self, count: u64) -> anyhow::Result<()> {
        let connections = self.zds.connections();
        observe::eventually(format_args!("{count} snapshots"), || {
            Ok((connections.borrow().snapshots >= count).then_some(()))
        })
    }
}

/// Redirects the traffic of a pod.
///
/// # Errors
/// The kernel refuses.
pub fn redirect(pod: &Pod) -> anyhow::Result<()> {
    let ipv6 = pod.attachment.addresses.v6.is_some();
    policy_routing::apply(pod.namespace(), ipv6)?;
    rules::apply(
        pod.namespace(),
        &rules::Options {
            ipv6,
            ..rules::Options::default()
        },
    )?;
    Ok(())
}

/// An agent's socket in the hands of a scenario, which says what it likes on it.
#[derive(Debug)]
pub struct RawAgent {
    listener: Socket,
}

/// A tunnel's connection to a [`RawAgent`].
#[derive(Debug)]
pub struct RawConnection {
    socket: Socket,
}

impl RawAgent {
    /// Listens on `path`, in place of what was there.
    ///
    /// # Errors
    /// It cannot.
    pub fn listen(path: &Path) -> anyhow::Result<Self> {
        let _none = std::fs::remove_file(path);
        let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        listener.bind(&SockAddr::unix(path)?)?;
        listener.listen(4)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// Waits for a tunnel to connect.
    ///
    /// # Errors
    /// None does in time.
    pub fn accept(&self) -> anyhow::Result<RawConnection> {
        let socket = observe::eventually("a tunnel's connection", || match self.listener.accept() {
            Ok((socket, _)) => Ok(Some(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        })?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(RawConnection { socket })
    }
}

impl RawConnection {
    /// Waits for a packet; `None` when the tunnel has closed the connection.
    ///
    /// # Errors
    /// Nothing comes in time.
    pub fn receive(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut buffer = [0; 2048];
        match io::Read::read(&mut self.socket, &mut buffer) {
            Ok(0) => Ok(None),
            Ok(length) => Ok(Some(buffer[..length].to_vec())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(error) => Err(error).context("waiting for the tunnel's packet"),
        }
    }

    /// Sends a packet, and descriptors with it.
    ///
    /// # Errors
    /// The tunnel has gone.
    pub fn send(&self, packet: &[u8], descriptors: &[RawFd]) -> anyhow::Result<()> {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let with: &[_] = if descriptors.is_empty() { &[] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(packet)],
            with,
            flags,
            None,
        )?;
        Ok(())
    }

    /// Waits until the tunnel has closed the connection, whatever it still says.
    ///
    /// # Errors
    /// It keeps it open.
    pub fn wait_closed(&mut self) -> anyhow::Result<()> {
        for _ in 0..8 {
            if self.receive()?.is_none() {
                return Ok(());
            }
        }
        bail!("the tunnel goes on talking after a malformed message")
    }

    /// Whether nothing comes for a while.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn is_quiet(&self, within: Duration) -> anyhow::Result<bool> {
        self.socket.set_read_timeout(Some(within))?;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 1];
        let quiet = self.socket.peek(&mut buffer).is_err();
        self.socket.set_read_timeout(Some(PATIENCE))?;
        Ok(quiet)
    }
}
