//! Windows, limits and deadlines of HBONE. The defaults and their reasons are those of [`adit_hbone::Settings`].

use std::time::Duration;

use adit_hbone::Settings;
use adit_hbone::settings::Deadlines;

use super::error::ConfigError;
use super::read;
use crate::cli::HboneArgs;

/// What HTTP/2 starts with; a smaller window cannot be announced before the peer has used the first one (RFC 9113,
/// section 6.9.2).
const SMALLEST_WINDOW: u32 = 65_535;
/// RFC 9113, section 6.9.1.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// RFC 9113, section 4.2.
const FRAME_SIZES: (u32, u32) = (1 << 14, (1 << 24) - 1);
/// The window of a connection may grow for so many of its own size.
const GROWTH: u32 = 4;

pub(super) fn settings(args: &HboneArgs) -> Result<Settings, ConfigError> {
    let default = Settings::default();
    let window = |variable, value| read::number(variable, value, SMALLEST_WINDOW, LARGEST_WINDOW);
    let stream_window =
        window("HTTP2_STREAM_WINDOW_SIZE", &args.http2_stream_window_size)?.unwrap_or(default.stream_window);
    let connection_window = window("HTTP2_CONNECTION_WINDOW_SIZE", &args.http2_connection_window_size)?
        .unwrap_or(default.connection_window);
    let window_limit = read::number(
        "ADIT_HTTP2_WINDOW_LIMIT",
        &args.http2_window_limit,
        connection_window,
        LARGEST_WINDOW,
    )?
    .unwrap_or(connection_window.saturating_mul(GROWTH).min(LARGEST_WINDOW));
    Ok(Settings {
        stream_window,
        connection_window,
        window_limit,
        // What the windows let in may consist of small frames only.
        small_frame_budget: window_limit as usize,
        max_frame: read::number(
            "HTTP2_FRAME_SIZE",
            &args.http2_frame_size,
            FRAME_SIZES.0,
            FRAME_SIZES.1,
        )?
        .unwrap_or(default.max_frame),
        streams_per_connection: count(
            "POOL_MAX_STREAMS_PER_CONNECTION",
            &args.pool_max_streams_per_connection,
            default.streams_per_connection,
        )?,
        connections_per_peer: count(
            "ADIT_POOL_MAX_CONNECTIONS_PER_PEER",
            &args.pool_max_connections_per_peer,
            default.connections_per_peer,
        )?,
        idle_timeout: time(
            "POOL_UNUSED_RELEASE_TIMEOUT",
            &args.pool_unused_release_timeout,
            default.idle_timeout,
        )?,
        ping_interval: time("ADIT_PING_INTERVAL", &args.ping_interval, default.ping_interval)?,
        ping_timeout: time("ADIT_PING_TIMEOUT", &args.ping_timeout, default.ping_timeout)?,
        deadlines: deadlines(args, &default.deadlines)?,
        ..default
    })
}

fn deadlines(args: &HboneArgs, default: &Deadlines) -> Result<Deadlines, ConfigError> {
    Ok(Deadlines {
        connect: time("ADIT_CONNECT_TIMEOUT", &args.connect_timeout, default.connect)?,
        tls: time("ADIT_TLS_TIMEOUT", &args.tls_timeout, default.tls)?,
        http2: time("ADIT_HTTP2_TIMEOUT", &args.http2_timeout, default.http2)?,
        answer: time(
            "ADIT_CONNECT_ANSWER_TIMEOUT",
            &args.connect_answer_timeout,
            default.answer,
        )?,
    })
}

fn time(variable: &'static str, value: &Option<String>, default: Duration) -> Result<Duration, ConfigError> {
    Ok(read::duration(variable, value)?.unwrap_or(default))
}

fn count(variable: &'static str, value: &Option<String>, default: usize) -> Result<usize, ConfigError> {
    let number = read::number(variable, value, 1, u32::from(u16::MAX))?;
    Ok(number.map_or(default, |number| number as usize))
}
