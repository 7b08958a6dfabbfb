use std::sync::atomic::{AtomicBool, Ordering};

use pprof::protos::{Message as _, Profile};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::*;
use crate::log::{Format, Levels, Writer};
use crate::metrics::{Build, Metrics};
use crate::runtime::drain;

const SETTING: &str = "TEST_PORT";

/// Serves `router` until the drain; gives the port.
fn served(reach: Reach, router: Router, drain: DrainWatcher) -> (u16, tokio::task::JoinHandle<()>) {
    let server = Server::bind(reach, 0, SETTING, router).expect("a free port");
    let port = server.addresses()[0].port();
    (port, tokio::spawn(server.serve(drain)))
}

/// Sends a request with these lines of header and gives the whole answer.
async fn ask_bytes(port: u16, request: &str, headers: &[&str]) -> Vec<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("it listens");
    let mut head = format!("{request} HTTP/1.1\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it answers");
    answer
}

async fn ask(port: u16, request: &str, headers: &[&str]) -> String {
    String::from_utf8(ask_bytes(port, request, headers).await).expect("text")
}

fn status(answer: &str) -> u16 {
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.expect("an answer").parse().expect("a status")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

const LOCAL: &[&str] = &["Host: localhost:15000"];

#[tokio::test]
async fn readiness_names_what_is_pending() {
    let (_trigger, drain) = drain::channel();
    let readiness = Readiness::default();
    let (port, _serving) = served(Reach::Everywhere, readiness.router(), drain);
    let blockers = (readiness.block("zds"), readiness.block("configuration"));
    let answer = ask(port, "GET /healthz/ready", &["Host: 10.0.0.1"]).await;
    assert_eq!(
        (status(&answer), body(&answer)),
        (500, "not ready, pending: configuration, zds\n")
    );
    drop(blockers);
    let answer = ask(port, "GET /healthz/ready", &["Host: 10.0.0.1"]).await;
    assert_eq!((status(&answer), body(&answer)), (200, "ready\n"));
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let (_trigger, drain) = drain::channel();
    let (log, _flush) = Writer::start(Format::Text, io::sink()).expect("a thread");
    let build = Build {
        component: "ztunnel",
        tag: "test".to_owned(),
    };
    let (port, _serving) = served(
        Reach::Everywhere,
        stats::router(&Metrics::new(&build, &log)),
        drain,
    );
    for path in ["/metrics", "/stats/prometheus"] {
        let text = ask(port, &format!("GET {path}"), LOCAL).await;
        assert_eq!(status(&text), 200);
        assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
        assert!(
            text.contains("istio_build{component=\"ztunnel\",tag=\"test\"} 1\n"),
            "{text}"
        );
        let accept = [LOCAL[0], "Accept: application/openmetrics-text; version=1.0.0"];
        let open = ask(port, &format!("GET {path}"), &accept).await;
        assert!(
            open.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{open}"
        );
        assert!(open.ends_with("# EOF\n"), "{open}");
    }
}

#[tokio::test]
async fn an_unknown_path_lists_the_pages_and_a_wrong_method_names_the_right_one() {
    let (_trigger, drain) = drain::channel();
    let ok = |_| async { text(StatusCode::OK, "ok") };
    let router = Router::default().get("/a", "page a", ok).post("/b", "page b", ok);
    let (port, _serving) = served(Reach::Loopback, router, drain);
    let answer = ask(port, "GET /c", LOCAL).await;
    assert_eq!(status(&answer), 404);
    assert!(
        body(&answer).contains("GET  /a  page a\n  POST /b  page b\n"),
        "{answer}"
    );
    let answer = ask(port, "GET /b", LOCAL).await;
    assert_eq!(status(&answer), 405);
    assert!(answer.contains("allow: POST"), "{answer}");
    assert_eq!(body(&answer), "use POST for /b\n");
    let answer = ask(port, "HEAD /a", LOCAL).await;
    assert_eq!((status(&answer), body(&answer)), (200, ""));
}

#[tokio::test]
async fn the_administration_refuses_requests_that_were_meant_for_another_name() {
    let (_trigger, drain) = drain::channel();
    let called = Arc::new(AtomicBool::new(false));
    let quit = Arc::clone(&called);
    let router = admin::router(
        &Levels::new(None).expect("the default").1,
        move || quit.store(true, Ordering::SeqCst),
        None,
    );
    let (port, _serving) = served(Reach::Loopback, router, drain);
    let foreign: [&[&str]; 6] = [
        &["Host: evil.example"],
        &["Host: 10.0.0.1:15000"],
        &[],
        &["Host: localhost", "Origin: https://evil.example"],
        &["Host: localhost", "Origin: null"],
        &["Host: localhost", "Host: evil.example"],
    ];
    for headers in foreign {
        let answer = ask(port, "POST /quitquitquit", headers).await;
        assert_eq!(status(&answer), 403, "{headers:?}");
    }
    assert!(!called.load(Ordering::SeqCst));
    let answer = ask(
        port,
        "POST /quitquitquit",
        &["Host: [::1]:15000", "Origin: http://localhost:15000"],
    )
    .await;
    assert_eq!((status(&answer), body(&answer)), (200, "shutdown now\n"));
    assert!(called.load(Ordering::SeqCst));
}

#[tokio::test]
async fn the_levels_of_the_log_are_shown_and_changed() {
    let (_trigger, drain) = drain::channel();
    // The filter has to live for its levels to be changed.
    let (_filter, levels) = Levels::new(Some("warn")).expect("valid");
    let (port, _serving) = served(Reach::Loopback, admin::router(&levels, || {}, None), drain);
    let logging = async |query: &str| {
        let answer = ask(port, &format!("POST /logging{query}"), LOCAL).await;
        (status(&answer), body(&answer).to_owned())
    };
    let is = |levels: &str| (200, format!("current log level is {levels}\n"));
    assert_eq!(logging("").await, is("warn"));
    assert_eq!(logging("?level=access%3Doff,debug").await, is("access=off,debug"));
    assert_eq!(logging("?reset").await, is("warn"));
    assert_eq!(logging("?level=info&reset").await, is("info"));
    assert_eq!(logging("?level=loud").await.0, 400);
    assert_eq!(levels.current(), "info");
}

#[tokio::test]
async fn profiles_are_bounded_and_in_pprofs_format() {
    let (_trigger, drain) = drain::channel();
    let (_filter, levels) = Levels::new(None).expect("the default");
    let heap: admin::HeapProfile = Arc::new(|| Ok(b"heap".to_vec()));
    let (port, _serving) = served(Reach::Loopback, admin::router(&levels, || {}, Some(heap)), drain);
    for query in [
        "seconds=0",
        "seconds=301",
        "seconds=x",
        "frequency=1001",
        "frequency=0",
    ] {
        let answer = ask(port, &format!("GET /debug/pprof/profile?{query}"), LOCAL).await;
        assert_eq!(status(&answer), 400, "{query}");
    }
    let answer = ask_bytes(port, "GET /debug/pprof/profile?seconds=1&frequency=100", LOCAL).await;
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .expect("a head");
    assert_eq!(status(&String::from_utf8_lossy(&answer[..end])), 200);
    let profile = Profile::decode(&answer[end + 4..]).expect("pprof's format");
    assert!(!profile.sample_type.is_empty(), "it says what was sampled");
    let answer = ask(port, "GET /debug/pprof/heap", LOCAL).await;
    assert_eq!((status(&answer), body(&answer)), (200, "heap"));
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_setting() {
    let taken = Server::bind(Reach::Everywhere, 0, SETTING, Router::default()).expect("a free port");
    let port = taken.addresses()[0].port();
    let error = Server::bind(Reach::Everywhere, port, SETTING, Router::default()).expect_err("it is taken");
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    let words = error.to_string();
    assert!(
        words.contains(&format!(":{port} (set by TEST_PORT): ")),
        "{words}"
    );
}

#[tokio::test]
async fn the_administration_listens_on_loopback_alone() {
    let server = Server::bind(Reach::Loopback, 0, SETTING, Router::default()).expect("a free port");
    let addresses = server.addresses();
    assert!(
        addresses.iter().all(|address| address.ip().is_loopback()),
        "{addresses:?}"
    );
    assert!(
        addresses
            .iter()
            .all(|address| address.port() == addresses[0].port()),
        "{addresses:?}"
    );
}

#[tokio::test]
async fn a_drain_finishes_the_request_in_flight_and_takes_no_other() {
    let (trigger, drain) = drain::channel();
    let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = {
        let (asked, go_on) = (Arc::clone(&asked), Arc::clone(&go_on));
        Router::default().get("/slow", "waits", move |_| {
            let (asked, go_on) = (Arc::clone(&asked), Arc::clone(&go_on));
            async move {
                asked.notify_one();
                go_on.notified().await;
                text(StatusCode::OK, "done")
            }
        })
    };
    let (port, serving) = served(Reach::Loopback, router, drain);
    let request = tokio::spawn(async move { ask(port, "GET /slow", LOCAL).await });
    asked.notified().await;
    trigger.start(Instant::now() + Duration::from_secs(60));
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    go_on.notify_one();
    let answer = request.await.expect("the request ends");
    assert_eq!(body(&answer), "done");
    serving.await.expect("the server ends");
    trigger.finished().await;
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_whatever_is_in_flight() {
    let (trigger, drain) = drain::channel();
    let asked = Arc::new(Notify::new());
    let router = {
        let asked = Arc::clone(&asked);
        Router::default().get("/never", "never answers", move |_| {
            asked.notify_one();
            std::future::pending()
        })
    };
    let (port, serving) = served(Reach::Loopback, router, drain);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("it listens");
    stream
        .write_all(b"GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .expect("it reads");
    asked.notified().await;
    trigger.start_immediately();
    serving.await.expect("the server ends");
    trigger.finished().await;
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest).await;
    assert!(ended.is_err() || rest.is_empty(), "no answer");
}

// The clock moves on as soon as nothing else can happen, so the deadline is reached without waiting for it.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_head_in_time_is_disconnected() {
    let (_trigger, drain) = drain::channel();
    let (port, _serving) = served(Reach::Loopback, Router::default(), drain);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("it listens");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: loc")
        .await
        .expect("it reads");
    let mut rest = Vec::new();
    // With a word or cut, but it ends; without the deadline, this one would come first.
    let ended = tokio::time::timeout(10 * HEAD_WITHIN, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "still connected");
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
}
