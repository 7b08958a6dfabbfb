use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const LONG: Duration = Duration::from_secs(60);

/// A destination that takes a write only when it is allowed to, and shows what it took.
struct Gate {
    allowed: Receiver<()>,
    taken: Sender<Vec<u8>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.allowed
            .recv()
            .map_err(|_| io::Error::other("the test has ended"))?;
        self.taken
            .send(bytes.to_vec())
            .map_err(|_| io::Error::other("the test has ended"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

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

#[test]
fn writes_every_line_in_the_order_of_its_thread() {
    let memory = Memory::default();
    let (writer, flush) = Writer::start(Format::Text, memory.clone()).expect("a thread");
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let writer = writer.clone();
            std::thread::spawn(move || {
                for line in 0..1000 {
                    assert!(writer.append(format!("{thread} {line}\n").as_bytes()));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("the lines fit");
    }
    drop(flush);
    let text = String::from_utf8(memory.0.lock().expect("written").clone()).expect("text");
    for thread in 0..4 {
        let prefix = format!("{thread} ");
        let lines: Vec<usize> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(|line| line.parse().expect("a number"))
            .collect();
        assert_eq!(lines, (0..1000).collect::<Vec<_>>(), "thread {thread}");
    }
    assert_eq!(writer.dropped(), 0);
}

#[test]
fn drops_and_counts_when_the_destination_blocks_and_says_so_later() {
    let (allow, allowed) = channel();
    let (taken, written) = channel();
    let (writer, _flush) =
        Writer::with_capacity(Format::Text, 10, Gate { allowed, taken }).expect("a thread");
    // Given ten bytes that wait, in the destination or before it
    assert!(writer.append(b"1234\n"));
    assert!(writer.append(b"5678\n"));
    // When more come, then they are dropped without waiting
    assert!(!writer.append(b"x\n"));
    assert!(!writer.append(b"y\n"));
    assert_eq!(writer.dropped(), 2);
    assert!(!writer.flush(Duration::ZERO), "nothing is written yet");
    // And when the destination goes on, what was accepted arrives, and that something is missing
    for _ in 0..3 {
        allow.send(()).expect("the gate is there");
    }
    assert!(writer.flush(LONG));
    let text: Vec<u8> = written.try_iter().flatten().collect();
    let text = String::from_utf8(text).expect("text");
    assert!(text.starts_with("1234\n5678\n"), "{text}");
    assert!(text.contains("the log could not keep up\tdropped=2\n"), "{text}");
    assert!(writer.append(b"z\n"), "there is room again");
}

#[test]
fn many_waiting_lines_are_one_write() {
    let (allow, allowed) = channel();
    let (taken, written) = channel();
    let (writer, _flush) = Writer::start(Format::Text, Gate { allowed, taken }).expect("a thread");
    assert!(writer.append(b"first\n"));
    for _ in 0..100 {
        assert!(writer.append(b"more\n"));
    }
    for _ in 0..4 {
        allow.send(()).expect("the gate is there");
    }
    assert!(writer.flush(LONG));
    let writes: Vec<_> = written.try_iter().collect();
    assert!(writes.len() <= 2, "{} writes", writes.len());
    assert_eq!(writes.concat().len(), 6 + 500);
}

#[test]
fn lines_that_the_destination_refuses_are_counted() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (writer, _flush) = Writer::start(Format::Text, Broken).expect("a thread");
    assert!(writer.append(b"a\n"));
    assert!(writer.flush(LONG));
    assert_eq!(writer.dropped(), 1);
}
