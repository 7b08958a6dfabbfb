//! How large the window of a connection is: large enough that streams whose applications have stopped reading do
//! not keep it from the others, and bounded whatever they do.

use crate::settings::Settings;
use crate::stream::State;

/// Sets the connection's window to what its stalled streams call for, when that has changed.
pub(crate) fn adapt_window(state: &State, settings: &Settings, current: &mut u32, set: impl FnOnce(u32)) {
    let wanted = window(settings, state.stalled_receivers());
    if wanted != *current {
        *current = wanted;
        set(wanted);
    }
}

/// The window, in bytes, with `stalled` streams whose applications have stopped reading.
fn window(settings: &Settings, stalled: u32) -> u32 {
    let grown = settings.connection_window.saturating_add(stalled.saturating_mul(settings.stream_window));
    grown.min(settings.window_limit.max(settings.connection_window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stalled_stream_adds_its_own_window_up_to_the_limit() {
        let settings = Settings::default();
        assert_eq!(window(&settings, 0), 16 << 20);
        assert_eq!(window(&settings, 3), 28 << 20);
        assert_eq!(window(&settings, 12), 64 << 20);
        assert_eq!(window(&settings, u32::MAX), 64 << 20);
    }
}
