//! `adit status`: who is connected to the control plane and how far each has come, and which objects do not do what their
//! authors wrote.

use std::process::ExitCode;

use anyhow::{Context, bail};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::ask::{Answer, Tunnel};
use super::output::{Format, print, written};
use super::table::Table;
use crate::lab::visit::CONTROL;

/// Who has what.
const SYNC: &str = "/debug/syncz";
/// What authors are told.
const CONDITIONS: &str = "/debug/conditions";

/// Which control plane.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Where the control plane answers about itself: HOST:PORT
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15014")]
    control: String,
    /// Ask the control plane of the running lab
    #[arg(long)]
    lab: bool,
    /// How to write the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Shows it. Must be called while the process has one thread. The exit status is 1 if a client is not in step or an object
/// does not do what it says.
///
/// # Errors
/// No control plane answers.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let control = Tunnel::at(args.control.clone(), args.lab.then(|| CONTROL.to_owned()));
    let answers = control
        .get_all([SYNC, CONDITIONS])
        .with_context(|| format!("no control plane answers at {}", control.place()))?;
    let [sync, conditions] = &answers[..] else {
        bail!("an answer is missing");
    };
    let (sync, conditions) = (
        read(&control, SYNC, sync)?,
        read(&control, CONDITIONS, conditions)?,
    );
    let text = match args.output {
        Format::Short => shown(&sync, &conditions),
        format => written(
            &json!({ "clients": sync["clients"], "objects": conditions }),
            format,
        )?,
    };
    print(&text)?;
    Ok(ExitCode::from(u8::from(!is_well(&sync, &conditions))))
}

fn read(control: &Tunnel, page: &str, answer: &Answer) -> anyhow::Result<Value> {
    if answer.status != StatusCode::OK {
        bail!(
            "{} is no control plane: {page} answers {}",
            control.place(),
            answer.status
        );
    }
    serde_json::from_slice(&answer.body).with_context(|| format!("{page} of {} is no JSON", control.place()))
}

/// For people: the clients, what they refused, and what is wrong with objects.
fn shown(sync: &Value, conditions: &Value) -> String {
    let mut clients = Table::new(["CLIENT", "NODE", "ADDRESSES", "POLICIES", "CONNECTED", "VERSION"]);
    let mut refusals = String::new();
    for client in list(&sync["clients"]) {
        let kinds = &client["kinds"];
        let state = |kind: &str| text(&kinds[kind]["state"]).to_owned();
        // <type>~<address>~<pod>.<namespace>~<domain>
        let name = text(&client["id"])
            .split('~')
            .nth(2)
            .unwrap_or_default()
            .to_owned();
        for (kind, progress) in kinds.as_object().into_iter().flatten() {
            if let Some(reason) = progress["refused"].as_str() {
                refusals += &format!("{name} refuses {kind}: {}\n", harmless(reason));
            }
        }
        let connected = client["connectedSeconds"].as_f64().unwrap_or_default();
        clients.add([
            name,
            text(&client["node"]).to_owned(),
            state("Address"),
            state("Authorization"),
            format!("{connected:.0}s"),
            text(&client["version"]).to_owned(),
        ]);
    }
    let mut objects = Table::new(["OBJECT", "CONDITION", "STATUS", "REASON", "MESSAGE"]);
    let mut wrong = 0;
    for (object, condition) in troubled(conditions) {
        wrong += 1;
        objects.add([
            object.to_owned(),
            text(&condition["type"]).to_owned(),
            condition["status"].to_string(),
            text(&condition["reason"]).to_owned(),
            text(&condition["message"]).to_owned(),
        ]);
    }
    let mut out = clients.to_string();
    for part in [
        refusals,
        if wrong > 0 {
            objects.to_string()
        } else {
            String::new()
        },
    ] {
        if !part.is_empty() {
            out += &format!("\n{part}");
        }
    }
    out
}

/// Conditions that tell of something that is not as it was written.
fn troubled(conditions: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let objects = conditions.as_object().into_iter().flatten();
    objects
        .flat_map(|(object, all)| list(all).map(move |condition| (object, condition)))
        .filter(|(_, condition)| condition["status"] != true || condition["reason"] == "UnsupportedValue")
}

fn is_well(sync: &Value, conditions: &Value) -> bool {
    let synced = |client: &Value| {
        let kinds = client["kinds"].as_object().into_iter().flatten();
        kinds.clone().count() > 0 && kinds.into_iter().all(|(_, one)| one["state"] == "SYNCED")
    };
    list(&sync["clients"]).all(synced) && troubled(conditions).next().is_none()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a client says must not reach the terminal as it is.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(state: &str, refused: Value) -> Value {
        json!({ "clients": [{
            "id": "ztunnel~10.0.0.1~node-1-tunnel-1.adit-system~adit-system.svc.cluster.local",
            "node": "node-1", "version": "1.30", "connectedSeconds": 12.4,
            "kinds": { "Address": { "state": "SYNCED", "refused": null },
                       "Authorization": { "state": state, "refused": refused } },
        }]})
    }

    fn conditions(status: bool, reason: &str) -> Value {
        json!({ "AuthorizationPolicy bank/p": [{
            "type": "ZtunnelAccepted", "status": status, "reason": reason, "message": "why",
        }]})
    }

    #[test]
    fn a_mesh_that_is_well_is_a_table_of_clients() {
        let (sync, conditions) = (sync("SYNCED", Value::Null), conditions(true, "Accepted"));
        assert!(is_well(&sync, &conditions));
        let expected = "\
CLIENT                        NODE     ADDRESSES   POLICIES   CONNECTED   VERSION
node-1-tunnel-1.adit-system   node-1   SYNCED      SYNCED     12s         1.30
";
        assert_eq!(shown(&sync, &conditions), expected);
    }

    #[test]
    fn what_is_wrong_is_said_below() {
        let (sync, conditions) = (
            sync("NACK", "bank/p:\nno".into()),
            conditions(true, "UnsupportedValue"),
        );
        assert!(!is_well(&sync, &conditions));
        let text = shown(&sync, &conditions);
        let expected = "
node-1-tunnel-1.adit-system refuses Authorization: bank/p: no

OBJECT                       CONDITION         STATUS   REASON             MESSAGE
AuthorizationPolicy bank/p   ZtunnelAccepted   true     UnsupportedValue   why
";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_client_that_has_nothing_yet_is_not_well() {
        let nothing = json!({ "clients": [{ "id": "x", "kinds": {} }] });
        assert!(!is_well(&nothing, &json!({})));
        assert!(is_well(&json!({ "clients": [] }), &json!({})));
    }
}
