//! Feeds the metrics of HBONE connections. Both ends count stalls; the pool's own figures are of client connections.

use std::rc::Rc;
use std::sync::Arc;

use adit_hbone::meter::{Level, Meter};
use adit_telemetry::metrics::Metrics;

/// The meter of connections that we dialled.
pub fn of_clients(metrics: &Arc<Metrics>) -> Rc<dyn Meter> {
    Rc::new(Clients(metrics.clone()))
}

/// The meter of connections that peers dialled.
pub fn of_servers(metrics: &Arc<Metrics>) -> Rc<dyn Meter> {
    Rc::new(Servers(metrics.clone()))
}

struct Clients(Arc<Metrics>);

impl Meter for Clients {
    fn connection_opened(&self) {
        self.0.pool.connections.inc();
    }

    fn connection_closed(&self) {
        self.0.pool.connections.dec();
    }

    fn stream_opened(&self) {
        self.0.pool.streams.inc();
    }

    fn stream_closed(&self) {
        self.0.pool.streams.dec();
    }

    fn stalled(&self, level: Level) {
        count(&self.0, level);
    }
}

struct Servers(Arc<Metrics>);

impl Meter for Servers {
    fn connection_opened(&self) {}

    fn connection_closed(&self) {}

    fn stream_opened(&self) {}

    fn stream_closed(&self) {}

    fn stalled(&self, level: Level) {
        count(&self.0, level);
    }
}

fn count(metrics: &Metrics, level: Level) {
    let stalls = match level {
        Level::Stream => &metrics.pool.stream_stalls,
        Level::Connection => &metrics.pool.connection_stalls,
    };
    stalls.inc();
}
