//! How large the window of a connection is: large enough that streams whose applications have stopped reading do
//! not keep it from the others, and bounded whatever they do. Where it cannot grow any more and they would hold what is
//! left, the one that holds most is given up: the window that the connection began with stays with those who read.

use crate::settings::Settings;
use crate::stream::State;

/// Sets the connection's window to what its stalled streams call for. It grows at once and shrinks when the
/// connection is idle: applications stop for moments all the time, and the limit holds either way.
pub(crate) fn adapt_window(state: &State, settings: &Settings, current: &mut u32, set: impl FnOnce(u32)) {
    let stalled = state.stalled_receivers();
    let wanted = window(settings, stalled);
    if wanted == settings.window_limit {
        state.bound_stalled(most_stalled(settings));
    }
    if wanted > *current || (wanted < *current && state.streams() == 0) {
        *current = wanted;
        state.grant_windows(stalled);
        set(wanted);
    }
}

/// The window, in bytes, with `stalled` streams whose applications have stopped reading.
fn window(settings: &Settings, stalled: u32) -> u32 {
    let grown = settings
        .connection_window
        .saturating_add(stalled.saturating_mul(settings.stream_window));
    grown.min(settings.window_limit.max(settings.connection_window))
}

/// What stalled streams may hold of the largest window, in bytes: what it grew by for them, or half of a window that
/// may not grow.
fn most_stalled(settings: &Settings) -> u64 {
    let grown = settings.window_limit.saturating_sub(settings.connection_window);
    grown.max(settings.connection_window / 2).into()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::stream::Counted;

    #[test]
    fn the_window_grows_at_once_and_shrinks_when_nothing_is_open() {
        let settings = Settings {
            connection_window: 100,
            stream_window: 10,
            ..Settings::default()
        };
        let (state, mut current, mut set) = (Rc::new(State::default()), 100, Vec::new());
        let open = Counted::new(&state);
        for stalled in [0, 2, 0, 1, 3, 0] {
            state.set_stalled_receivers(stalled);
            adapt_window(&state, &settings, &mut current, |size| set.push(size));
        }
        assert_eq!(set, [120, 130]);
        drop(open);
        adapt_window(&state, &settings, &mut current, |size| set.push(size));
        assert_eq!(set, [120, 130, 100]);
    }

    #[test]
    fn stalled_streams_leave_the_window_that_was_there_without_them() {
        let mut settings = Settings::default();
        assert_eq!(most_stalled(&settings), 48 << 20);
        settings.window_limit = settings.connection_window;
        assert_eq!(most_stalled(&settings), 8 << 20);
    }

    #[test]
    fn each_stalled_stream_adds_its_own_window_up_to_the_limit() {
        let settings = Settings::default();
        assert_eq!(window(&settings, 0), 16 << 20);
        assert_eq!(window(&settings, 3), 28 << 20);
        assert_eq!(window(&settings, 12), 64 << 20);
        assert_eq!(window(&settings, u32::MAX), 64 << 20);
    }
}
