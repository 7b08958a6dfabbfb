//! What surrounds the process, as a value, so that a test needs neither variables nor files of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

/// Gives the text of a file.
type ReadFile = dyn Fn(&Path) -> io::Result<String> + Send + Sync;

/// Variables, files and cores.
pub struct Environment {
    variables: BTreeMap<String, String>,
    read: Box<ReadFile>,
    /// The cores that this process may run on.
    pub cores: NonZeroUsize,
}

impl Environment {
    /// That of this process. What is not UTF-8 gets replacement characters, which no setting accepts.
    pub fn of_this_process() -> Self {
        let variables = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .collect();
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self::new(variables, cores, |path| std::fs::read_to_string(path))
    }

    /// An environment with these variables, whose files are read by `read`.
    pub fn new(
        variables: BTreeMap<String, String>,
        cores: NonZeroUsize,
        read: impl Fn(&Path) -> io::Result<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            variables,
            read: Box::new(read),
            cores,
        }
    }

    /// The value of a variable, without the white space around it. An empty one counts as not set, as Kubernetes
    /// passes on a field that has no value.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        super::read::given(self.variables.get(name).map(String::as_str))
    }

    /// All variables, with their values as they are.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The text of a file, `None` if there is no such file.
    pub(super) fn file(&self, path: &Path) -> io::Result<Option<String>> {
        match (self.read)(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Environment {
    /// Without the values: there may be tokens among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.keys())
            .field("cores", &self.cores)
            .finish_non_exhaustive()
    }
}
