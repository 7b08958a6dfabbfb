//! Connections to a pod from outside of the mesh, redirected to port 15006. The same policies decide as for peers of
//! the mesh, for a client without an identity.

use std::net::SocketAddr;
use std::rc::Rc;

use adit_hbone::Failure;
use adit_mesh::{Outcome, route};
use adit_net::socket::{broken, original_destination};
use adit_telemetry::spans::Phase;
use tokio::net::TcpStream;

use crate::carry::Established;
use crate::dial::Dialled;
use crate::inbound::{application, authorize};
use crate::live::{Connection, Direction};
use crate::pod::Pod;
use crate::relay::Sides;
use crate::report::Report;

/// Begins one connection: decides, and dials the application.
pub(crate) async fn begin(pod: Rc<Pod>, socket: TcpStream, client: SocketAddr) -> Option<Established> {
    let mut report = Report::new(&pod, Direction::Plaintext, client);
    report.begin_trace();
    let original = match original_destination(&socket) {
        Ok(original) => original,
        Err(error) => {
            let detail = format!("no original destination: {error}");
            report.refuse(&Failure::new(Outcome::ConnectFailed, detail));
            return None;
        }
    };
    report.called(original);
    let delivery = match deliver(&pod, original, &mut report).await {
        Ok(delivery) => delivery,
        Err(failure) => return refuse(&socket, report, &failure),
    };
    let entry = pod.table.enter(Connection {
        authorized: delivery.authorized,
        ..Connection::new(Direction::Plaintext, client, original)
    });
    *entry.service.borrow_mut() = delivery.service.clone();
    entry.actual.set(Some(delivery.address));
    let reached = async {
        authorize(&pod, &entry, &mut report)?;
        let dialled = application(&pod, &entry, delivery.address).await?;
        report.passed(Phase::TcpConnected);
        Ok(dialled)
    };
    let reached = tokio::select! {
        biased;
        (outcome, detail) = entry.cut.wait() => Err(Failure::new(outcome, detail)),
        reached = reached => reached,
        _ = broken(&socket) => Err(Failure::new(Outcome::ClientGone, "the client closed the connection")),
    };
    match reached {
        Err(failure) => refuse(&socket, report, &failure),
        Ok(Dialled {
            socket: server,
            descriptor,
        }) => Some(Established {
            opened: report.open(entry.connection()),
            sides: Sides::sockets(socket, server, &pod.admission.ledger),
            entry,
            active: None,
            admitted: None,
            descriptor: Some(descriptor),
        }),
    }
}

async fn deliver(pod: &Pod, original: SocketAddr, report: &mut Report) -> Result<route::Delivery, Failure> {
    let local = pod.wait_policies(pod.wait_local().await?).await;
    report.local(&local.workload);
    let registry = pod.worker.shared.store.load();
    let delivery = route::accept_plaintext(&registry, &local.workload, original)
        .map_err(|refusal| Failure::new(refusal.outcome, refusal.detail))?;
    report.delivery(&delivery, None);
    Ok(delivery)
}

fn refuse(socket: &TcpStream, report: Report, failure: &Failure) -> Option<Established> {
    // Fails only if the client has left already.
    let _ = adit_net::socket::reset(socket);
    report.refuse(failure);
    None
}
