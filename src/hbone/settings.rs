//! The numbers of the tunnel, each with its reason. Sizes are bytes.

use std::time::Duration;

/// How long a stream that we reset is remembered: longer than bytes stay under way on a congested path.
pub const RESET_MEMORY: Duration = Duration::from_secs(5);

/// Windows, limits and deadlines of HBONE connections, both ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// What a peer may send on one stream before the application took it. 64 KiB costs 75 % more CPU per byte
    /// than 4 MiB; beyond 4 MiB nothing is gained.
    pub stream_window: u32,
    /// What a peer may send on all streams together. Four streams' worth; see [`Settings::window_limit`] for
    /// what happens when applications stop reading.
    pub connection_window: u32,
    /// The connection window grows by a stream's window for each stream whose application has stopped reading, so
    /// that a stalled stream holds its own window and not its neighbours'; this is where the growth ends, and
    /// thereby the most that one connection can make us buffer.
    pub window_limit: u32,
    /// Largest DATA frame that we accept. Larger frames delay the first byte and gain nothing.
    pub max_frame: u32,
    /// What we buffer of one stream's outgoing bytes inside HTTP/2.
    pub send_buffer: usize,
    /// DATA frames of less than 256 bytes that may wait for an application, in bytes as the h2 crate counts them.
    /// Its default lets one application that stopped reading end the connection of all; bytes are bounded by the
    /// windows already.
    pub small_frame_budget: usize,
    /// Streams that a peer may have open on one connection.
    pub max_streams: u32,
    /// Streams that a peer may open and reset before we have looked at them. The h2 crate's default of 20 lets one
    /// client that connects and leaves in a burst (a port scan, a health check) end the connection of all.
    pub unseen_resets: usize,
    /// Streams remembered after we reset them, for [`RESET_MEMORY`], so that what was under way is ignored.
    pub remembered_resets: usize,
    /// What a peer may send on streams that are forgotten, in frames over the whole life of a connection, before
    /// it is ended. The h2 crate's default of 1024 is reached by an honest peer on a tunnel that lives for days.
    pub stray_frames: usize,
    /// Largest header block that we accept from a client, as HTTP/2 counts it.
    pub server_header_list: u32,
    /// Largest header block that we accept from a server.
    pub client_header_list: u32,
    /// Streams on one connection after which the pool opens another.
    pub streams_per_connection: usize,
    /// Connections to one peer at most; beyond, streams share them, and wait where the peer takes no more. Room for
    /// 25,600 streams between two pods, as a gateway with one busy backend may have, for 8 MB at either end.
    pub connections_per_peer: usize,
    /// Connections to one peer that are opened because streams on the others wait for its window; more are opened only
    /// where all are full. What eight windows do not carry is not the windows' fault.
    pub connections_for_speed: usize,
    /// How long a connection without streams is kept for the next one.
    pub idle_timeout: Duration,
    /// How long nothing must have arrived before a PING asks whether the peer is there.
    pub ping_interval: Duration,
    /// How long the answer to that PING, or any other byte, may take.
    pub ping_timeout: Duration,
    /// Deadlines of each stage.
    pub deadlines: Deadlines,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stream_window: 4 << 20,
            connection_window: 16 << 20,
            window_limit: 64 << 20,
            max_frame: 64 << 10,
            send_buffer: 512 << 10,
            small_frame_budget: 64 << 20,
            max_streams: 200,
            unseen_resets: 1024,
            remembered_resets: 1024,
            stray_frames: 64 << 10,
            server_header_list: 64 << 10,
            client_header_list: 16 << 10,
            streams_per_connection: 100,
            connections_per_peer: 256,
            connections_for_speed: 8,
            idle_timeout: Duration::from_secs(300),
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(20),
            deadlines: Deadlines::default(),
        }
    }
}

/// How long each stage of a connection may take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// TCP connect. Two lost SYNs (1 s and 2 s apart) still succeed with time to spare.
    pub connect: Duration,
    /// TLS handshake: two round trips and two signatures; a peer at its limit may queue it.
    pub tls: Duration,
    /// HTTP/2 preface and SETTINGS.
    pub http2: Duration,
    /// The answer to a CONNECT. Longer than `connect`, because the peer connects to its application first.
    pub answer: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            tls: Duration::from_secs(10),
            http2: Duration::from_secs(10),
            answer: Duration::from_secs(15),
        }
    }
}
