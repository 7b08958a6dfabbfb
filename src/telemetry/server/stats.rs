//! What Prometheus scrapes: `/metrics`, and `/stats/prometheus` where Istio's annotations point to.

use std::sync::Arc;

use hyper::StatusCode;

use super::router::{Response, Router, text, with_type};
use crate::metrics::{Exposition, Metrics};

/// The pages of the metrics port.
pub fn router(metrics: &Arc<Metrics>) -> Router {
    ["/metrics", "/stats/prometheus"]
        .into_iter()
        .fold(Router::default(), |router, path| {
            let metrics = Arc::clone(metrics);
            router.get(path, "metrics, for Prometheus", move |request| {
                let exposition = Exposition::accepted(request.accept());
                scrape(Arc::clone(&metrics), exposition)
            })
        })
}

/// Encoding the series of a large node takes milliseconds: not on the thread that also answers probes.
async fn scrape(metrics: Arc<Metrics>, exposition: Exposition) -> Response {
    match tokio::task::spawn_blocking(move || metrics.encode(exposition)).await {
        Ok(body) if !body.is_empty() => with_type(StatusCode::OK, exposition.content_type(), body),
        _ => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be encoded\n",
        ),
    }
}
