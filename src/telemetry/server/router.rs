//! Which path does what, by which method; and who may ask.
//!
//! A server on loopback is still reachable from a browser on the same machine: a page of somebody else can have its
//! name resolve to 127.0.0.1 (DNS rebinding) or post a form to it. So a request must be addressed to a loopback name in
//! `Host`, and come from nowhere or from such a name in `Origin`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, StatusCode};

use super::Reach;

/// An answer. Its body is whole: everything here is small, or exists in memory anyway.
pub type Response = hyper::Response<Full<Bytes>>;

/// What answers a path.
pub type Handler = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// What a handler knows of a request. Its body is not read.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    query: Vec<(String, String)>,
    accept: Option<String>,
}

impl Request {
    /// What a handler is told of a request with this head.
    pub fn new(head: &Parts) -> Self {
        Self {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(parse_query).unwrap_or_default(),
            accept: header(&head.headers, &ACCEPT).map(str::to_owned),
        }
    }

    /// The first value of the parameter `name`; "" if it stands without one.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The parameter `name` as a number within `range`, or `default` if it is absent.
    ///
    /// # Errors
    /// The answer 400 that says what would have been right.
    pub fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, Box<Response>> {
        let Some(value) = self.parameter(name) else {
            return Ok(default);
        };
        value
            .parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                let words = format!("{name}={value:?}: give a number from {least} to {most}\n");
                Box::new(text(StatusCode::BAD_REQUEST, words))
            })
    }

    /// The header `Accept`.
    pub fn accept(&self) -> Option<&str> {
        self.accept.as_deref()
    }

    /// Whether the client would rather have JSON than text.
    pub fn wants_json(&self) -> bool {
        self.accept()
            .is_some_and(|accept| accept.contains("application/json"))
    }
}

/// An answer of plain text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    with_type(status, "text/plain; charset=utf-8", body)
}

/// An answer of JSON, which `body` is.
pub fn json(body: impl Into<Bytes>) -> Response {
    with_type(StatusCode::OK, "application/json", body)
}

/// An answer of any media type.
pub fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Everything here is a state of this moment.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

struct Page {
    method: Method,
    what: &'static str,
    handler: Handler,
}

/// The table of paths.
#[derive(Default)]
pub struct Router {
    pages: BTreeMap<&'static str, Page>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.pages.keys()).finish()
    }
}

impl Router {
    /// Answers GET (and HEAD) of `path`; `what` is its line in the list of pages.
    #[must_use]
    pub fn get<F, R>(self, path: &'static str, what: &'static str, handler: F) -> Self
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        self.page(Method::GET, path, what, handler)
    }

    /// Answers POST of `path`: for what changes something.
    #[must_use]
    pub fn post<F, R>(self, path: &'static str, what: &'static str, handler: F) -> Self
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        self.page(Method::POST, path, what, handler)
    }

    fn page<F, R>(mut self, method: Method, path: &'static str, what: &'static str, handler: F) -> Self
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Response> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        self.pages.insert(
            path,
            Page {
                method,
                what,
                handler,
            },
        );
        self
    }

    pub(super) async fn answer(&self, request: hyper::Request<Incoming>, reach: Reach) -> Response {
        let (head, _) = request.into_parts();
        if reach == Reach::Loopback && !is_meant_for_loopback(&head.headers) {
            let words = "this port answers only requests that are addressed to localhost\n";
            return text(StatusCode::FORBIDDEN, words);
        }
        let Some(page) = self.pages.get(head.uri.path()) else {
            return match head.uri.path() {
                "/" => text(StatusCode::OK, self.list()),
                path => text(
                    StatusCode::NOT_FOUND,
                    format!("there is no page {path}; these are:\n{}", self.list()),
                ),
            };
        };
        let is_head = head.method == Method::HEAD && page.method == Method::GET;
        if head.method != page.method && !is_head {
            let words = format!("use {} for {}\n", page.method, head.uri.path());
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, words);
            if let Ok(allowed) = HeaderValue::from_str(page.method.as_str()) {
                response.headers_mut().insert(ALLOW, allowed);
            }
            return response;
        }
        (page.handler)(Request::new(&head)).await
    }

    /// The pages and what they are, one a line.
    fn list(&self) -> String {
        let widest = self.pages.keys().map(|path| path.len()).max().unwrap_or_default();
        let mut list = String::new();
        for (path, page) in &self.pages {
            list.push_str(&format!(
                "  {:4} {path:widest$}  {}\n",
                page.method.as_str(),
                page.what
            ));
        }
        list
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a request with these headers was addressed to this machine by its loopback name, and comes from no page of
/// somebody else.
pub fn is_meant_for_loopback(headers: &HeaderMap) -> bool {
    // Of two hosts nobody knows which is meant (RFC 9112, section 3.2).
    let several = headers.get_all(HOST).iter().nth(1).is_some();
    let host = !several && header(headers, &HOST).is_some_and(is_loopback);
    let origin = match headers.get(ORIGIN).map(HeaderValue::to_str) {
        None => true,
        Some(Ok(origin)) => origin
            .split_once("://")
            .is_some_and(|(_, authority)| is_loopback(authority)),
        Some(Err(_)) => false,
    };
    host && origin
}

fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    let host = authority.host();
    // Nothing but a port stands beside it: no user before it, and no more than the type checks after it.
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = match authority.as_str().strip_prefix(host) {
        Some("") => true,
        Some(rest) => rest.strip_prefix(':').is_some_and(digits),
        None => false,
    };
    if !is_plain {
        return false;
    }
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Pairs of a query, as HTML forms encode them (`application/x-www-form-urlencoded`).
fn parse_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Undoes percent-encoding; what is none stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|b| char::from(*b).to_digit(16));
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', ..) => {
                decoded.push(b' ');
                at += 1;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        let pairs = parse_query("source=bank%2Fweb&destination=10.0.0.1:80&reset&a=b+c&bad=%zz");
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let expected = [
            ("source", "bank/web"),
            ("destination", "10.0.0.1:80"),
            ("reset", ""),
            ("a", "b c"),
            ("bad", "%zz"),
        ];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn only_loopback_names_are_loopback() {
        for host in [
            "localhost",
            "LOCALHOST:15000",
            "127.0.0.1",
            "127.1.2.3:15000",
            "[::1]:15000",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1:15000",
            "",
            "[::2]",
            "127.0.0.1.evil",
            "evil@localhost",
            "localhost:15,00",
            "[::1]515000",
            "a b",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
