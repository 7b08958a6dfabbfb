//! Deciding live connections again when what they were allowed by has changed: policies, the workload and what is
//! attached to it, revocations. A connection that lost is closed, and its log line says by what.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adit_hbone::Failure;
use adit_mesh::Outcome;
use adit_mesh::authorize::{Refusal, Unusable, Verdict};
use adit_mesh::registry::Local;
use tokio::time::{MissedTickBehavior, interval};

use crate::inbound;
use crate::live::Direction;
use crate::pod::{InstanceId, ON_ITS_WAY, Pod};
use crate::worker::Worker;

/// How often handles of metrics that belong to snapshots of the past are let go: they keep those snapshots in memory.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// Follows the changes for as long as the worker lives.
pub async fn run(worker: Rc<Worker>) {
    let mut changes = worker.shared.changes.clone();
    let mut revocations = worker.shared.certificates.revocation_changes();
    let mut decided = Decided::default();
    let mut again = false;
    let mut housekeeping = interval(HOUSEKEEPING);
    housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = housekeeping.tick() => {
                worker.pairs.borrow_mut().sweep();
                if again {
                    again = !cut_revoked(&worker);
                }
            }
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                decided.policies(&worker);
                worker.endpoints.forget_gone(&worker.shared.store.load());
            }
            changed = revocations.changed() => {
                if changed.is_err() {
                    return;
                }
                again = !cut_revoked(&worker);
            }
        }
    }
}

/// By what each pod's connections were last decided, so that a change elsewhere in the mesh costs a comparison.
#[derive(Default)]
struct Decided(HashMap<InstanceId, Option<Arc<Local>>>);

impl Decided {
    fn policies(&mut self, worker: &Worker) {
        self.0.retain(|id, _| worker.pods.borrow().contains_key(id));
        for pod in worker.instances() {
            let local = pod.local();
            let before = self.0.insert(pod.id, local.clone());
            if !before.is_some_and(|before| same(&before, &local)) {
                cut_denied(&pod);
                if local.is_some_and(|local| local.policies.is_awaited()) {
                    tokio::task::spawn_local(cut_later(pod));
                }
            }
        }
    }
}

fn same(before: &Option<Arc<Local>>, now: &Option<Arc<Local>>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => {
            Arc::ptr_eq(&before.policies, &now.policies) && Arc::ptr_eq(&before.workload, &now.workload)
        }
        (None, None) => true,
        _ => false,
    }
}

/// Judges again when a policy has been on its way for as long as it may be: what it does is known then, or it counts as
/// one that refuses.
async fn cut_later(pod: Rc<Pod>) {
    tokio::time::sleep(ON_ITS_WAY).await;
    cut(&pod, false);
}

/// Closes what is not allowed any more. A connection that only waits for a policy on its way goes on for the moment: it
/// was allowed when it came.
fn cut_denied(pod: &Pod) {
    cut(pod, true);
}

fn cut(pod: &Pod, on_its_way: bool) {
    for connection in pod.table.snapshot() {
        if connection.direction == Direction::Outbound {
            continue;
        }
        // A workload that left the configuration while its pod lives has no policies that could allow anything.
        let reason = match inbound::verdict(pod, &connection) {
            Some(verdict) if verdict.is_allowed() => continue,
            Some(verdict) if on_its_way && is_missing(&verdict) => continue,
            Some(verdict) => verdict.to_string(),
            None => "the workload has left the configuration".to_owned(),
        };
        connection.cut.now(Outcome::PolicyChanged, reason);
    }
}

fn is_missing(verdict: &Verdict) -> bool {
    let missing = |refusal: &Refusal| {
        matches!(
            refusal,
            Refusal::Unusable {
                why: Unusable::Missing,
                ..
            }
        )
    };
    verdict.refusal().is_some_and(missing)
}

/// Also closes the tunnels themselves: what is not used by anybody now must not be used later. False where a pod could
/// not be judged, because it has no certificate now by whose trust to judge.
fn cut_revoked(worker: &Worker) -> bool {
    let mut all = true;
    let detail = "the peer's certificate was revoked while the connection lived";
    let failure = Failure::new(Outcome::CertificateRevoked, detail);
    for pod in worker.instances() {
        let Some(credentials) = pod.current_credentials() else {
            all = false;
            continue;
        };
        for connection in pod.table.snapshot() {
            let chain = connection.chain.borrow();
            let revoked = chain.as_ref().is_some_and(|chain| credentials.is_revoked(chain));
            if revoked {
                connection.cut.now(Outcome::CertificateRevoked, detail);
            }
        }
        for server in pod.servers() {
            if credentials.is_revoked(&server.chain) {
                server.control.abort(failure.clone());
            }
        }
        for (_, connection) in pod.pool.connections() {
            if credentials.is_revoked(connection.peer()) {
                connection.abort(failure.clone());
            }
        }
    }
    all
}
