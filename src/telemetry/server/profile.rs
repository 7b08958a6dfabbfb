//! A CPU profile of the whole process, taken while a request waits, in pprof's format (`go tool pprof` reads it).

use std::time::Duration;

use hyper::StatusCode;
use pprof::protos::Message as _;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};

use super::router::{Request, Response, text, with_type};

pub(super) const CONTENT_TYPE: &str = "application/octet-stream";
/// Unwinding from a signal inside of these can lock up (pprof's own documentation).
const NOT_UNWOUND: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// Profiles for `seconds` (1 to 300, 10) with `frequency` samples a second (1 to 1000, 100).
pub(super) async fn cpu(request: Request) -> Response {
    let parameters = request
        .number("seconds", 1..=300, 10)
        .and_then(|seconds| Ok((seconds, request.number("frequency", 1..=1000, 100)?)));
    let (seconds, frequency) = match parameters {
        Ok(parameters) => parameters,
        Err(answer) => return *answer,
    };
    // At most 1000, so it fits.
    let builder = ProfilerGuardBuilder::default()
        .frequency(frequency as i32)
        .blocklist(&NOT_UNWOUND);
    let profiler = match builder.build() {
        Ok(profiler) => profiler,
        Err(error) => {
            let words = format!("no profile: {error} (is another one being taken?)\n");
            return text(StatusCode::CONFLICT, words);
        }
    };
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    match tokio::task::spawn_blocking(move || encode(&profiler)).await {
        Ok(Ok(profile)) => with_type(StatusCode::OK, CONTENT_TYPE, profile),
        Ok(Err(error)) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("no profile: {error}\n"),
        ),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "no profile: it could not be encoded\n",
        ),
    }
}

fn encode(profiler: &ProfilerGuard<'_>) -> pprof::Result<Vec<u8>> {
    Ok(profiler.report().build()?.pprof()?.encode_to_vec())
}
