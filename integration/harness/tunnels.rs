//! Tunnels with settings of a scenario's own, each in a pod of its own, as a DaemonSet would run them.
//!
//! The lab's tunnels all have the lab's settings; a scenario about deadlines, revocation or shutdown needs others,
//! looks at exit codes, and starts tunnels that are not meant to become ready.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use adit::lab::observe::{self, Mark, Metrics};
use adit::lab::{host, http};
use adit_mesh::constants::{ADMIN_PORT, METRICS_PORT, READINESS_PORT};
use adit_net::Namespace;
use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

/// How much of a log an error message shows.
const LAST_LINES: usize = 10;

/// The environment of a tunnel.
pub type Settings = BTreeMap<String, String>;

/// A tunnel process.
#[derive(Debug)]
pub struct Tunnel {
    name: String,
    child: Child,
    log: PathBuf,
    namespace: Namespace,
    address: IpAddr,
}

impl Tunnel {
    /// Starts a tunnel in a network namespace, and does not wait for anything. Its output goes to a file.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        name: &str,
        namespace: &Namespace,
        address: IpAddr,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let command = Command::new(std::env::current_exe()?);
        Self::spawn(name, namespace, address, settings, (command, output(name)?))
    }

    /// The same, with a limit of open files of its own, soft and hard.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_within(
        name: &str,
        namespace: &Namespace,
        address: IpAddr,
        settings: &Settings,
        open_files: usize,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={open_files}:{open_files}"))
            .arg(std::env::current_exe()?);
        Self::spawn(name, namespace, address, settings, (command, output(name)?))
    }

    /// The same, with its output wherever the scenario wants it: stdout, then stderr.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_with(
        name: &str,
        namespace: &Namespace,
        address: IpAddr,
        settings: &Settings,
        output: (Stdio, Stdio),
    ) -> anyhow::Result<Self> {
        let command = Command::new(std::env::current_exe()?);
        Self::spawn(name, namespace, address, settings, (command, output))
    }

    fn spawn(
        name: &str,
        namespace: &Namespace,
        address: IpAddr,
        settings: &Settings,
        (mut command, (stdout, stderr)): (Command, (Stdio, Stdio)),
    ) -> anyhow::Result<Self> {
        command
            .arg("tunnel")
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .envs(settings)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        let child = adit_net::process::spawn(Some(namespace), command)
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: host::path(&format!("{name}.log")),
            namespace: namespace.clone(),
            address,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It does not in time, or it has ended.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + adit::lab::world::PATIENCE;
        loop {
            let answer = self.readiness();
            if matches!(&answer, Ok((200, _))) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} has ended with {status}\n{}", self.name, self.last_words()?);
            }
            if Instant::now() > deadline {
                bail!("{} is not ready: {answer:?}\n{}", self.name, self.last_words()?);
            }
            std::thread::sleep(observe::INTERVAL);
        }
    }

    /// What the readiness probe answers: the status and the words.
    ///
    /// # Errors
    /// It does not answer.
    pub fn readiness(&self) -> anyhow::Result<(u16, String)> {
        let address = SocketAddr::new(self.address, READINESS_PORT);
        let answer = http::request(&self.namespace, address, "GET", "/healthz/ready")?;
        Ok((answer.status, answer.body))
    }

    /// Waits until the readiness probe answers with these words.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_readiness(&self, words: &str) -> anyhow::Result<()> {
        observe::eventually(format_args!("{} saying {words:?}", self.name), || {
            Ok(self
                .readiness()
                .ok()
                .filter(|(_, said)| said.trim() == words)
                .map(drop))
        })
    }

    /// Asks the administration server.
    ///
    /// # Errors
    /// It does not answer.
    pub fn admin(&self, method: &str, path: &str) -> anyhow::Result<http::Response> {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ADMIN_PORT);
        http::request(&self.namespace, address, method, path)
            .with_context(|| format!("{method} {path} of {}", self.name))
    }

    /// What `/config_dump` says.
    ///
    /// # Errors
    /// It says nothing that is JSON.
    pub fn dump(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.admin("GET", "/config_dump")?.body)?)
    }

    /// Where the metrics are.
    pub fn stats_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, METRICS_PORT)
    }

    /// Asks the metrics server for a page.
    ///
    /// # Errors
    /// It does not answer.
    pub fn stats(&self, path: &str) -> anyhow::Result<http::Response> {
        Ok(http::request(&self.namespace, self.stats_address(), "GET", path)?)
    }

    /// Scrapes the metrics.
    ///
    /// # Errors
    /// They are not served.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        let response = self.stats("/stats/prometheus")?;
        ensure!(response.status == 200, "the metrics answer {}", response.status);
        Ok(Metrics::parse(&response.body))
    }

    /// Waits until a metric has at least this value.
    ///
    /// # Errors
    /// It has not in time.
    pub fn wait_metric(&self, name: &str, labels: &[(&str, &str)], at_least: f64) -> anyhow::Result<()> {
        observe::eventually(
            format_args!("{name}{labels:?} of {} >= {at_least}", self.name),
            || Ok((self.metrics()?.sum(name, labels) >= at_least).then_some(())),
        )
    }

    /// The identities that it has certificates of, with their serial numbers as its log shows them.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn serials(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let dump = self.dump()?;
        let certificates = dump["certificates"]
            .as_array()
            .context("no certificates in the dump")?;
        let serial = |one: &Value| {
            // Decimal in the dump, as istioctl reads it.
            let serial: u128 = one["certChain"][0]["serialNumber"].as_str()?.parse().ok()?;
            let hexadecimal = format!("{serial:x}");
            let whole_bytes = hexadecimal.len().next_multiple_of(2);
            Some((
                one["identity"].as_str()?.to_owned(),
                format!("{hexadecimal:0>whole_bytes$}"),
            ))
        };
        Ok(certificates.iter().filter_map(serial).collect())
    }

    /// Where its log ends now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn mark(&self) -> anyhow::Result<Mark> {
        observe::mark(&self.log)
    }

    /// Waits for a log line after the mark that holds these words.
    ///
    /// # Errors
    /// There is none in time.
    pub fn line(&self, after: Mark, words: &[&str]) -> anyhow::Result<String> {
        observe::line(&self.log, after, words)
    }

    /// Waits for the access-log line after the mark with these fields.
    ///
    /// # Errors
    /// There is none in time.
    pub fn access(&self, after: Mark, fields: &[(&str, &str)]) -> anyhow::Result<Value> {
        let quoted = |(name, value): &(&str, &str)| format!("\"{name}\":{}", Value::from(*value));
        let mut words: Vec<_> = fields.iter().map(quoted).collect();
        words.push("\"scope\":\"access\"".to_owned());
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        Ok(serde_json::from_str(&self.line(after, &words)?)?)
    }

    /// Its log so far.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn text(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// The end of its log, for an error message.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn last_words(&self) -> anyhow::Result<String> {
        let text = self.text()?;
        let lines: Vec<_> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))
    }

    /// Its open file descriptors.
    ///
    /// # Errors
    /// The process has ended.
    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.id()))?.count())
    }

    /// The lowest number that its next file could have.
    ///
    /// # Errors
    /// The process has ended.
    pub fn lowest_free_descriptor(&self) -> anyhow::Result<usize> {
        let taken = fs::read_dir(format!("/proc/{}/fd", self.id()))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().parse()?))
            .collect::<anyhow::Result<BTreeSet<usize>>>()?;
        Ok((0..).find(|number| !taken.contains(number)).unwrap_or_default())
    }

    /// Sets how many files it may have open from now on; the hard limit stays.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn limit_open_files(&self, soft: usize) -> anyhow::Result<()> {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--pid={}", self.id()))
            .arg(format!("--nofile={soft}:"));
        let status = command.status().context("cannot run prlimit")?;
        ensure!(status.success(), "prlimit ended with {status}");
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It cannot be sent.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.id())?);
        nix::sys::signal::kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Whether it is running.
    ///
    /// # Errors
    /// Nobody can tell.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until it has ended, and returns how, and after how long.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait_end(&mut self) -> anyhow::Result<(ExitStatus, Duration)> {
        let started = Instant::now();
        let what = format!("the end of {}", self.name);
        let status = observe::eventually(what, || Ok(self.child.try_wait()?))
            .with_context(|| format!("its threads:\n{}", self.threads()))?;
        Ok((status, started.elapsed()))
    }

    /// What each of its threads does, a line each: its name, its state, and where in the kernel it waits, as far as
    /// the kernel tells.
    pub fn threads(&self) -> String {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.child.id()));
        let threads = fs::read_dir(tasks).into_iter().flatten().flatten();
        threads.fold(String::new(), |text, thread| {
            let look = |file: &str| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
            let status = look("status");
            let state = status.lines().find(|line| line.starts_with("State:"));
            let stack: Vec<_> = look("stack").lines().map(str::to_owned).collect();
            let (name, state) = (look("comm"), state.unwrap_or_default());
            text + &format!("{}: {state} {}\n", name.trim_end(), stack.join(" "))
        })
    }

    /// Waits until it has ended by itself with this exit code, and returns what it said.
    ///
    /// # Errors
    /// It does not end, or otherwise.
    pub fn wait_failure(&mut self, code: i32) -> anyhow::Result<String> {
        let (status, _) = self.wait_end()?;
        let text = self.last_words()?;
        ensure!(
            status.signal().is_none(),
            "{} was ended by a signal: {status}\n{text}",
            self.name
        );
        ensure!(
            status.code() == Some(code),
            "{} ended with {status}, not {code}\n{text}",
            self.name
        );
        Ok(text)
    }
}

/// A file that takes both outputs of a tunnel.
fn output(name: &str) -> anyhow::Result<(Stdio, Stdio)> {
    let log = host::path(&format!("{name}.log"));
    let output = File::options().create(true).append(true).open(&log)?;
    Ok((output.try_clone()?.into(), output.into()))
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // Both fail only if it has ended and been reaped, which is what they are for.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
