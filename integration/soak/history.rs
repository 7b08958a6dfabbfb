//! What happened when, and what a request that met it had to see.
//!
//! Times are since the beginning of the soak. Where something was changing while a request was under way, either end of
//! it is right; everywhere else exactly one is.

use std::time::Duration;

/// After a change is applied everywhere: what was decided in the moment before it is still told to its client.
const ECHO: Duration = Duration::from_secs(2);
/// How long after it was told to end a tunnel may still accept: until it sees its successor, and its backlog is empty.
const TAKEOVER: Duration = Duration::from_secs(2);
/// How long after the deadline a connection that was cut may notice it.
const NOTICE: Duration = Duration::from_secs(2);

/// What kind of request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// One over a connection of its own.
    Fresh,
    /// One of several over a connection that lives for a moment.
    KeepAlive,
    /// One of a connection that lives as long as it is let.
    Long,
    /// Bytes by the million, both ways, each compared.
    Bulk,
    /// One that a policy forbids at times.
    Guarded,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// Which kind.
    pub kind: Kind,
    /// From whom to whom.
    pub route: String,
    /// When its connection was made, or tried to be.
    pub opened: Duration,
    /// When it began.
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
    /// What the client saw, if not an answer.
    pub failure: Option<String>,
}

/// What a request had to see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// An answer.
    Answer,
    /// A refusal.
    Refusal,
    /// Either, because of this.
    Either(&'static str),
}

/// How a request compares with what was due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// It was answered.
    Answered,
    /// It was refused, as it had to be.
    Refused,
    /// It failed, and might.
    Excused(&'static str),
    /// It failed and should not, or was answered and should not.
    Defect(Due),
}

/// A tunnel that was replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drain {
    /// When it was told to end.
    pub told: Duration,
    /// When connections might be cut.
    pub deadline: Duration,
}

/// A time in which the policy forbids or allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spell {
    /// Whether it forbids.
    pub forbidden: bool,
    /// When it began to be written.
    pub written: Duration,
    /// When every tunnel had applied it.
    pub applied: Duration,
}

/// Everything that excuses or demands a failure.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct History {
    /// Tunnels that were replaced.
    pub drains: Vec<Drain>,
    /// What the policy said, in order; at first it allows.
    pub spells: Vec<Spell>,
}

impl History {
    /// What the request had to see.
    pub fn due(&self, attempt: &Attempt) -> Due {
        if attempt.kind == Kind::Guarded {
            let changing =
                |spell: &&Spell| attempt.began <= spell.applied + ECHO && spell.written <= attempt.ended;
            if self.spells.iter().any(|spell| changing(&spell)) {
                return Due::Either("the policy was changing");
            }
            let last = self.spells.iter().rfind(|spell| spell.written <= attempt.began);
            if last.is_some_and(|spell| spell.forbidden) {
                return Due::Refusal;
            }
        }
        let cut = |drain: &Drain| {
            attempt.opened <= drain.told + TAKEOVER
                && drain.deadline <= attempt.ended
                && attempt.began <= drain.deadline + NOTICE
        };
        match self.drains.iter().any(cut) {
            true => Due::Either("its tunnel was replaced and the deadline had passed"),
            false => Due::Answer,
        }
    }

    /// How the request compares with that.
    pub fn judge(&self, attempt: &Attempt) -> Judged {
        match (self.due(attempt), attempt.failure.is_some()) {
            (Due::Answer | Due::Either(_), false) => Judged::Answered,
            (Due::Refusal, true) => Judged::Refused,
            (Due::Either(why), true) => Judged::Excused(why),
            (due, _) => Judged::Defect(due),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn attempt(kind: Kind, opened: u64, began: u64, ended: u64, failed: bool) -> Attempt {
        Attempt {
            kind,
            route: String::new(),
            opened: seconds(opened),
            began: seconds(began),
            ended: seconds(ended),
            failure: failed.then(|| "reset".to_owned()),
        }
    }

    fn history() -> History {
        let spell = |forbidden, written| Spell {
            forbidden,
            written: seconds(written),
            applied: seconds(written + 1),
        };
        History {
            drains: vec![Drain {
                told: seconds(100),
                deadline: seconds(104),
            }],
            spells: vec![spell(true, 20), spell(false, 40)],
        }
    }

    #[test]
    fn nothing_may_fail_without_a_reason() {
        let history = history();
        let fails = |opened, ended| history.judge(&attempt(Kind::Long, opened, ended, ended, true));
        assert_eq!(fails(50, 60), Judged::Defect(Due::Answer));
        assert_eq!(fails(50, 103), Judged::Defect(Due::Answer), "before the deadline");
        assert!(matches!(fails(50, 104), Judged::Excused(_)));
        assert_eq!(fails(50, 110), Judged::Defect(Due::Answer), "long after it");
        assert_eq!(fails(103, 104), Judged::Defect(Due::Answer), "the successor's");
        let answered = attempt(Kind::Long, 50, 60, 60, false);
        assert_eq!(history.judge(&answered), Judged::Answered);
    }

    #[test]
    fn a_policy_is_obeyed_from_when_it_is_applied() {
        let history = history();
        let judge = |at, failed| history.judge(&attempt(Kind::Guarded, at, at, at, failed));
        assert_eq!(judge(10, false), Judged::Answered);
        assert_eq!(judge(10, true), Judged::Defect(Due::Answer));
        assert_eq!(judge(21, false), Judged::Answered);
        assert!(matches!(judge(21, true), Judged::Excused(_)));
        assert_eq!(judge(30, true), Judged::Refused);
        assert_eq!(judge(30, false), Judged::Defect(Due::Refusal));
        assert!(matches!(judge(42, true), Judged::Excused(_)));
        assert_eq!(judge(50, true), Judged::Defect(Due::Answer));
    }

    #[test]
    fn other_requests_know_nothing_of_the_policy() {
        let judged = history().judge(&attempt(Kind::Fresh, 30, 30, 30, true));
        assert_eq!(judged, Judged::Defect(Due::Answer));
    }
}
