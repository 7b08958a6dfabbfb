//! What is told about a connection, however it ended: one access-log line and its metrics. Whoever serves a
//! connection fills the report in as it learns, and ends it by [`Report::refuse`] or by [`Report::open`] and
//! [`Opened::close`]. One that is dropped without either (its task was ended, or panicked) is still told, as the
//! tunnel's end, so that what was opened is closed in the metrics too. A connection that is sampled has a span as well
//! ([`trace`]).

mod trace;

use std::fmt::Display;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_hbone::Failure;
use adit_hbone::client;
use adit_hbone::headers::baggage;
use adit_hbone::headers::forwarded;
use adit_hbone::headers::traceparent::Traceparent;
use adit_hbone::headers::{BAGGAGE, FORWARDED, TRACEPARENT};
use adit_mesh::authorize::{Decision, Verdict};
use adit_mesh::route::{Delivery, Hop, Route};
use adit_mesh::{Identity, Outcome, Service, ServiceKey, Text, Workload};
use adit_telemetry::access::{Party, Record};
use adit_telemetry::metrics::{Connection as Labels, PairMetrics, SecurityPolicy};
use adit_telemetry::spans::{Phase, Recording};
use http::HeaderMap;

use crate::live::{Connection, Direction};
use crate::pod::Pod;
use crate::relay::Ended;

/// Bytes that cost about as much as one more turn.
const ACTIVITY_BYTES: u64 = 16 * 1024;

/// What is known about a connection.
pub struct Report {
    pod: Rc<Pod>,
    /// Everything is told.
    told: bool,
    direction: Direction,
    started: Instant,
    client: SocketAddr,
    called: Option<SocketAddr>,
    /// Where the tunnel ends that carries the connection.
    hbone: Option<SocketAddr>,
    source: Option<Arc<Workload>>,
    source_identity: Option<Identity>,
    destination: Option<Arc<Workload>>,
    destination_identity: Option<Identity>,
    service: Option<Arc<Service>>,
    /// What the peer says about itself; used only where the registry does not know it.
    claims: Option<String>,
    /// The hostname that the client says it called.
    named_host: Option<String>,
    trace: Option<Traceparent>,
    /// What its span will say, if it is sampled.
    recording: Option<Box<Recording>>,
    /// Few connections have one, and it is large.
    policy: Option<Box<Verdict>>,
}

impl Report {
    /// A report of a connection that was accepted now.
    pub fn new(pod: &Rc<Pod>, direction: Direction, client: SocketAddr) -> Self {
        Self {
            pod: pod.clone(),
            told: false,
            direction,
            started: Instant::now(),
            client,
            called: None,
            hbone: None,
            source: None,
            source_identity: None,
            destination: None,
            destination_identity: None,
            service: None,
            claims: None,
            named_host: None,
            trace: None,
            recording: None,
            policy: None,
        }
    }

    /// What the client called.
    pub fn called(&mut self, address: SocketAddr) {
        self.called = Some(address);
    }

    /// The pod's own workload.
    pub fn local(&mut self, workload: &Arc<Workload>) {
        match self.direction {
            Direction::Outbound => self.source = Some(workload.clone()),
            Direction::Inbound | Direction::Plaintext => {
                self.destination = Some(workload.clone());
                self.destination_identity = self.source_identity.is_some().then(|| workload.identity.clone());
            }
        }
    }

    /// Where the connection goes.
    pub fn route(&mut self, route: &Route) {
        self.hbone = None;
        match route {
            Route::Passthrough { address, service } => {
                self.called = Some(*address);
                self.service.clone_from(service);
                self.destination = None;
            }
            Route::Direct(hop) => self.hop(hop),
            Route::Hbone(tunnelled) => {
                self.hop(&tunnelled.hop);
                self.hbone = Some(tunnelled.hop.address);
            }
            // Of several attempts the last that named an endpoint says more.
            Route::Refuse(refusal) => {
                self.service = refusal.service.clone().or(self.service.take());
                self.destination = refusal.workload.clone().or(self.destination.take());
            }
        }
        self.passed(Phase::Routed);
    }

    fn hop(&mut self, hop: &Hop) {
        self.called = Some(hop.target);
        self.service.clone_from(&hop.service);
        self.destination = Some(hop.destination.as_ref().unwrap_or(&hop.peer).clone());
    }

    /// The CONNECT is answered; `fresh` tells whether the tunnel that carries it was made for it.
    pub fn tunnel(&mut self, connection: &client::Connection, fresh: bool) {
        self.destination_identity = connection.identity().cloned();
        self.source_identity = self.source.as_ref().map(|workload| workload.identity.clone());
        self.passed_tunnel(connection, fresh);
    }

    /// The peer proved this identity.
    pub fn proved(&mut self, identity: &Identity) {
        self.source_identity = Some(identity.clone());
    }

    /// The connection came through a tunnel that ends at `socket`, whose other end proved this identity.
    pub fn tunnelled_from(&mut self, identity: &Identity, socket: SocketAddr) {
        self.source_identity = Some(identity.clone());
        self.hbone = Some(socket);
    }

    /// What the CONNECT says about itself. Headers that cannot be read are ignored: they decide nothing.
    pub fn headers(&mut self, headers: &HeaderMap) {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        self.continue_trace(text(TRACEPARENT).and_then(|value| Traceparent::parse(value).ok()));
        self.claims = text(BAGGAGE).map(str::to_owned);
        if let Some(Ok(forwarded)) = text(FORWARDED).map(forwarded::parse) {
            self.named_host = forwarded.host.map(str::to_owned);
            if let Some(client) = forwarded.client
                && client.ip() == self.client.ip()
            {
                // The port of the application's own socket; the address is the tunnel's either way.
                self.client = client;
            }
        }
    }

    /// The hostname that the client says it called.
    pub fn named_host(&self) -> Option<&str> {
        self.named_host.as_deref()
    }

    /// How the connection is delivered to the pod, and the service that it is counted for.
    pub fn delivery(&mut self, delivery: &Delivery, service: Option<&Arc<Service>>) {
        self.called = Some(delivery.authorized);
        self.service = delivery.service.as_ref().or(service).cloned();
        self.passed(Phase::Routed);
    }

    /// What the pod's policies say. Where none restricts anything there is nothing to tell.
    pub fn verdict(&mut self, verdict: Verdict) {
        let silent = verdict.decision == Decision::Allowed { by: None } && verdict.dry_run.is_empty();
        self.policy = (!silent).then(|| Box::new(verdict));
        self.passed(Phase::Authorized);
    }

    /// The service that was called, as far as it is known.
    pub fn service(&self) -> Option<&ServiceKey> {
        self.service.as_ref().map(|service| &service.key)
    }

    /// Ends the report of a connection that was not established.
    pub fn refuse(mut self, failure: &Failure) {
        self.tell_refused(failure.outcome, &failure.detail);
    }

    /// Ends the report of what turned out not to be a connection of an application.
    pub fn withdraw(mut self) {
        self.told = true;
    }

    /// The connection is established.
    pub fn open(mut self, connection: &Rc<Connection>) -> Opened {
        self.attribute();
        // What the CONNECT said has been used.
        (self.claims, self.named_host) = (None, None);
        let pair = self.pair();
        pair.opened();
        let metrics = &self.pod.worker.shared.metrics;
        metrics.sockets_open[self.direction.reported()].inc();
        Opened {
            report: self,
            pair,
            connection: connection.clone(),
            first_byte: false,
        }
    }

    fn tell_refused(&mut self, outcome: Outcome, detail: &str) {
        self.told = true;
        self.attribute();
        let direction = self.direction.reported();
        let metrics = &self.pod.worker.shared.metrics;
        metrics.refused(outcome, direction);
        self.pair().failed(outcome);
        if outcome == Outcome::CertificateRevoked {
            metrics.revoked[direction].inc();
        }
        if outcome != Outcome::Overloaded {
            return self.tell(outcome, Some(detail), 0, 0);
        }
        match self.pod.admission.line() {
            None => {}
            Some(0) => self.tell(outcome, Some(detail), 0, 0),
            Some(untold) => {
                let detail = format!("{detail}; {untold} refusals before this one were not logged");
                self.tell(outcome, Some(&detail), 0, 0);
            }
        }
    }

    fn tell(&mut self, outcome: Outcome, error: Option<&str>, forth: u64, back: u64) {
        let duration = self.started.elapsed();
        self.log(outcome, error, forth, back, duration);
        self.tell_span(outcome, error, forth, back, duration);
    }

    fn pair(&self) -> Arc<PairMetrics> {
        let labels = self.labels();
        let worker = &self.pod.worker;
        match worker.pairs.try_borrow_mut() {
            Ok(mut pairs) => pairs.pair(&labels),
            // Only while a panic unwinds through the cache.
            Err(_) => worker.shared.metrics.pair(&labels),
        }
    }

    fn labels(&self) -> Labels {
        let security = match (&self.source_identity, self.hbone) {
            (Some(_), Some(_)) => SecurityPolicy::MutualTls,
            _ => SecurityPolicy::Unknown,
        };
        Labels {
            direction: self.direction.reported(),
            security,
            source: self.source.clone(),
            source_identity: self.source_identity.clone(),
            destination: self.destination.clone(),
            service: self.service.clone(),
        }
    }

    /// Names the client of an inbound connection, once, so that its metrics and its log line name the same. It is
    /// looked up by its address, and only a workload whose identity is the one that the peer proved is believed; a
    /// peer that is not in the registry is described by its own words.
    fn attribute(&mut self) {
        if self.direction == Direction::Outbound || self.source.is_some() {
            return;
        }
        let registry = self.pod.worker.shared.store.load();
        let network = &registry.node().network;
        let found = registry.workload_at(network, self.client.ip());
        let proved = self.source_identity.as_ref();
        self.source = found
            .filter(|workload| proved.is_none_or(|proved| *proved == workload.identity))
            .cloned()
            .or_else(|| claimed(self));
    }

    fn log(&self, outcome: Outcome, error: Option<&str>, forth: u64, back: u64, duration: Duration) {
        let error = error.as_ref().map(|error| error as &dyn Display);
        // As ztunnel: where the TCP connection goes, and what the CONNECT in it asks for.
        let asked = self.called.as_ref().filter(|_| self.hbone.is_some());
        let hbone = asked.map(|address| address as &dyn Display);
        let trace = self.trace.map(|trace| format!("{:032x}", trace.trace));
        self.pod.worker.shared.access.write(&Record {
            source: Party {
                address: Some(self.client),
                workload: self.source.as_deref(),
                identity: self.source_identity.as_ref(),
            },
            destination: Party {
                address: self.hbone.or(self.called),
                workload: self.destination.as_deref(),
                identity: self.destination_identity.as_ref(),
            },
            hbone_address: hbone,
            service: self.service.as_deref(),
            request_bytes: forth,
            response_bytes: back,
            duration,
            error,
            policy: self.policy.as_ref().map(|policy| policy as &dyn Display),
            trace: trace.as_ref().map(|trace| trace as &dyn Display),
            ..Record::new(self.direction.reported(), outcome, None)
        });
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.told {
            self.tell_refused(Outcome::Shutdown, ABANDONED);
        }
    }
}

/// Why a connection ended whose task did not end it.
const ABANDONED: &str = "the task that served the connection was ended";

/// The workload that a peer says it is, with the identity that it proved.
fn claimed(report: &Report) -> Option<Arc<Workload>> {
    let identity = report.source_identity.as_ref()?;
    let baggage = baggage::parse([report.claims.as_deref()?]).ok()?;
    let text = |value: Option<&str>| Text::from(value.unwrap_or_default());
    let mut workload = Workload::new(
        Text::empty(),
        text(baggage.workload),
        identity.trust_domain().clone(),
        identity.namespace().clone(),
        identity.service_account().clone(),
    )
    .ok()?;
    workload.workload_name = text(baggage.workload);
    workload.canonical_name = text(baggage.service);
    workload.canonical_revision = text(baggage.revision);
    workload.cluster = text(baggage.cluster);
    workload.locality.region = text(baggage.region);
    workload.locality.zone = text(baggage.zone);
    Some(Arc::new(workload))
}

/// An established connection, as metrics see it.
pub struct Opened {
    report: Report,
    pair: Arc<PairMetrics>,
    connection: Rc<Connection>,
    first_byte: bool,
}

impl Opened {
    /// Bytes went from the client (`forth`) and to it (`back`).
    pub fn progress(&mut self, forth: u64, back: u64) {
        let counters = &self.connection.counters;
        counters.forth.set(counters.forth.get() + forth);
        counters.back.set(counters.back.get() + back);
        let activity = &self.report.pod.activity;
        activity.set(activity.get() + 1 + (forth + back) / ACTIVITY_BYTES);
        self.pair.request_bytes(forth);
        self.pair.response_bytes(back);
        if back > 0 && !self.first_byte {
            self.first_byte = true;
            let metrics = &self.report.pod.worker.shared.metrics;
            let after = self.report.started.elapsed();
            metrics.first_byte[self.report.direction.reported()].observe(after);
            self.report.passed_after(Phase::FirstByte, after);
        }
    }

    /// Ends the report.
    pub fn close(mut self, ended: Ended) {
        let Ended { outcome, detail } = ended;
        self.tell_closed(outcome, detail.as_deref());
    }

    fn tell_closed(&mut self, outcome: Outcome, detail: Option<&str>) {
        let report = &mut self.report;
        report.told = true;
        self.pair.closed(outcome);
        let metrics = &report.pod.worker.shared.metrics;
        let direction = report.direction.reported();
        metrics.sockets_open[direction].dec();
        if outcome == Outcome::CertificateRevoked {
            metrics.revoked[direction].inc();
        }
        let detail = detail.filter(|_| !outcome.is_success());
        let counters = &self.connection.counters;
        report.tell(outcome, detail, counters.forth.get(), counters.back.get());
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.report.told {
            self.tell_closed(Outcome::Shutdown, Some(ABANDONED));
        }
    }
}
