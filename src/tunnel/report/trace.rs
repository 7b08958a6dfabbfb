//! The place of a connection in a trace, and its span.
//!
//! Each connection has one trace: the source's tunnel makes it, all attempts to reach the destination carry it, and the
//! log lines of both ends name it. Whether it is sampled is decided when it is made or received. One that is not keeps
//! no [`Recording`], and then nothing below allocates or reads a clock.

use std::time::Duration;

use adit_hbone::client;
use adit_hbone::headers::traceparent::Traceparent;
use adit_mesh::Outcome;
use adit_telemetry::spans::{self, Context, Party, Phase, Recording, Span};

use super::Report;

impl Report {
    /// The connection begins a trace here, unless nobody is told of spans.
    pub fn begin_trace(&mut self) {
        let worker = &self.pod.worker;
        let Some(spans) = &worker.shared.spans else { return };
        let trace = Traceparent::fresh(&mut worker.random.borrow_mut());
        if spans.sampler.begins(trace.trace) {
            self.record(trace.sampled(), trace.span, None);
        } else {
            self.trace = Some(trace);
        }
    }

    /// The trace that came with the connection, if one did.
    pub(super) fn continue_trace(&mut self, sent: Option<Traceparent>) {
        self.trace = sent;
        let worker = &self.pod.worker;
        let Some(spans) = &worker.shared.spans else { return };
        match sent {
            Some(sent) if spans.sampler.continues(sent.trace, sent.is_sampled()) => {
                let own = worker.random.borrow_mut().u64(1..);
                self.record(sent, own, Some(sent.span));
            }
            Some(_) => {}
            None => self.begin_trace(),
        }
    }

    fn record(&mut self, trace: Traceparent, span: u64, parent: Option<u64>) {
        self.trace = Some(trace);
        self.recording = Some(Box::new(Recording::new(Context {
            trace: trace.trace,
            span,
            parent,
        })));
    }

    /// What the destination's tunnel is told of the trace: the same in every attempt.
    pub fn trace_to_send(&mut self) -> Traceparent {
        let random = &self.pod.worker.random;
        *self
            .trace
            .get_or_insert_with(|| Traceparent::fresh(&mut random.borrow_mut()))
    }

    /// The connection passes a phase now.
    pub fn passed(&mut self, phase: Phase) {
        if let Some(recording) = &mut self.recording {
            recording.passed(phase, self.started.elapsed());
        }
    }

    /// The connection passed a phase so long after its start.
    pub(super) fn passed_after(&mut self, phase: Phase, after: Duration) {
        if let Some(recording) = &mut self.recording {
            recording.passed(phase, after);
        }
    }

    /// The CONNECT is answered. What was done for the tunnel is part of the connection only where the tunnel was made
    /// for it; the dial may have begun for another connection before this one.
    pub(super) fn passed_tunnel(&mut self, connection: &client::Connection, fresh: bool) {
        let Some(recording) = &mut self.recording else {
            return;
        };
        recording.tunnel_reused(!fresh);
        if fresh {
            let established = connection.established().saturating_duration_since(self.started);
            let connected = established.saturating_sub(connection.timings().tls);
            recording.passed(Phase::TcpConnected, connected);
            recording.passed(Phase::TlsEstablished, established);
        }
        recording.passed(Phase::ConnectAnswered, self.started.elapsed());
    }

    pub(super) fn tell_span(
        &mut self,
        outcome: Outcome,
        error: Option<&str>,
        forth: u64,
        back: u64,
        duration: Duration,
    ) {
        let (Some(recording), Some(spans)) = (self.recording.take(), &self.pod.worker.shared.spans) else {
            return;
        };
        spans.tell(Span {
            source: Party {
                address: Some(self.client),
                workload: self.source.clone(),
                identity: self.source_identity.clone(),
            },
            destination: Party {
                address: self.called,
                workload: self.destination.clone(),
                identity: self.destination_identity.clone(),
            },
            tunnel: self.hbone,
            service: self.service.clone(),
            request_bytes: forth,
            response_bytes: back,
            error: error.map(|error| spans::cut(error).into()),
            policy: self.policy.take().map(|policy| *policy),
            ..recording.end(self.direction.reported(), outcome, duration)
        });
    }
}
