//! `baggage`: the names by which telemetry knows the workload at the sender's end. Written by
//! [`adit_mesh::baggage`]; here it is read. Istio does not percent-encode, so nothing is decoded.

use super::{InvalidHeader, bounded};

/// Longest header in bytes (W3C Baggage asks for at least this much).
const LONGEST: usize = 8192;
/// Most members (W3C Baggage, section 3.3.2).
const MOST_MEMBERS: usize = 64;
const NAME: &str = super::BAGGAGE;

/// What baggage says about a workload; everything may be absent. Borrowed from the header.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Baggage<'a> {
    /// `k8s.cluster.name`
    pub cluster: Option<&'a str>,
    /// `k8s.namespace.name`
    pub namespace: Option<&'a str>,
    /// `k8s.deployment.name`, `k8s.cronjob.name`, `k8s.pod.name` or `k8s.job.name`
    pub workload: Option<&'a str>,
    /// `service.name`
    pub service: Option<&'a str>,
    /// `service.version`
    pub revision: Option<&'a str>,
    /// `cloud.region`
    pub region: Option<&'a str>,
    /// `cloud.availability_zone`
    pub zone: Option<&'a str>,
}

/// Reads the values of all `baggage` headers of a message; unknown members are skipped, of repeated ones the first
/// counts.
///
/// # Errors
/// Too long, too many members, or a member without `=`.
pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Baggage<'a>, InvalidHeader> {
    let mut baggage = Baggage::default();
    let mut length = 0;
    let mut members = 0;
    for value in values {
        length += value.len();
        bounded(NAME, LONGEST.saturating_sub(length - value.len()), value).map_err(|_| {
            InvalidHeader::TooLong {
                name: NAME,
                limit: LONGEST,
            }
        })?;
        for member in value
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty())
        {
            members += 1;
            if members > MOST_MEMBERS {
                return Err(InvalidHeader::Malformed {
                    name: NAME,
                    what: "more than 64 members",
                });
            }
            let (key, rest) = member.split_once('=').ok_or(InvalidHeader::Malformed {
                name: NAME,
                what: "a member without =",
            })?;
            // Properties after a semicolon belong to the member, not to its value.
            let value = rest.split(';').next().unwrap_or_default().trim();
            baggage.set(key.trim(), value);
        }
    }
    Ok(baggage)
}

impl<'a> Baggage<'a> {
    fn set(&mut self, key: &str, value: &'a str) {
        let field = match key {
            "k8s.cluster.name" => &mut self.cluster,
            "k8s.namespace.name" => &mut self.namespace,
            "k8s.deployment.name" | "k8s.cronjob.name" | "k8s.pod.name" | "k8s.job.name" => {
                &mut self.workload
            }
            "service.name" => &mut self.service,
            "service.version" => &mut self.revision,
            "cloud.region" => &mut self.region,
            "cloud.availability_zone" => &mut self.zone,
            _ => return,
        };
        if !value.is_empty() {
            field.get_or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_the_members_that_are_known() {
        let baggage = parse([
            "k8s.cluster.name=Kubernetes,k8s.namespace.name=bank, k8s.deployment.name = payments ,foo=bar",
            "service.name=payments;p=1,service.version=v1,cloud.region=,service.name=other",
        ])
        .expect("well formed");
        assert_eq!(
            baggage,
            Baggage {
                cluster: Some("Kubernetes"),
                namespace: Some("bank"),
                workload: Some("payments"),
                service: Some("payments"),
                revision: Some("v1"),
                region: None,
                zone: None,
            }
        );
    }

    #[test]
    fn is_bounded() {
        let long = "a".repeat(5000);
        assert!(parse(["a=b".to_owned().as_str(), &format!("x={}", "y".repeat(8190))]).is_err());
        assert!(parse([format!("x={long}").as_str(), format!("y={long}").as_str()]).is_err());
        assert!(parse([vec!["a=b"; 65].join(",").as_str()]).is_err());
        assert!(parse(["novalue"]).is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics(values in proptest::collection::vec("\\PC{0,200}", 0..4)) {
            let _ = parse(values.iter().map(String::as_str));
        }
    }
}
