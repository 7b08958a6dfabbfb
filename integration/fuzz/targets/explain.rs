//! The questions of `/explain`, one query a line, about a small mesh: every one is answered, the answer says which
//! question it belongs to, and JSON is JSON.

#![no_main]

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use adit_mesh::Registry;
use adit_telemetry::server::router::Request;
use libfuzzer_sys::fuzz_target;

static MESH: LazyLock<Arc<Registry>> = LazyLock::new(|| {
    let file = include_str!("../corpus/mesh_file/every-key.yaml");
    adit_fuzz::registry(file).expect("a mesh file").0
});

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = adit_fuzz::text(bytes) else {
        return;
    };
    for (query, accept) in text
        .lines()
        .flat_map(|line| [(line, "text/plain"), (line, "application/json")])
    {
        let request = http::Request::builder()
            .uri(format!("/explain?{query}"))
            .header("accept", accept);
        let Ok(request) = request.body(()) else { continue };
        let response = adit_tunnel::explain(&MESH, &Request::new(&request.into_parts().0));
        let (head, body) = response.into_parts();
        let body = whole(body);
        match head.status.as_u16() {
            200 if accept == "application/json" => {
                let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                assert!(answer["direction"].is_string(), "{answer}");
            }
            200 => assert!(body.starts_with(b"source "), "{body:?}"),
            400 => assert!(body.ends_with(b"\n") && body.len() > 1, "{body:?}"),
            other => panic!("{query}: {other}"),
        }
    }
});

/// A body that exists in memory.
fn whole(body: impl http_body_util::BodyExt<Data: Into<Vec<u8>>, Error: std::fmt::Debug>) -> Vec<u8> {
    let collected = pin!(body.collect());
    match collected.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(body) => body.expect("memory").to_bytes().to_vec(),
        Poll::Pending => panic!("the body is not there"),
    }
}
