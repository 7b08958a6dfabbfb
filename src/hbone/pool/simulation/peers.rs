//! The peers of the simulation, and what is known of the dials to them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adit_mesh::{Identity, Outcome};
use adit_pki::{Authority, Credentials, Issued, Request, TlsOptions, TrustOptions, TrustStore};
use fastrand::Rng;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::super::{FIRST_BACKOFF, Key, LONGEST_BACKOFF};
use super::is_expected;
use crate::Failure;
use crate::client::Connection;
use crate::server::{Accepted, Control, Incoming};
use crate::settings::Settings;
use crate::stream::Stream;

/// Peers.
pub const ADDRESSES: usize = 3;
const SOURCES: [&str; 2] = ["web", "cards"];

/// How a peer takes connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Well,
    Slow,
    Refusing,
    Hanging,
    /// Takes the connection and says nothing.
    SilentInTls,
    /// Says nothing after TLS.
    SilentInHttp2,
}

/// The moods, the good ones more often.
pub const MOODS: [Mood; 9] = [
    Mood::Well,
    Mood::Well,
    Mood::Well,
    Mood::Well,
    Mood::Slow,
    Mood::Refusing,
    Mood::Hanging,
    Mood::SilentInTls,
    Mood::SilentInHttp2,
];

/// All peers.
pub struct Peers {
    random: RefCell<Rng>,
    settings: Rc<Settings>,
    sources: Vec<Arc<Credentials>>,
    own: Arc<Credentials>,
    moods: RefCell<[Mood; ADDRESSES]>,
    /// Every CONNECT is accepted.
    is_calm: Cell<bool>,
    dials: RefCell<HashMap<Key, Dials>>,
    /// When each dial that failed did, by its number.
    failed: RefCell<HashMap<usize, Instant>>,
    count: Cell<usize>,
    servers: RefCell<Vec<Server>>,
    /// Sockets on which nothing is ever said.
    silent: RefCell<Vec<Silent>>,
}

/// What is known of the dials with one key.
#[derive(Default)]
struct Dials {
    under_way: bool,
    /// The least that the pool must know: its last backoff and when that is over.
    backoff: Option<(Duration, Instant)>,
}

struct Server {
    control: Control,
    freeze: Rc<Notify>,
}

#[allow(dead_code, reason = "they are held open")]
enum Silent {
    InTls(TcpStream),
    InHttp2(Accepted),
}

impl Peers {
    pub fn new(random: Rng, settings: Rc<Settings>) -> Self {
        let authority = Authority::self_signed(SystemTime::now()).expect("an authority");
        Self {
            random: RefCell::new(random),
            settings,
            sources: SOURCES.map(|name| credentials(&authority, name)).into(),
            own: credentials(&authority, "ledger"),
            moods: RefCell::new([Mood::Well; ADDRESSES]),
            is_calm: Cell::new(false),
            dials: RefCell::default(),
            failed: RefCell::default(),
            count: Cell::new(0),
            servers: RefCell::default(),
            silent: RefCell::default(),
        }
    }

    /// Who calls whom.
    pub fn key(&self, random: &mut Rng) -> Key {
        let port = u16::try_from(random.usize(..ADDRESSES)).expect("few");
        Key {
            source: self.sources[random.usize(..SOURCES.len())].identity().clone(),
            expected: [self.own.identity().clone()].into(),
            address: SocketAddr::from(([10, 0, 0, 2], port)),
        }
    }

    pub fn set(&self, peer: usize, mood: Mood) {
        self.moods.borrow_mut()[peer] = mood;
    }

    pub fn all_well(&self) {
        *self.moods.borrow_mut() = [Mood::Well; ADDRESSES];
        self.is_calm.set(true);
    }

    pub fn is_dialing(&self, key: &Key) -> bool {
        self.dials.borrow().get(key).is_some_and(|dials| dials.under_way)
    }

    /// One of the peers' connections ends in order.
    pub fn drain_one(&self) {
        self.with_one(|server| server.control.drain());
    }

    /// One of the peers' connections breaks.
    pub fn reset_one(&self) {
        self.with_one(|server| {
            let failure = Failure::new(Outcome::Http2Failed, "as the simulation wants it");
            server.control.abort(failure);
        });
    }

    /// One of the peers' connections is silent from now on.
    pub fn freeze_one(&self) {
        self.with_one(|server| server.freeze.notify_one());
    }

    fn with_one(&self, act: impl FnOnce(&Server)) {
        let mut servers = self.servers.borrow_mut();
        if !servers.is_empty() {
            let index = self.random.borrow_mut().usize(..servers.len());
            act(&servers.swap_remove(index));
        }
    }

    /// Judges what a caller was told that waited since `since`.
    pub fn judge(&self, key: &Key, since: Instant, failure: &Failure) {
        assert!(is_expected(failure.outcome), "{failure}");
        let number = failure.detail.strip_prefix("dial ");
        let number = number.and_then(|rest| rest.split(':').next()?.parse().ok());
        if let Some(number) = number {
            let failed = self.failed.borrow()[&number];
            assert!(
                failed >= since,
                "{key:?}: a failure from before the caller came: {failure}"
            );
        }
    }

    /// Makes a connection, or fails to, as the peer's mood is.
    pub async fn dial(self: Rc<Self>, key: Key) -> Result<Connection, Failure> {
        let number = self.begin(&key);
        let result = self.reach(&key).await.map_err(|failure| {
            let detail = format!("dial {number}: {}", failure.detail);
            Failure::new(failure.outcome, detail)
        });
        self.end(&key, number, result.is_ok());
        result
    }

    fn begin(&self, key: &Key) -> usize {
        let mut all = self.dials.borrow_mut();
        let dials = all.entry(key.clone()).or_default();
        assert!(!dials.under_way, "two dials at a time");
        dials.under_way = true;
        if let Some((delay, until)) = dials.backoff {
            let now = Instant::now();
            assert!(now >= until, "a dial within the backoff of {delay:?}");
        }
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    fn end(&self, key: &Key, number: usize, is_good: bool) {
        let now = Instant::now();
        let mut all = self.dials.borrow_mut();
        let dials = all.entry(key.clone()).or_default();
        dials.under_way = false;
        if is_good {
            dials.backoff = None;
            return;
        }
        self.failed.borrow_mut().insert(number, now);
        let delay = match dials.backoff {
            Some((last, until)) if now < until + LONGEST_BACKOFF => (last * 2).min(LONGEST_BACKOFF),
            _ => FIRST_BACKOFF,
        };
        dials.backoff = Some((delay, now + delay));
    }

    async fn reach(self: &Rc<Self>, key: &Key) -> Result<Connection, Failure> {
        let mood = self.moods.borrow()[usize::from(key.address.port())];
        let pause = |most| Duration::from_millis(self.random.borrow_mut().u64(..most));
        match mood {
            Mood::Refusing => {
                sleep(pause(50)).await;
                return Err(Failure::new(Outcome::ConnectFailed, "refused"));
            }
            Mood::Hanging => {
                sleep(self.settings.deadlines.connect).await;
                return Err(Failure::new(Outcome::ConnectTimeout, "no answer"));
            }
            Mood::Slow => sleep(pause(1_500)).await,
            _ => {}
        }
        let (ours, theirs) = pair();
        if mood == Mood::SilentInTls {
            self.silent.borrow_mut().push(Silent::InTls(theirs));
        } else {
            spawn_local(self.clone().serve(theirs, mood));
        }
        let source = self
            .sources
            .iter()
            .find(|source| *source.identity() == key.source);
        let config = source.expect("one of ours").client_config(&key.expected);
        Connection::establish(ours, Duration::ZERO, config, &self.settings).await
    }

    async fn serve(self: Rc<Self>, socket: TcpStream, mood: Mood) {
        let config = self.own.server_config();
        let Ok(accepted) = Accepted::handshake(socket, config, &self.settings).await else {
            return;
        };
        if mood == Mood::SilentInHttp2 {
            self.silent.borrow_mut().push(Silent::InHttp2(accepted));
            return;
        }
        let (control, freeze) = (Control::default(), Rc::new(Notify::new()));
        self.servers.borrow_mut().push(Server {
            control: control.clone(),
            freeze: freeze.clone(),
        });
        // What a peer keeps ends with its connection.
        let (unanswered, open): (RefCell<Vec<Incoming>>, RefCell<Vec<Stream>>) = Default::default();
        let serving = accepted.serve(&self.settings, &control, |incoming| {
            self.answer(incoming, &unanswered, &open);
        });
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            _ = &mut serving => {}
            () = freeze.notified() => std::future::pending().await,
        }
    }

    fn answer(&self, incoming: Incoming, unanswered: &RefCell<Vec<Incoming>>, open: &RefCell<Vec<Stream>>) {
        match self.random.borrow_mut().u8(..12) {
            _ if self.is_calm.get() => open.borrow_mut().extend(incoming.accept(None)),
            0 => incoming.refuse(Outcome::ConnectFailed),
            1 => unanswered.borrow_mut().push(incoming),
            // Reset as soon as it is open.
            2 => drop(incoming.accept(None)),
            _ => open.borrow_mut().extend(incoming.accept(None)),
        }
    }
}

/// Two ends of one connection. The tunnel's sockets are TCP's; to what is done with them here it makes no difference.
fn pair() -> (TcpStream, TcpStream) {
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    (tcp(one), tcp(other))
}

fn tcp(socket: UnixStream) -> TcpStream {
    let socket = std::net::TcpStream::from(OwnedFd::from(socket));
    socket.set_nonblocking(true).expect("an open socket");
    TcpStream::from_std(socket).expect("a runtime")
}

fn credentials(authority: &Authority, account: &str) -> Arc<Credentials> {
    let identity: Identity = format!("spiffe://cluster.local/ns/bank/sa/{account}")
        .parse()
        .expect("an identity");
    let request = Request::new(&identity).expect("a request");
    let signed = authority
        .issue(request.csr(), &identity, Duration::ZERO, SystemTime::now())
        .expect("a certificate");
    let issued = Issued {
        chain: vec![signed.leaf],
        key: request.into_key(),
        roots: signed.roots,
    };
    let trust = TrustStore::open(&TrustOptions::default())
        .expect("trust")
        .current();
    let made = Credentials::new(&identity, issued, &trust, &TlsOptions::default(), 1);
    Arc::new(made.expect("credentials"))
}
