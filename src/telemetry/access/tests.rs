use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

use adit_mesh::TrustDomain;
use adit_mesh::service::ServiceKey;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

fn workload(name: &str) -> Workload {
    let pod = format!("{name}-1");
    let mut workload = Workload::new(
        "uid".into(),
        pod.into(),
        TrustDomain::default(),
        "bank".into(),
        name.into(),
    )
    .expect("valid names");
    workload.cluster = "Kubernetes".into();
    workload.canonical_name = format!("{name}-app").into();
    workload
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().expect("an address"))
}

/// The line of `record`, without its timestamp.
fn written(format_of_line: Format, record: &Record<'_>) -> String {
    let mut buffer = String::new();
    format(&mut buffer, format_of_line, record, UNIX_EPOCH);
    buffer
}

struct Example {
    web: Workload,
    ledger: Workload,
    service: Service,
}

impl Example {
    fn new() -> Self {
        let key = ServiceKey {
            namespace: "bank".into(),
            hostname: "ledger.bank.svc.cluster.local".into(),
        };
        Self {
            web: workload("web"),
            ledger: workload("ledger"),
            service: Service::new(key, "ledger".into()),
        }
    }

    fn record(&self) -> Record<'_> {
        Record {
            source: Party {
                address: address("10.0.1.2:40000"),
                workload: Some(&self.web),
                identity: Some(&self.web.identity),
            },
            destination: Party {
                address: address("10.0.2.3:15008"),
                workload: Some(&self.ledger),
                identity: Some(&self.ledger.identity),
            },
            hbone_address: Some(&"10.0.2.3:8080"),
            service: Some(&self.service),
            request_bytes: 84,
            response_bytes: 239,
            duration: Duration::from_micros(2_900),
            ..Record::new(Direction::Outbound, Outcome::Completed, None)
        }
    }
}

const PARTIES: &str = "src.addr=10.0.1.2:40000 src.workload=\"web-1\" src.namespace=\"bank\" \
    src.identity=\"spiffe://cluster.local/ns/bank/sa/web\" src.cluster=\"Kubernetes\" \
    dst.addr=10.0.2.3:15008 dst.hbone_addr=10.0.2.3:8080 dst.service=\"ledger.bank.svc.cluster.local\" \
    dst.workload=\"ledger-1\" dst.namespace=\"bank\" \
    dst.identity=\"spiffe://cluster.local/ns/bank/sa/ledger\" dst.cluster=\"Kubernetes\"";

#[test]
fn a_completed_connection_is_one_line_of_istios_format() {
    let example = Example::new();
    let expected = format!(
        "1970-01-01T00:00:00.000000Z\tinfo\taccess\tconnection complete\t{PARTIES} direction=\"outbound\" \
         bytes_sent=84 bytes_recv=239 duration=\"2ms\" outcome=\"completed\" response_flags=\"-\"\n"
    );
    assert_eq!(written(Format::Text, &example.record()), expected);
}

#[test]
fn a_denied_connection_is_an_error_and_names_the_policy() {
    let example = Example::new();
    let mut record = example.record();
    record.direction = Direction::Inbound;
    record.outcome = Outcome::PolicyDenied;
    record.policy = Some(&"bank/deny-web rule 0");
    record.error = Some(&"denied by \"bank/deny-web\"");
    record.trace = Some(&"0af7651916cd43dd8448eb211c80319c");
    let expected = format!(
        "1970-01-01T00:00:00.000000Z\terror\taccess\tconnection failed\t{PARTIES} direction=\"inbound\" \
         bytes_sent=239 bytes_recv=84 duration=\"2ms\" error=\"denied by \\\"bank/deny-web\\\"\" \
         outcome=\"policy_denied\" response_flags=\"DENY\" policy=\"bank/deny-web rule 0\" \
         trace_id=\"0af7651916cd43dd8448eb211c80319c\"\n"
    );
    assert_eq!(written(Format::Text, &record), expected);
}

#[test]
fn json_has_the_same_fields() {
    let example = Example::new();
    let line = written(Format::Json, &example.record());
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let expected = serde_json::json!({
        "level": "info", "time": "1970-01-01T00:00:00.000000Z", "scope": "access",
        "message": "connection complete",
        "src.addr": "10.0.1.2:40000", "src.workload": "web-1", "src.namespace": "bank",
        "src.identity": "spiffe://cluster.local/ns/bank/sa/web", "src.cluster": "Kubernetes",
        "dst.addr": "10.0.2.3:15008", "dst.hbone_addr": "10.0.2.3:8080",
        "dst.service": "ledger.bank.svc.cluster.local", "dst.workload": "ledger-1",
        "dst.namespace": "bank", "dst.identity": "spiffe://cluster.local/ns/bank/sa/ledger",
        "dst.cluster": "Kubernetes", "direction": "outbound", "bytes_sent": 84, "bytes_recv": 239,
        "duration": "2ms", "outcome": "completed", "response_flags": "-",
    });
    assert_eq!(value, expected);
}

#[test]
fn an_early_failure_has_what_is_known_and_the_words_of_its_outcome() {
    let record = Record::new(
        Direction::Inbound,
        Outcome::TlsFailed,
        address("[2001:db8::1]:999"),
    );
    assert_eq!(
        written(Format::Text, &record),
        "1970-01-01T00:00:00.000000Z\terror\taccess\tconnection failed\tsrc.addr=[2001:db8::1]:999 \
         direction=\"inbound\" bytes_sent=0 bytes_recv=0 duration=\"0ms\" error=\"TLS handshake failed\" \
         outcome=\"tls_failed\" response_flags=\"TLS_FAILURE\"\n"
    );
}

#[test]
fn a_workload_without_a_name_is_called_by_what_it_belongs_to() {
    let mut web = workload("web");
    web.name = Text::empty();
    web.cluster = Text::empty();
    let mut record = Record::new(Direction::Outbound, Outcome::Completed, None);
    record.source.workload = Some(&web);
    let line = written(Format::Text, &record);
    assert!(
        line.contains("src.workload=\"web-app\" src.namespace=\"bank\" direction"),
        "{line}"
    );
}

#[test]
fn the_level_of_the_scope_decides_what_is_written() {
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);
    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no writer panicked")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines_at = |level| {
        let memory = Memory::default();
        let (writer, _flush) = Writer::start(Format::Text, memory.clone()).expect("a thread");
        let access = AccessLog::new(writer.clone());
        let subscriber = tracing_subscriber::registry().with(Targets::new().with_target(SCOPE, level));
        tracing::subscriber::with_default(subscriber, || {
            access.write(&Record::new(Direction::Outbound, Outcome::Completed, None));
            access.write(&Record::new(Direction::Outbound, Outcome::NoEndpoint, None));
        });
        assert!(writer.flush(Duration::from_secs(60)));
        let bytes = memory.0.lock().expect("written").clone();
        String::from_utf8(bytes).expect("text").lines().count()
    };
    assert_eq!(lines_at(LevelFilter::INFO), 2);
    assert_eq!(lines_at(LevelFilter::ERROR), 1);
    assert_eq!(lines_at(LevelFilter::OFF), 0);
}
