//! Packets as they pass a device: the proof that nothing readable is on the wire.

use std::ffi::CString;
use std::io::{self, Read};
use std::mem::size_of;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::namespace::Namespace;

/// How many bytes of packets may wait to be taken.
const WAITING: usize = 32 << 20;

/// Larger than any packet, the kernel's coalesced ones included.
const LARGEST: usize = 1 << 19;

/// Everything that passes a device, both ways, from the moment of opening.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
}

/// What was captured since the last time.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Captured {
    /// Whole packets, Ethernet header included, in order.
    pub packets: Vec<Vec<u8>>,
    /// How many packets were lost because too much was waiting. A proof of absence needs 0.
    pub dropped: u32,
}

impl Captured {
    /// Whether the bytes are found in some packet. What was split over two packets is not found.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        let within = |packet: &Vec<u8>| packet.windows(bytes.len().max(1)).any(|window| window == bytes);
        self.packets.iter().any(within)
    }
}

impl Capture {
    /// Begins to capture on a device of the namespace. Needs CAP_NET_RAW there.
    pub fn open(namespace: &Namespace, device: &str) -> io::Result<Self> {
        let every_protocol = (libc::ETH_P_ALL as u16).to_be();
        let name = CString::new(device).map_err(|_| Errno::ENODEV)?;
        let (socket, index) = namespace.run(|| {
            // With no protocol nothing is received until it is bound: packets of other devices never come in.
            let kind = Type::RAW.nonblocking().cloexec();
            let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(0)))?;
            let index = nix::net::if_::if_nametoindex(name.as_c_str())?;
            io::Result::Ok((socket, index))
        })??;
        // Root may exceed the limit that others are held to.
        if nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &WAITING).is_err() {
            socket.set_recv_buffer_size(WAITING)?;
        }
        let index = i32::try_from(index).map_err(|_| Errno::ENODEV)?;
        socket.bind(&device_address(index, every_protocol))?;
        Ok(Self { socket })
    }

    /// Takes what was captured since the last time.
    pub fn take(&mut self) -> io::Result<Captured> {
        let mut captured = Captured::default();
        let mut buffer = vec![0; LARGEST];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(length) => captured.packets.push(buffer[..length].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        captured.dropped = dropped(&self.socket)?;
        Ok(captured)
    }
}

/// The address of a device, for packet sockets.
fn device_address(index: i32, protocol: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    #[expect(unsafe_code, reason = "no safe constructor exists for this kind of address")]
    // SAFETY: `sockaddr_ll` is one of the address types that the storage is made for, every bit pattern of it is valid,
    // and the length given is that of the type that was written.
    unsafe {
        let address = storage.view_as::<libc::sockaddr_ll>();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index;
        SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    }
}

/// How many packets were lost since this was last asked.
fn dropped(socket: &Socket) -> io::Result<u32> {
    use std::os::fd::AsRawFd;

    let mut statistics = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    #[expect(unsafe_code, reason = "no safe wrapper exists for this option")]
    // SAFETY: the pointers are to live values of this function, and `length` is the size of the one written to.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    Errno::result(outcome)?;
    Ok(statistics.tp_drops)
}
