//! What a process keeps for its successor in a directory: so that a tunnel that is replaced while the control plane is
//! away serves at once.
//!
//! The directory belongs on a file system in memory (`/run`), because keys are in it. It is its owner's alone; what others
//! could have written is not believed. What is kept is good until the machine starts anew, whose boot id is in it: after
//! that nothing of what it says of the node's pods is true.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prost::Message;

/// Changes with every start of the machine (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// What a file of ours ends with.
const ENDING: &str = "kept";

/// A directory with things that are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    directory: PathBuf,
}

/// What is in a file.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    /// The start of the machine that it is of.
    #[prost(string, tag = "1")]
    boot: String,
    /// Seconds since 1970.
    #[prost(uint64, tag = "2")]
    written: u64,
    #[prost(bytes = "vec", tag = "3")]
    content: Vec<u8>,
}

/// Why nothing can be kept.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct NotKept {
    /// The directory or file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl NotKept {
    fn new(path: &Path, reason: impl ToString) -> Self {
        Self {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

impl Kept {
    /// Opens a directory, which is made if there is none.
    ///
    /// # Errors
    /// It cannot be made, or others may write to it or read it.
    pub fn open(directory: &Path) -> Result<Self, NotKept> {
        let failed = |error: io::Error| NotKept::new(directory, error);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(directory).map_err(failed)?;
        let metadata = fs::metadata(directory).map_err(failed)?;
        check(directory, &metadata, 0o077)?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Keeps something under a name, in place of what was kept there.
    ///
    /// # Errors
    /// It cannot be written; what was there before stays.
    pub fn put<T: Message>(&self, name: &str, content: &T, now: SystemTime) -> Result<(), NotKept> {
        let path = self.path(name);
        let unready = self.directory.join(format!(".{name}"));
        let envelope = Envelope {
            boot: boot_id(),
            written: since_epoch(now),
            content: content.encode_to_vec(),
        };
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&unready)?;
            file.write_all(&envelope.encode_to_vec())?;
            fs::rename(&unready, &path)
        };
        write().map_err(|error| NotKept::new(&path, error))
    }

    /// What is kept under a name, with its age; nothing, if there is none, if it is older than `longest`, or if it is of
    /// an earlier start of the machine.
    ///
    /// # Errors
    /// It cannot be read, others could have written it, or it is not what it should be.
    pub fn get<T: Message + Default>(
        &self,
        name: &str,
        longest: Duration,
        now: SystemTime,
    ) -> Result<Option<(T, Duration)>, NotKept> {
        let path = self.path(name);
        let failed = |error: io::Error| NotKept::new(&path, error);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        check(&path, &file.metadata().map_err(failed)?, 0o077)?;
        let bytes = {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut &file, &mut bytes).map_err(failed)?;
            bytes
        };
        let invalid = |error: prost::DecodeError| NotKept::new(&path, error);
        let envelope = Envelope::decode(bytes.as_slice()).map_err(invalid)?;
        let age = Duration::from_secs(since_epoch(now).saturating_sub(envelope.written));
        if envelope.boot != boot_id() || age > longest {
            return Ok(None);
        }
        let content = T::decode(envelope.content.as_slice()).map_err(invalid)?;
        Ok(Some((content, age)))
    }

    /// Forgets what is kept under a name; nothing there is no mistake.
    pub fn remove(&self, name: &str) {
        // What cannot be removed is found by whoever looks for it next.
        let _ = fs::remove_file(self.path(name));
    }

    /// The names under which something is kept.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let name = name.strip_suffix(ENDING)?.strip_suffix('.')?;
            (!name.starts_with('.')).then(|| name.to_owned())
        });
        names.collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.{ENDING}"))
    }
}

fn check(path: &Path, metadata: &fs::Metadata, forbidden: u32) -> Result<(), NotKept> {
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(NotKept::new(path, "it belongs to another user"));
    }
    if metadata.mode() & forbidden != 0 {
        let reason = format!(
            "others have access to it (mode {:o}); chmod go-rwx",
            metadata.mode() & 0o777
        );
        return Err(NotKept::new(path, reason));
    }
    Ok(())
}

fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

fn since_epoch(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use adit_proto::discovery::Status;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn thing(message: &str) -> Status {
        Status {
            code: 1,
            message: message.to_owned(),
        }
    }

    fn get(kept: &Kept, later: Duration) -> Option<String> {
        let found = kept.get::<Status>("a", HOUR, SystemTime::now() + later);
        found.expect("readable").map(|(thing, _)| thing.message)
    }

    #[test]
    fn what_was_put_is_there_for_a_while() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::open(&folder.path().join("new")).expect("a directory");
        assert_eq!(get(&kept, Duration::ZERO), None);
        for message in ["one", "two"] {
            kept.put("a", &thing(message), SystemTime::now()).expect("kept");
            assert_eq!(get(&kept, Duration::ZERO).as_deref(), Some(message));
        }
        assert_eq!(get(&kept, 2 * HOUR), None, "it is too old");
        assert_eq!(kept.names(), ["a"]);
        kept.remove("a");
        assert_eq!(get(&kept, Duration::ZERO), None);
    }

    #[test]
    fn what_others_could_have_written_is_not_believed() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::open(&folder.path().join("state")).expect("a directory");
        kept.put("a", &thing("one"), SystemTime::now()).expect("kept");
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
        };
        mode(&kept.path("a"), 0o644);
        let error = kept
            .get::<Status>("a", HOUR, SystemTime::now())
            .expect_err("not believed");
        assert!(error.to_string().contains("others have access"), "{error}");
        mode(&kept.directory, 0o755);
        assert!(Kept::open(&kept.directory).is_err());
    }

    #[test]
    fn what_is_of_another_start_of_the_machine_is_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::open(&folder.path().join("state")).expect("a directory");
        kept.put("a", &thing("one"), SystemTime::now()).expect("kept");
        let bytes = fs::read(kept.path("a")).expect("a file");
        let mut envelope = Envelope::decode(bytes.as_slice()).expect("ours");
        envelope.boot = "before".to_owned();
        fs::write(kept.path("a"), envelope.encode_to_vec()).expect("written");
        assert_eq!(get(&kept, Duration::ZERO), None);
    }
}
