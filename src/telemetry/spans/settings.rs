//! What has to be known to export spans, as values that are valid because they exist.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, Uri};

use super::sampler::Sampler;

/// Everything about spans.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Where they go.
    pub collector: Collector,
    /// Which connections are told.
    pub sampler: Sampler,
    /// How many spans wait, and for how long.
    pub batches: Batches,
    /// What is said about this process beside every batch, as names and values.
    pub resource: Vec<(String, String)>,
}

/// Where spans go, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct Collector {
    /// `http://` or `https://`, a host and a port.
    pub endpoint: Uri,
    /// Sent with every request; the values are marked as sensitive, so that nobody prints them.
    pub headers: HeaderMap,
    /// How long one attempt may take, the connection included.
    pub timeout: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// How the collector is verified; there if and only if the endpoint is `https://`.
    pub tls: Option<Tls>,
}

/// How the collector is verified, and who we are to it. The files are read again for each connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// The authorities that may have signed its certificate (PEM).
    pub roots: PathBuf,
    /// Our certificate chain and its key (PEM), where the collector asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How many spans wait, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batches {
    /// How long a span waits for others at most.
    pub delay: Duration,
    /// How long a batch is tried before it is given up.
    pub timeout: Duration,
    /// Spans that may wait; more are dropped.
    pub queue: usize,
    /// Spans in one request at most; at least 1, at most `queue`.
    pub size: usize,
}
