//! The levels of the log: what is understood is shown in the same language, means the same, and means it however often
//! it is said.

#![no_main]

use adit_telemetry::log::Levels;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = adit_fuzz::text(bytes) else {
        return;
    };
    // The filter is what the levels change: without it they would have ended.
    let Ok((_filter, levels)) = Levels::new(Some(text)) else {
        return;
    };
    let shown = levels.current();
    let (_again, same) = Levels::new(Some(&shown)).expect("what is shown can be given");
    assert_eq!(same.current(), shown, "{text:?}");
    levels.add(text).expect("it was understood before");
    assert_eq!(levels.current(), shown, "{text:?} said twice");
});
