//! A collector of traces: OTLP's service as the protocol's own definition has it, on a port of a pod.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use adit::lab::observe;
use adit_net::Namespace;
use anyhow::Context;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::oneshot;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span that arrived.
#[derive(Clone, PartialEq, Debug)]
pub struct Told {
    /// What the tunnel says about itself.
    pub resource: BTreeMap<String, String>,
    /// What it says about the connection, as text.
    pub attributes: BTreeMap<String, String>,
    /// All of it.
    pub span: Span,
}

impl Told {
    /// An attribute; empty if there is none of that name.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// The trace, as the access log spells it.
    pub fn trace(&self) -> String {
        self.span
            .trace_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The names of its events in the order of their times.
    pub fn events(&self) -> Vec<&str> {
        let mut events: Vec<_> = self.span.events.iter().collect();
        events.sort_by_key(|event| event.time_unix_nano);
        events.iter().map(|event| event.name.as_str()).collect()
    }
}

type Arrived = Arc<Mutex<Vec<Told>>>;

struct Service(Arrived);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut arrived = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for batch in request.into_inner().resource_spans {
            let resource = texts(&batch.resource.unwrap_or_default().attributes);
            let spans = batch.scope_spans.into_iter().flat_map(|scope| scope.spans);
            arrived.extend(spans.map(|span| Told {
                resource: resource.clone(),
                attributes: texts(&span.attributes),
                span,
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(is) => is.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .filter_map(|attribute| {
            let value = attribute.value.as_ref()?.value.as_ref()?;
            Some((attribute.key.clone(), text(value)))
        })
        .collect()
}

/// A collector that runs until it is dropped.
#[derive(Debug)]
pub struct Collector {
    arrived: Arrived,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Collector {
    /// Listens at an address of a namespace.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> anyhow::Result<Self> {
        let listener = namespace.run(|| std::net::TcpListener::bind(address)).flatten()?;
        listener.set_nonblocking(true)?;
        let arrived = Arrived::default();
        let service = TraceServiceServer::new(Service(arrived.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?);
            let server = Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming);
            tokio::select! {
                served = server => served?,
                _ = stopped => {}
            }
            anyhow::Ok(())
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::spawn(move || runtime.block_on(serve));
        Ok(Self {
            arrived,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What has arrived so far.
    pub fn spans(&self) -> Vec<Told> {
        self.arrived
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for a span with these attributes.
    ///
    /// # Errors
    /// There is none in time; the error shows those that there are.
    pub fn wait(&self, attributes: &[(&str, &str)]) -> anyhow::Result<Told> {
        observe::eventually(format_args!("a span with {attributes:?}"), || {
            let is = |told: &Told| {
                attributes
                    .iter()
                    .all(|(name, value)| told.attribute(name) == *value)
            };
            Ok(self.spans().into_iter().find(is))
        })
        .with_context(|| format!("there are {:#?}", self.spans()))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Gone already if the server failed, which shows in the scenario as spans that are missing.
        drop(self.stop.take());
        let _joined = self.thread.take().map(JoinHandle::join);
    }
}
