//! What the configuration decides before anything is dialled.

use std::net::SocketAddr;

use adit::lab::apps::HTTP_PORT;
use adit_integration::harness::bed::Bed;
use adit_integration::harness::credentials::Ca;
use adit_mesh::Outcome;
use adit_mesh::constants::OUTBOUND_PORT;
use serde_json::json;

use super::{Case, Counted, Held, Stage, Teller};

/// The services: their virtual addresses, by what is wrong with them.
const WITHOUT_ENDPOINT: &str = "10.96.1.1";
const WITHOUT_PORT: &str = "10.96.1.2";
const WITHOUT_ADDRESS: &str = "10.96.1.3";
const WITHOUT_WAYPOINT: &str = "10.96.1.4";
const ELSEWHERE: &str = "10.96.1.5";
const REJECTED: &str = "10.96.1.6";
const HIDDEN: &str = "10.96.1.7";
/// The address of a workload that only speaks what sidecars speak.
const SIDECAR: &str = "10.245.0.1";

/// Adds services with every defect, and a pod that the configuration does not know.
pub(super) fn prepare(bed: &mut Bed, _: &Ca) -> anyhow::Result<()> {
    bed.add_machine("stranger", 0)?;
    let mesh = &mut bed.mesh;
    let ports = || json!({"8080": 8080});
    mesh.add_service("nobody", "bank", WITHOUT_ENDPOINT, ports());
    mesh.add_service("portless", "bank", WITHOUT_PORT, json!({"9000": 9000}));
    mesh.serves("server", "portless", "bank", json!({"9000": 9000}));
    mesh.add_service("nowhere", "bank", WITHOUT_ADDRESS, ports());
    mesh.add_workload("nowhere", "bank", "nowhere", &[])["hostname"] = json!("nowhere.example");
    mesh.serves("nowhere", "nowhere", "bank", ports());
    let service = mesh.add_service("guarded", "bank", WITHOUT_WAYPOINT, ports());
    service["waypoint"] =
        json!({"destination": "bank/waypoint.bank.svc.cluster.local", "hboneMtlsPort": 15008});
    mesh.serves("server", "guarded", "bank", ports());
    mesh.add_service("far", "bank", ELSEWHERE, ports());
    mesh.add_workload("far", "bank", "far", &[[10, 246, 0, 1].into()])["network"] = json!("another");
    mesh.serves("far", "far", "bank", ports());
    mesh.add_service("broken", "bank", REJECTED, ports())["loadBalancer"] = json!({"mode": "Roulette"});
    mesh.add_service("hidden", "vault", HIDDEN, ports())["visibility"] = json!("Namespace");
    mesh.add_workload("sidecar", "bank", "sidecar", &[SIDECAR.parse()?])["protocol"] =
        json!("LEGACY_ISTIO_MTLS");
    Ok(())
}

pub(super) const CASES: &[Case] = &[
    case(Outcome::Completed, Counted::Closed, "", |stage| {
        let server = stage.bed.socket("server", HTTP_PORT)?;
        stage.bed.call("client", server)?;
        nothing()
    }),
    refusal(Outcome::NoEndpoint, "has no endpoint", |stage| {
        call(stage, WITHOUT_ENDPOINT)
    }),
    refusal(Outcome::NoPort, "no target for port 8080", |stage| {
        call(stage, WITHOUT_PORT)
    }),
    refusal(Outcome::NoAddress, "only the hostname nowhere.example", |stage| {
        call(stage, WITHOUT_ADDRESS)
    }),
    refusal(Outcome::NoWaypoint, "waypoint.bank.svc.cluster.local", |stage| {
        call(stage, WITHOUT_WAYPOINT)
    }),
    refusal(Outcome::NetworkUnreachable, "\"another\"", |stage| {
        call(stage, ELSEWHERE)
    }),
    refusal(Outcome::InvalidConfiguration, "Roulette", |stage| {
        call(stage, REJECTED)
    }),
    refusal(Outcome::NotVisible, "in its own namespace only", |stage| {
        call(stage, HIDDEN)
    }),
    refusal(Outcome::UnsupportedProtocol, "sidecars", |stage| {
        call(stage, SIDECAR)
    }),
    refusal(Outcome::Loop, "a port of the tunnel itself", |stage| {
        let own = SocketAddr::new([127, 0, 0, 1].into(), OUTBOUND_PORT);
        stage.bed.refused("client", own)?;
        nothing()
    }),
    refusal(Outcome::UnknownWorkload, "no workload bank/stranger", |stage| {
        let server = stage.bed.socket("server", HTTP_PORT)?;
        stage.bed.refused("stranger", server)?;
        nothing()
    }),
];

const fn case(
    outcome: Outcome,
    counted: Counted,
    says: &'static str,
    provoke: fn(&mut Stage) -> anyhow::Result<Held>,
) -> Case {
    Case {
        outcome,
        teller: Teller::Client,
        counted,
        says,
        provoke,
    }
}

const fn refusal(
    outcome: Outcome,
    says: &'static str,
    provoke: fn(&mut Stage) -> anyhow::Result<Held>,
) -> Case {
    case(outcome, Counted::Failed, says, provoke)
}

fn call(stage: &mut Stage, address: &str) -> anyhow::Result<Held> {
    stage
        .bed
        .refused("client", SocketAddr::new(address.parse()?, HTTP_PORT))?;
    nothing()
}

fn nothing() -> anyhow::Result<Held> {
    Ok(Box::new(()))
}
