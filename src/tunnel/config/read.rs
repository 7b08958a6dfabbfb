//! From text to values. Each reader takes the variable of the setting, for the error, and what was given, if anything.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::error::ConfigError;

/// No setting is sensibly longer, and no clock overflows below it.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// What was given, without the white space around it; nothing if that is all.
pub(super) fn given(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

/// A value that its own type reads; `allowed` says what that takes.
pub(super) fn parsed<T: FromStr>(
    variable: &'static str,
    value: &Option<String>,
    allowed: &str,
) -> Result<Option<T>, ConfigError> {
    match given(value.as_deref()) {
        Some(value) => match value.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(_) => Err(ConfigError::invalid(variable, value, allowed)),
        },
        None => Ok(None),
    }
}

/// `true` or `false`, as ztunnel has it.
pub(super) fn boolean(variable: &'static str, value: &Option<String>) -> Result<Option<bool>, ConfigError> {
    parsed(variable, value, "true or false")
}

/// A whole number from `least` to `most`; decimal, or hexadecimal after `0x`.
pub(super) fn number(
    variable: &'static str,
    value: &Option<String>,
    least: u32,
    most: u32,
) -> Result<Option<u32>, ConfigError> {
    let Some(value) = given(value.as_deref()) else {
        return Ok(None);
    };
    let number = match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => value.parse(),
    };
    match number {
        Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(ConfigError::invalid(
            variable,
            value,
            format!("a whole number from {least} to {most}"),
        )),
    }
}

/// A time above zero.
pub(super) fn duration(
    variable: &'static str,
    value: &Option<String>,
) -> Result<Option<Duration>, ConfigError> {
    match duration_or_zero(variable, value)? {
        Some(Duration::ZERO) => Err(ConfigError::invalid(
            variable,
            value.as_deref().unwrap_or_default(),
            "a duration above zero, such as 10s",
        )),
        duration => Ok(duration),
    }
}

/// A time that may be zero.
pub(super) fn duration_or_zero(
    variable: &'static str,
    value: &Option<String>,
) -> Result<Option<Duration>, ConfigError> {
    let Some(value) = given(value.as_deref()) else {
        return Ok(None);
    };
    match parse_duration(value) {
        Some(duration) if duration <= LONGEST => Ok(Some(duration)),
        _ => Err(ConfigError::invalid(
            variable,
            value,
            "a duration of at most 366d, such as 500ms, 10s, 5m or 1h30m (a plain number is seconds)",
        )),
    }
}

/// A time of whole seconds from 1 to `most`, for what the kernel counts so.
pub(super) fn seconds(
    variable: &'static str,
    value: &Option<String>,
    most: u64,
) -> Result<Option<Duration>, ConfigError> {
    match duration_or_zero(variable, value)? {
        Some(duration) if duration.subsec_nanos() != 0 || !(1..=most).contains(&duration.as_secs()) => {
            Err(ConfigError::invalid(
                variable,
                value.as_deref().unwrap_or_default(),
                format!("a duration of whole seconds from 1s to {most}s"),
            ))
        }
        duration => Ok(duration),
    }
}

/// A path; whether it exists is found out by who uses it.
pub(super) fn path(value: &Option<String>) -> Option<PathBuf> {
    given(value.as_deref()).map(PathBuf::from)
}

/// The parts of a list separated by commas; an empty part is none.
pub(super) fn list(value: &Option<String>) -> impl Iterator<Item = &str> {
    value
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .filter_map(|part| given(Some(part)))
}

/// Numbers with units after each other, white space or `+` between them, or one number of seconds: what ztunnel
/// takes, without the units whose length depends on the calendar.
fn parse_duration(text: &str) -> Option<Duration> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let mut total = Duration::ZERO;
    for part in text.split('+') {
        let mut rest = part.trim();
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let (amount, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
            let after = after.trim_start();
            let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            total = total.checked_add(unit_of(unit)?.checked_mul(amount.parse().ok()?)?)?;
            rest = after.trim_start();
        }
    }
    Some(total)
}

fn unit_of(name: &str) -> Option<Duration> {
    Some(match name.to_ascii_lowercase().as_str() {
        "ns" | "nsec" => Duration::from_nanos(1),
        "us" | "µs" | "usec" => Duration::from_micros(1),
        "ms" | "msec" => Duration::from_millis(1),
        "s" | "sec" | "second" | "seconds" => Duration::from_secs(1),
        "m" | "min" | "minute" | "minutes" => Duration::from_secs(60),
        "h" | "hr" | "hour" | "hours" => Duration::from_secs(3600),
        "d" | "day" | "days" => Duration::from_secs(86_400),
        "w" | "week" | "weeks" => Duration::from_secs(7 * 86_400),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
