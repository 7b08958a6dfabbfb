//! The administration pages that every process of the mesh has: the log's levels, the end, the profiles. A process
//! adds its own (`/config_dump`, `/explain`) to the same router.

use std::sync::Arc;

use hyper::StatusCode;

use super::profile;
use super::router::{Request, Response, Router, text, with_type};
use crate::log::Levels;

/// Makes a heap profile in pprof's format, or says why there is none.
pub type HeapProfile = Arc<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>;

/// The pages that every process has. `quit` is called when somebody asks for the end; `heap` is the allocator's
/// profiler, where it has one.
pub fn router(levels: &Levels, quit: impl Fn() + Send + Sync + 'static, heap: Option<HeapProfile>) -> Router {
    let levels = levels.clone();
    let what = "the log's levels; ?level=<level>|<scope>=<level>,.. changes them, ?reset restores those of the start";
    Router::default()
        .post("/logging", what, move |request| {
            let answer = logging(&levels, &request);
            async { answer }
        })
        .post("/quitquitquit", "ends the process in order", move |_| {
            quit();
            async { text(StatusCode::OK, "shutdown now\n") }
        })
        .get(
            "/debug/pprof/profile",
            "CPU profile; ?seconds=10&frequency=100",
            profile::cpu,
        )
        .get("/debug/pprof/heap", "heap profile", move |_| {
            heap_profile(heap.clone())
        })
}

fn logging(levels: &Levels, request: &Request) -> Response {
    let reset = if request.parameter("reset").is_some() {
        levels.reset()
    } else {
        Ok(())
    };
    let changed = reset.and_then(|()| match request.parameter("level") {
        Some(directives) => levels.add(directives),
        None => Ok(()),
    });
    match changed {
        Ok(()) => text(
            StatusCode::OK,
            format!("current log level is {}\n", levels.current()),
        ),
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

async fn heap_profile(heap: Option<HeapProfile>) -> Response {
    let Some(heap) = heap else {
        return text(
            StatusCode::NOT_IMPLEMENTED,
            "this build's allocator has no profiler\n",
        );
    };
    match tokio::task::spawn_blocking(move || heap()).await {
        Ok(Ok(profile)) => with_type(StatusCode::OK, profile::CONTENT_TYPE, profile),
        Ok(Err(reason)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{reason}\n")),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the heap profile failed\n"),
    }
}
