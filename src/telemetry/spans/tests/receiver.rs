//! A collector: OTLP's service, as the protocol's own definition has it, on a port of the loopback interface.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

/// What arrived: the words beside a batch, and the batch.
pub(super) type Arrived = (MetadataMap, ExportTraceServiceRequest);

/// How a collector answers.
#[derive(Clone, Copy)]
pub(super) enum Manner {
    /// It takes everything.
    Takes,
    /// It takes all but so many spans of each batch.
    Rejects(i64),
    /// It refuses with this code.
    Refuses(Code),
}

struct Service {
    manner: Manner,
    arrived: UnboundedSender<Arrived>,
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let metadata = request.metadata().clone();
        // The test may have seen enough.
        let _ = self.arrived.send((metadata, request.into_inner()));
        let partial_success = match self.manner {
            Manner::Takes => None,
            Manner::Rejects(rejected_spans) => Some(ExportTracePartialSuccess {
                rejected_spans,
                error_message: "too old".to_owned(),
            }),
            Manner::Refuses(code) => return Err(Status::new(code, "not today")),
        };
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

/// A collector that runs with the test, with TLS where it is given.
pub(super) async fn start(
    manner: Manner,
    tls: Option<ServerTlsConfig>,
) -> (SocketAddr, UnboundedReceiver<Arrived>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (sender, arrived) = unbounded_channel();
    let service = TraceServiceServer::new(Service {
        manner,
        arrived: sender,
    })
    .accept_compressed(CompressionEncoding::Gzip)
    .send_compressed(CompressionEncoding::Gzip);
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).expect("a certificate and its key");
    }
    let serving = server
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(serving);
    (address, arrived)
}
