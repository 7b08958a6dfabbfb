//! One HTTP request over one connection, made in a pod's network namespace: what the lab's clients are.
//!
//! HTTP/1.0, so that the end of the answer is the end of the connection and a cut is never mistaken for it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use adit_net::Namespace;

/// How long a connect, and each wait for bytes, may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// Why there is no answer. What a refused client sees depends on where it was refused, so that is told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The namespace could not be entered, or the connection not be made.
    #[error("cannot connect: {0}")]
    Connect(io::ErrorKind),
    /// The connection was made and then broke.
    #[error("the connection broke: {0}")]
    Broken(io::ErrorKind),
    /// The connection was closed before the answer was complete.
    #[error("closed without an answer")]
    Closed,
    /// Something came that is not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
}

/// Makes a connection in the namespace (`None`: the current one) and one request on it.
///
/// # Errors
/// [`Failure`].
pub fn request<'a>(
    namespace: impl Into<Option<&'a Namespace>>,
    address: SocketAddr,
    method: &str,
    target: &str,
) -> Result<Response, Failure> {
    let connect = || TcpStream::connect_timeout(&address, TIMEOUT);
    let mut stream = match namespace.into() {
        Some(namespace) => namespace.run(connect).flatten(),
        None => connect(),
    }
    .map_err(|error| Failure::Connect(error.kind()))?;
    let broken = |error: io::Error| Failure::Broken(error.kind());
    stream.set_read_timeout(Some(TIMEOUT)).map_err(broken)?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(broken)?;
    let head = format!("{method} {target} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).map_err(broken)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(broken)?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Result<Response, Failure> {
    if answer.is_empty() {
        return Err(Failure::Closed);
    }
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or(Failure::Closed)?;
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|status| status.parse().ok())
        .ok_or(Failure::NotHttp)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    match length {
        Some(length) if body.len() < length => Err(Failure::Closed),
        _ => Ok(Response {
            status,
            body: body.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_cut_is_no_answer() {
        let whole = b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbank";
        let expected = Response {
            status: 200,
            body: "bank".into(),
        };
        assert_eq!(parse(whole), Ok(expected));
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Err(Failure::Closed), "{end}");
        }
        assert_eq!(parse(b"SSH-2.0-x\r\n\r\n"), Err(Failure::NotHttp));
    }
}
