//! What the log says: a level, and other levels for parts of the program; changeable while it runs.
//!
//! The language is that of `RUST_LOG` without its spans and expressions: `info`, or `tunnel=debug,access=off`, in
//! any mixture. Everything else is refused, because a filter that silently matches nothing hides what somebody
//! searches for.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

/// Enough to follow what happens, and one line a connection.
pub const DEFAULT: &str = "info";

/// The filter that goes into the subscriber.
pub type Filter = reload::Layer<Targets, Registry>;

/// What is said now. Clones change the same log.
#[derive(Clone, Debug)]
pub struct Levels {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    handle: reload::Handle<Targets, Registry>,
    at_start: Directives,
    current: Mutex<Directives>,
}

/// Why a level is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidLevels {
    /// One of the directives cannot be understood.
    #[error("{directive:?} is no level: give off, error, warn, info, debug or trace, or <scope>=<level>")]
    Directive {
        /// The directive.
        directive: String,
    },
    /// The subscriber that the levels belong to has gone.
    #[error("the log has ended")]
    Ended,
}

impl Levels {
    /// A filter for `directives` (or [`DEFAULT`]), and its control.
    ///
    /// # Errors
    /// [`InvalidLevels::Directive`].
    pub fn new(directives: Option<&str>) -> Result<(Filter, Self), InvalidLevels> {
        let directives = directives
            .filter(|text| !text.trim().is_empty())
            .unwrap_or(DEFAULT);
        let at_start = Directives::default().and(directives)?;
        let (filter, handle) = reload::Layer::new(at_start.targets());
        let current = Mutex::new(at_start.clone());
        Ok((
            filter,
            Self {
                shared: Arc::new(Shared {
                    handle,
                    at_start,
                    current,
                }),
            },
        ))
    }

    /// What is said now, in the language of `RUST_LOG`.
    pub fn current(&self) -> String {
        self.shared
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .to_string()
    }

    /// Adds `directives` to those in force; a later one for the same scope counts.
    ///
    /// # Errors
    /// Those of [`InvalidLevels`]; nothing is changed then.
    pub fn add(&self, directives: &str) -> Result<(), InvalidLevels> {
        self.change(|current| current.and(directives))
    }

    /// Back to what was said at the start.
    ///
    /// # Errors
    /// [`InvalidLevels::Ended`].
    pub fn reset(&self) -> Result<(), InvalidLevels> {
        self.change(|_| Ok(self.shared.at_start.clone()))
    }

    fn change(
        &self,
        change: impl FnOnce(&Directives) -> Result<Directives, InvalidLevels>,
    ) -> Result<(), InvalidLevels> {
        let mut current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&current)?;
        self.shared
            .handle
            .reload(changed.targets())
            .map_err(|_| InvalidLevels::Ended)?;
        *current = changed;
        Ok(())
    }
}

/// A level for everything, and levels for scopes, in the order in which they were given.
#[derive(Clone, Default, Debug)]
struct Directives {
    default: Option<LevelFilter>,
    scopes: Vec<(String, LevelFilter)>,
}

impl Directives {
    fn and(&self, text: &str) -> Result<Self, InvalidLevels> {
        let mut sum = self.clone();
        for directive in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let invalid = || InvalidLevels::Directive {
                directive: directive.to_owned(),
            };
            let (scope, level) = match directive.split_once('=') {
                Some((scope, level)) => (Some(scope.trim()), level.trim()),
                None => (None, directive),
            };
            let level = level_filter(level).ok_or_else(invalid)?;
            match scope {
                None => sum.default = Some(level),
                Some(scope) if is_scope(scope) => {
                    sum.scopes.retain(|(known, _)| known != scope);
                    sum.scopes.push((scope.to_owned(), level));
                }
                Some(_) => return Err(invalid()),
            }
        }
        Ok(sum)
    }

    fn targets(&self) -> Targets {
        let targets = Targets::new().with_default(self.default.unwrap_or(LevelFilter::OFF));
        self.scopes.iter().fold(targets, |targets, (scope, level)| {
            // The log shows our modules without the package's prefix; that name is accepted here.
            targets
                .with_target(scope.as_str(), *level)
                .with_target(format!("adit_{scope}"), *level)
        })
    }
}

impl fmt::Display for Directives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (scope, level) in &self.scopes {
            write!(f, "{scope}={level},")?;
        }
        write!(f, "{}", self.default.unwrap_or(LevelFilter::OFF))
    }
}

fn level_filter(name: &str) -> Option<LevelFilter> {
    // Not its own parser, which also takes numbers and the empty string.
    [
        ("off", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
    ]
    .into_iter()
    .find_map(|(known, level)| name.eq_ignore_ascii_case(known).then_some(level))
}

fn is_scope(scope: &str) -> bool {
    !scope.is_empty()
        && scope
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-' | '.'))
}
