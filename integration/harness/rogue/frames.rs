//! Frames of HTTP/2 as bytes (RFC 9113, section 6), and just enough of HPACK (RFC 7541) to say CONNECT.

/// Types of frames.
pub const DATA: u8 = 0;
/// The beginning of a header block.
pub const HEADERS: u8 = 1;
/// A dependency, which nobody heeds any more.
pub const PRIORITY: u8 = 2;
/// The end of a stream.
pub const RST_STREAM: u8 = 3;
/// Settings, or their acknowledgement.
pub const SETTINGS: u8 = 4;
/// What a server may not send to who has refused it.
pub const PUSH_PROMISE: u8 = 5;
/// A question whether one is there, or its answer.
pub const PING: u8 = 6;
/// The end of a connection.
pub const GOAWAY: u8 = 7;
/// More window.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a header block.
pub const CONTINUATION: u8 = 9;

/// Flag of SETTINGS and PING.
pub const ACK: u8 = 1;
/// Flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's head.
pub const HEAD: usize = 9;
/// Status 200, from the static table of HPACK.
pub const OK: &[u8] = &[0x88];
/// The setting for the window of new streams (RFC 9113, section 6.5.2).
pub const INITIAL_WINDOW_SIZE: u16 = 4;
/// The largest window that there may be.
pub const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// The head of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Length of the payload in bytes.
    pub length: usize,
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
}

impl Head {
    /// Reads it.
    pub fn parse(head: &[u8; HEAD]) -> Self {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        Self {
            length: length as usize,
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        }
    }
}

/// A frame.
///
/// # Panics
/// The payload is longer than a frame may say.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short payload")
        .to_be_bytes();
    assert_eq!(length[0], 0, "a payload of more than 16 MiB");
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The header block of a CONNECT.
pub fn connect(authority: &str) -> Vec<u8> {
    [literal(2, "CONNECT"), literal(1, authority)].concat()
}

/// A header field with a name of the static table and a literal value, which no table remembers.
///
/// # Panics
/// What is longer than a single byte can say.
pub fn literal(name: u8, value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("a short value");
    assert!(name < 15 && length < 127, "more than fits into one byte");
    [&[name, length], value.as_bytes()].concat()
}

/// A header field `x-junk` with a long value of one letter, which no table remembers.
pub fn junk(length: usize) -> Vec<u8> {
    let mut field = vec![0, 6];
    field.extend_from_slice(b"x-junk");
    // An integer with a prefix of 7 bits (RFC 7541, section 5.1).
    field.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        field.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    field.push(rest as u8);
    field.resize(field.len() + length, b'j');
    field
}
