use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::log::format::Format;
use crate::log::levels::{InvalidLevels, Levels};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("no writer panicked")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the log has after `speak`, without the timestamps.
fn logged(format: Format, directives: Option<&str>, speak: impl FnOnce(&Levels)) -> String {
    let memory = Memory::default();
    let (writer, _flush) = Writer::start(format, memory.clone()).expect("a thread");
    let (filter, levels) = Levels::new(directives).expect("valid levels");
    let layer = LogLayer::new(writer.clone());
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    tracing::subscriber::with_default(subscriber, || speak(&levels));
    assert!(writer.flush(Duration::from_secs(60)));
    String::from_utf8(memory.0.lock().expect("written").clone()).expect("text")
}

#[test]
fn an_event_is_a_line_of_istios_format() {
    let text = logged(Format::Text, None, |_| {
        tracing::info!(target: "adit_tunnel::pods", pod = "web", count = 3, ok = true, "a pod {}", "came");
    });
    let (_, line) = text.split_once('\t').expect("a timestamp");
    assert_eq!(
        line,
        "info\ttunnel::pods\ta pod came\tpod=\"web\" count=3 ok=true\n"
    );
}

#[test]
fn an_event_is_a_json_object() {
    let text = logged(Format::Json, None, |_| {
        tracing::warn!(target: "adit_tunnel", error = &*Box::<dyn std::error::Error>::from("no \"file\""), "x");
    });
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["level"], "warn");
    assert_eq!(value["scope"], "tunnel");
    assert_eq!(value["message"], "x");
    assert_eq!(value["error"], "no \"file\"");
}

#[test]
fn levels_can_be_changed_and_reset_while_the_log_runs() {
    let text = logged(Format::Text, Some("warn"), |levels| {
        let say = |words: &str| tracing::info!(target: "adit_tunnel", "{words}");
        say("hidden at first");
        levels.add("tunnel=info").expect("valid");
        assert_eq!(levels.current(), "tunnel=info,warn");
        say("said");
        tracing::info!(target: "adit_zds", "hidden, another scope");
        levels.reset().expect("the log lives");
        assert_eq!(levels.current(), "warn");
        say("hidden again");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("said"), "{text}");
}

#[test]
fn a_level_that_is_none_changes_nothing() {
    let (_filter, levels) = Levels::new(None).expect("the default is valid");
    for wrong in ["verbose", "tunnel=", "tunnel:debug", "=debug", "[span]=info", "3"] {
        let expected = InvalidLevels::Directive {
            directive: wrong.to_owned(),
        };
        assert_eq!(levels.add(wrong), Err(expected), "{wrong}");
    }
    assert_eq!(levels.current(), "info");
}

#[test]
fn a_value_that_logs_while_it_is_written_gets_a_line_of_its_own() {
    struct Talks;
    impl fmt::Display for Talks {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut inner = None;
            with_buffer(|buffer| {
                buffer.push_str("inner");
                inner = Some(buffer.clone());
            });
            f.write_str(&inner.expect("it was called"))
        }
    }
    let text = logged(Format::Text, None, |_| tracing::info!("outer {}", Talks));
    assert!(text.ends_with("\touter inner\n"), "{text}");
}
