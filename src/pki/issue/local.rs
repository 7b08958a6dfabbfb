//! A certificate authority in a directory, for one machine: `--local-ca DIR`.
//!
//! Several tunnels share the directory and may start at the same moment. Each of its two files is written
//! under a temporary name and then given its own with link(2), which fails if the name is taken: whoever is
//! first wins, the others read the winner's. The key comes first and the root is made from it, so a process
//! that dies in between leaves nothing that the next one cannot complete.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use adit_mesh::Identity;
use nix::unistd::geteuid;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{Authority, SignError, is_certificate_of, self_signed_root};
use crate::certificate::to_pem;
use crate::issuer::{IssueError, Issued, Issuer, Issuing};
use crate::request::Request;

/// The private key, PKCS #8 as PEM.
const KEY: &str = "ca-key.pem";
/// The root certificates; the one that belongs to the key signs, further ones are trusted only.
const ROOT: &str = "root-cert.pem";

/// A CA whose key lies in a directory.
#[derive(Debug)]
pub struct LocalCa {
    authority: Authority,
    root: PathBuf,
    ttl: Duration,
}

impl LocalCa {
    /// Opens the CA in `directory`; creates both if they do not exist. Certificates are issued for `ttl`.
    ///
    /// # Errors
    /// A file that cannot be read or written, holds something else, or can be read or changed by other users.
    pub fn open_or_create(directory: &Path, ttl: Duration, now: SystemTime) -> Result<Self, LocalCaError> {
        create_directory(directory)?;
        let key_path = directory.join(KEY);
        let root_path = directory.join(ROOT);
        if !exists(&key_path)? {
            if exists(&root_path)? && !exists(&key_path)? {
                return Err(LocalCaError::KeyMissing { path: key_path });
            }
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(SignError::failed)?;
            publish(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        }
        let key = read_key(&key_path)?;
        if !exists(&root_path)? {
            let root = self_signed_root(&key, now)?;
            publish(&root_path, to_pem([&root]).as_bytes(), 0o644)?;
        }
        let roots = read_roots(&root_path)?;
        let signing = roots
            .iter()
            .find(|root| is_certificate_of(root, &key))
            .cloned()
            .ok_or_else(|| LocalCaError::Mismatch {
                key: key_path,
                root: root_path.clone(),
            })?;
        Ok(Self {
            authority: Authority::new(key, vec![signing], roots)?,
            root: root_path,
            ttl,
        })
    }

    /// The file with the root certificates: the trust bundle that goes with this CA.
    pub fn root_path(&self) -> &Path {
        &self.root
    }

    /// What signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What signs, for somebody else to sign with.
    pub fn into_authority(self) -> Authority {
        self.authority
    }

    fn issue_now(&self, identity: &Identity) -> Result<Issued, IssueError> {
        let unavailable = |reason: String| IssueError::Unavailable { reason };
        let request = Request::new(identity).map_err(|error| unavailable(error.to_string()))?;
        let signed = self
            .authority
            .issue(request.csr(), identity, self.ttl, SystemTime::now())
            .map_err(|error| unavailable(error.to_string()))?;
        let mut chain = vec![signed.leaf];
        chain.extend(signed.intermediates);
        Ok(Issued {
            chain,
            key: request.into_key(),
            roots: signed.roots,
        })
    }
}

impl Issuer for LocalCa {
    fn issue<'a>(&'a self, identity: &'a Identity) -> Issuing<'a> {
        // Two signatures of P-256, well under a millisecond: not worth a thread.
        Box::pin(async move { self.issue_now(identity) })
    }
}

fn create_directory(directory: &Path) -> Result<(), LocalCaError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o755);
    builder
        .create(directory)
        .map_err(|error| LocalCaError::io(directory, "create", &error))?;
    let metadata = fs::metadata(directory).map_err(|error| LocalCaError::io(directory, "read", &error))?;
    // Whoever may write the directory may replace the root. A sticky one, such as /tmp, protects each user's
    // files but not their names, so it will not do either.
    check_access(directory, &metadata, 0o022, "chmod go-w")
}

fn read_key(path: &Path) -> Result<KeyPair, LocalCaError> {
    let file = File::open(path).map_err(|error| LocalCaError::io(path, "open", &error))?;
    let metadata = file
        .metadata()
        .map_err(|error| LocalCaError::io(path, "read", &error))?;
    check_access(path, &metadata, 0o077, "chmod 600")?;
    let text = io::read_to_string(file).map_err(|error| LocalCaError::io(path, "read", &error))?;
    KeyPair::from_pem(&text).map_err(|error| LocalCaError::Content {
        path: path.to_owned(),
        expected: "a private key (PKCS #8, PEM)",
        reason: error.to_string(),
    })
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, LocalCaError> {
    let metadata = fs::metadata(path).map_err(|error| LocalCaError::io(path, "read", &error))?;
    // Whoever may write it may have any certificate trusted.
    check_access(path, &metadata, 0o022, "chmod go-w")?;
    let bytes = fs::read(path).map_err(|error| LocalCaError::io(path, "read", &error))?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| LocalCaError::Content {
            path: path.to_owned(),
            expected: "root certificates (PEM)",
            reason: error.to_string(),
        })
}

/// Refuses what is not ours, or what others may do something `forbidden` (permission bits) with.
fn check_access(
    path: &Path,
    metadata: &fs::Metadata,
    forbidden: u32,
    remedy: &'static str,
) -> Result<(), LocalCaError> {
    let (owner, us) = (metadata.uid(), geteuid().as_raw());
    // Root may do as it likes anyway, so its files are as safe as our own.
    if owner != us && owner != 0 {
        return Err(LocalCaError::Owner {
            path: path.to_owned(),
            owner,
            us,
        });
    }
    if metadata.mode() & forbidden != 0 {
        return Err(LocalCaError::Permissions {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
            remedy,
        });
    }
    Ok(())
}

fn exists(path: &Path) -> Result<bool, LocalCaError> {
    path.try_exists()
        .map_err(|error| LocalCaError::io(path, "look at", &error))
}

/// Gives `path` this content, unless it exists: then somebody else was first, and theirs stays.
fn publish(path: &Path, content: &[u8], mode: u32) -> Result<(), LocalCaError> {
    let temporary = path.with_extension(format!("{}-{:016x}.tmp", std::process::id(), fastrand::u64(..)));
    let linked = write(&temporary, content, mode).and_then(|()| match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    // It may not exist if it could not be written; the error that matters is the first one.
    let _ = fs::remove_file(&temporary);
    linked.map_err(|error| LocalCaError::io(path, "create", &error))
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    // Whoever sees the final name sees the whole content, after a crash of the machine too.
    file.sync_all()
}

/// Why a directory cannot be used as a CA.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LocalCaError {
    /// The system refused.
    #[error("local CA: cannot {action} {}: {reason}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: String,
    },
    /// Others may read the key, or replace files.
    #[error("local CA: {} may be used by others (mode {mode:04o}); run {remedy} on it", .path.display())]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What to do.
        remedy: &'static str,
    },
    /// It belongs to another user.
    #[error("local CA: {} belongs to user {owner}, we are {us}; use a directory of our own", .path.display())]
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// A file holds something else.
    #[error("local CA: {} does not hold {expected}: {reason}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A root without its key: making a new key would silently change whom the mesh trusts.
    #[error("local CA: there is a root certificate but {} is missing; restore it, or empty the directory", .path.display())]
    KeyMissing {
        /// The file that is missing.
        path: PathBuf,
    },
    /// Key and root certificate do not belong together.
    #[error("local CA: no certificate in {} belongs to the key in {}; restore the pair, or empty the directory", .root.display(), .key.display())]
    Mismatch {
        /// The file with the key.
        key: PathBuf,
        /// The file with the root certificates.
        root: PathBuf,
    },
    /// The key or the certificate cannot be used or made.
    #[error("local CA: {0}")]
    Sign(#[from] SignError),
}

impl LocalCaError {
    fn io(path: &Path, action: &'static str, error: &io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action,
            reason: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
