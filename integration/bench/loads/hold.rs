//! A server whose connections are held open, and its clients. The first byte of a connection is echoed, so that the
//! client knows that the whole path stands, and says what the connection is for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use adit_net::Namespace;
use anyhow::{Context, anyhow, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The connection does nothing.
const NOTHING: u8 = b'n';
/// The client sends [`BULK`] bytes, the server then one.
const UPLOAD: u8 = b'u';
/// The server sends as fast as it can for as long as it can.
const STREAM: u8 = b's';

/// What a connection carries in bytes before it is idle.
const BULK: usize = 12 << 20;
/// How long anything may take that usually takes a moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves a port of a namespace until the process ends.
pub fn serve(namespace: &Namespace, port: u16) -> anyhow::Result<()> {
    let listener = namespace
        .run(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            socket.bind(&SocketAddr::from(([0, 0, 0, 0], port)).into())?;
            socket.listen(4096)?;
            socket.set_nonblocking(true)?;
            Ok::<StdListener, std::io::Error>(socket.into())
        })
        .flatten()
        .with_context(|| format!("cannot listen on port {port}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("hold".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    // One that breaks is the client's to notice.
                    tokio::spawn(async move { hold(stream).await.ok() });
                }
                #[expect(unreachable_code, reason = "names the type of the errors above")]
                Ok::<(), std::io::Error>(())
            })
        })?;
    Ok(())
}

async fn hold(mut stream: TcpStream) -> std::io::Result<()> {
    let purpose = stream.read_u8().await?;
    stream.write_u8(purpose).await?;
    match purpose {
        STREAM => {
            let block = vec![0; 64 << 10];
            loop {
                stream.write_all(&block).await?;
            }
        }
        UPLOAD => {
            let mut all = (&mut stream).take(BULK as u64);
            tokio::io::copy(&mut all, &mut tokio::io::sink()).await?;
            stream.write_u8(UPLOAD).await?;
        }
        _ => {}
    }
    // Until the client closes.
    stream.read_u8().await.map(drop)
}

/// Opens a connection and makes sure that it stands from end to end.
fn open(namespace: &Namespace, server: SocketAddr, purpose: u8) -> anyhow::Result<StdStream> {
    let connect = || StdStream::connect_timeout(&server, PATIENCE);
    let mut stream = namespace.run(connect).flatten().context("cannot connect")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[purpose])?;
    let mut echo = [0];
    stream
        .read_exact(&mut echo)
        .context("the first byte does not come back")?;
    ensure!(echo == [purpose], "another byte came back");
    Ok(stream)
}

/// Opens a connection that does nothing.
pub fn idle(namespace: &Namespace, server: SocketAddr) -> anyhow::Result<StdStream> {
    open(namespace, server, NOTHING)
}

/// Opens a connection, and lets it carry 12 MiB.
pub fn bulk(namespace: &Namespace, server: SocketAddr) -> anyhow::Result<StdStream> {
    let mut stream = open(namespace, server, UPLOAD)?;
    let block = vec![0; 64 << 10];
    for _ in 0..BULK / block.len() {
        stream.write_all(&block)?;
    }
    stream
        .read_exact(&mut [0])
        .context("the bytes have not arrived")?;
    Ok(stream)
}

/// A client that asks for as much as there is and reads 4 KiB of it every 50 ms.
pub struct SlowReader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<usize>>,
}

impl SlowReader {
    /// Starts it.
    pub fn start(namespace: &Namespace, server: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = open(namespace, server, STREAM)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut total = 0;
            let mut block = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                total += stream.read(&mut block)?;
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(total)
        });
        Ok(Self { stop, thread })
    }

    /// Ends it; how many bytes it read.
    pub fn end(self) -> anyhow::Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let read = self
            .thread
            .join()
            .map_err(|_| anyhow!("the slow reader panicked"))?;
        read.context("the slow reader's connection broke")
    }
}
