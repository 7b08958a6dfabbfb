//! `adit certificates`: the certificates that a tunnel holds for the pods of its node. A dump never has a key in it.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::dump::{Dump, Part, text};
use super::output::View;
use super::select::{Named, select};
use super::table::Table;

/// Which certificates.
#[derive(clap::Args, Clone, Default, Debug)]
pub struct Filter {
    /// Only those of these service accounts: NAME, NAMESPACE/NAME, NAME.NAMESPACE or a SPIFFE ID
    names: Vec<String>,
    /// Only those of this namespace
    #[arg(short, long = "certificate-namespace", visible_alias = "namespace")]
    namespace: Option<String>,
}

/// What is to be seen; whether a certificate is valid depends on the time.
///
/// # Errors
/// The dump has no certificates, or nothing is as it was asked for.
pub fn view(dump: &Dump, filter: &Filter, now: OffsetDateTime) -> anyhow::Result<View> {
    let certificates = dump.part(Part::Certificates)?;
    let named = certificates.iter().map(|one| named(one)).collect();
    let found = select(
        dump,
        "certificate of",
        named,
        &filter.names,
        filter.namespace.as_deref(),
    )?;
    let mut table = Table::new([
        "CERTIFICATE NAME",
        "TYPE",
        "STATUS",
        "VALID CERT",
        "SERIAL NUMBER",
        "NOT AFTER",
        "NOT BEFORE",
    ]);
    for one in &found {
        rows(&mut table, one, now);
    }
    Ok(View {
        table,
        objects: found.iter().map(|one| one.object.clone()).collect(),
    })
}

/// By namespace and service account, which the SPIFFE ID has: `spiffe://<trust domain>/ns/<namespace>/sa/<account>`.
fn named(certificate: &Value) -> Named<'_> {
    let identity = text(certificate, "identity");
    let account = identity.split_once("/ns/").map(|(_, account)| account);
    let (namespace, name) = account
        .and_then(|account| account.split_once("/sa/"))
        .unwrap_or_default();
    Named {
        namespace,
        name,
        rest: identity,
        object: certificate,
    }
}

fn rows(table: &mut Table, one: &Named<'_>, now: OffsetDateTime) {
    // What is not available may be followed by the reason, which has its place in the JSON.
    let state = text(one.object, "state");
    let state = if state.starts_with("Unavailable") {
        "Unavailable"
    } else {
        state
    };
    let list = |key: &str| one.object[key].as_array().map_or(&[][..], Vec::as_slice);
    let (chain, roots) = (list("certChain"), list("rootCerts"));
    let types = chain.iter().enumerate().map(|(index, certificate)| {
        let last = index + 1 == chain.len();
        let kind = match index {
            0 => "Leaf",
            // Older versions of ztunnel have the root at the end of the chain.
            _ if last && roots.is_empty() => "Root",
            _ => "Intermediate",
        };
        (kind, certificate)
    });
    let all: Vec<_> = types
        .chain(roots.iter().map(|certificate| ("Root", certificate)))
        .collect();
    let mut row = |kind: &str, valid: bool, [serial, not_after, not_before]: [String; 3]| {
        let name = one.rest.to_owned();
        let valid = valid.to_string();
        table.add([
            name,
            kind.to_owned(),
            state.to_owned(),
            valid,
            serial,
            not_after,
            not_before,
        ]);
    };
    if all.is_empty() {
        row("NA", false, ["NA", "NA", "NA"].map(str::to_owned));
    }
    for (kind, certificate) in all {
        let serial = hexadecimal(text(certificate, "serialNumber"));
        let (until, from) = (
            text(certificate, "expirationTime"),
            text(certificate, "validFrom"),
        );
        row(
            kind,
            is_valid(from, until, now),
            [serial, until.to_owned(), from.to_owned()],
        );
    }
}

/// A time that cannot be read is no proof of validity.
fn is_valid(from: &str, until: &str, now: OffsetDateTime) -> bool {
    let time = |text| OffsetDateTime::parse(text, &Rfc3339);
    matches!((time(from), time(until)), (Ok(from), Ok(until)) if (from..=until).contains(&now))
}

/// A decimal number of any length as certificates are talked about, in hexadecimal; what is no number stays as it is.
fn hexadecimal(decimal: &str) -> String {
    if decimal.is_empty() || !decimal.bytes().all(|byte| byte.is_ascii_digit()) {
        return decimal.to_owned();
    }
    // Digits of base 16, the lowest first, multiplied by 10 for each decimal one.
    let mut digits = vec![0_u32];
    for decimal in decimal.bytes() {
        let mut carry = u32::from(decimal - b'0');
        for digit in &mut digits {
            let sum = *digit * 10 + carry;
            (*digit, carry) = (sum % 16, sum / 16);
        }
        if carry > 0 {
            digits.push(carry);
        }
    }
    digits
        .iter()
        .rev()
        .filter_map(|digit| char::from_digit(*digit, 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_shown_in_hexadecimal() {
        assert_eq!(hexadecimal("77"), "4d");
        assert_eq!(hexadecimal("1420471087936638550017"), "4d00ff108000000001");
        assert_eq!(hexadecimal("0"), "0");
        assert_eq!(hexadecimal("4d"), "4d");
        assert_eq!(hexadecimal(""), "");
    }
}
