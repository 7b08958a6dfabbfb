//! How the two directions of a connection end, and that not a byte is lost before they do.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use adit_integration::harness::bed::reset;
use adit_integration::harness::pair::Pair;
use adit_integration::harness::plain::{
    Pattern, accept, check_pattern, listen, read_to_end, send_pattern, wait_reset,
};
use adit_integration::harness::watch::{CLOSED, Watch};
use anyhow::ensure;

/// A port that the lab's application does not use.
const PORT: u16 = 7000;

/// A connection from `client` to an application in the hands of the scenario: both ends of it.
fn connect(pair: &Pair) -> anyhow::Result<(TcpStream, TcpStream)> {
    let listener = listen(pair.bed.namespace("server")?, PORT)?;
    let client = pair.bed.connect("client", pair.bed.socket("server", PORT)?)?;
    client.set_nodelay(true)?;
    let (server, from) = accept(&listener)?;
    ensure!(
        from.ip() == client.local_addr()?.ip(),
        "the application sees {from}"
    );
    Ok((client, server))
}

fn build() -> anyhow::Result<Pair> {
    Pair::build(&[("client", 0), ("server", 1)], |_| Ok(()))
}

/// One side after the other finishes; what the second still has to say arrives.
fn half_close(mut first: &TcpStream, mut second: &TcpStream) -> anyhow::Result<()> {
    first.write_all(b"the last of the first")?;
    first.shutdown(Shutdown::Write)?;
    ensure!(read_to_end(second)? == b"the last of the first");
    // The other direction is open for as long as the second likes.
    for word in [b"one", b"two"] {
        second.write_all(word)?;
        let mut received = [0; 3];
        first.read_exact(&mut received)?;
        ensure!(received == *word);
    }
    second.shutdown(Shutdown::Write)?;
    ensure!(read_to_end(first)?.is_empty());
    Ok(())
}

/// Whichever side finishes first.
pub fn each_side_may_finish_first() -> anyhow::Result<()> {
    let pair = build()?;
    let (from, to) = (Watch::begin(&pair.first)?, Watch::begin(&pair.second)?);
    let (client, server) = connect(&pair)?;
    half_close(&client, &server)?;
    let (client, server) = connect(&pair)?;
    half_close(&server, &client)?;
    from.completed("outbound", &[("dst.workload", "server")])?;
    to.completed("inbound", &[("src.workload", "client")])?;
    from.risen(CLOSED, &[("reporter", "source"), ("response_flags", "-")], 2)?;
    to.risen(CLOSED, &[("reporter", "destination"), ("response_flags", "-")], 2)
}

/// Whichever side resets, the other side sees a reset, and not an end in order.
pub fn a_reset_of_one_side_reaches_the_other() -> anyhow::Result<()> {
    let pair = build()?;
    for who in ["client", "server"] {
        let (from, to) = (Watch::begin(&pair.first)?, Watch::begin(&pair.second)?);
        let (client, server) = connect(&pair)?;
        // Both ends are known to be relayed before one is reset.
        talk(&client, &server)?;
        let (gone, left) = if who == "client" {
            (client, server)
        } else {
            (server, client)
        };
        reset(gone)?;
        wait_reset(&left)?;
        from.line("outbound", "reset", &[("response_flags", "RESET")])?;
        to.line("inbound", "reset", &[("response_flags", "RESET")])?;
        from.risen(CLOSED, &[("reporter", "source"), ("response_flags", "RESET")], 1)?;
        to.risen(
            CLOSED,
            &[("reporter", "destination"), ("response_flags", "RESET")],
            1,
        )?;
    }
    Ok(())
}

fn talk(mut client: &TcpStream, mut server: &TcpStream) -> anyhow::Result<()> {
    client.write_all(b"x")?;
    server.read_exact(&mut [0])?;
    server.write_all(b"y")?;
    client.read_exact(&mut [0])?;
    Ok(())
}

/// Both sides send a lot at the same time, and receive exactly what the other sent.
pub fn a_lot_of_bytes_arrive_as_they_were_sent() -> anyhow::Result<()> {
    /// 64 KiB each.
    const CHUNKS: usize = 512;
    let pair = build()?;
    let watch = Watch::begin(&pair.second)?;
    let (client, server) = connect(&pair)?;
    let (forth, back) = (Pattern::new(3), Pattern::new(5));
    std::thread::scope(|scope| {
        let all = [
            scope.spawn(|| send_pattern(&client, forth.clone(), CHUNKS)),
            scope.spawn(|| send_pattern(&server, back.clone(), CHUNKS)),
            scope.spawn(|| check_pattern(&client, back.clone(), CHUNKS)),
            scope.spawn(|| check_pattern(&server, forth.clone(), CHUNKS)),
        ];
        all.into_iter().try_for_each(|one| one.join().expect("no panic"))
    })?;
    drop((client, server));
    let line = watch.line("inbound", "completed", &[])?;
    let all = u64::try_from(CHUNKS * 64 * 1024)?;
    for direction in ["bytes_sent", "bytes_recv"] {
        ensure!(line[direction] == all, "{direction} is not {all} in {line}");
    }
    Ok(())
}
