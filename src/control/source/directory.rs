//! Objects from a directory of manifests, read again whenever something in it changes.
//!
//! Every file that ends in `.yaml`, `.yml` or `.json` counts, in all folders below. Of an object that two documents
//! describe the first counts, in the order of the files' names, and the other is reported. A document that cannot be
//! understood leaves its object as it was; a file that cannot be read leaves all of its objects.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use adit_mesh::Interner;

use super::manifest::{self, Document};
use crate::graph::Event;
use crate::objects::{Key, Object};

/// What is wrong in a directory, for people.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, where.
    pub problem: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

/// A directory, and what was read of it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    texts: Interner,
    /// The objects as they were told, each with its file.
    objects: BTreeMap<Key, (PathBuf, Object)>,
}

impl Directory {
    /// A directory of which nothing has been read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            texts: Interner::default(),
            objects: BTreeMap::new(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads everything: what is different from the last time, and what is wrong.
    ///
    /// # Errors
    /// The directory itself cannot be read; everything stays as it was.
    pub fn read(&mut self) -> io::Result<(Vec<Event>, Vec<Problem>)> {
        let files = files(&self.path)?;
        let mut now: BTreeMap<Key, (PathBuf, Object)> = BTreeMap::new();
        let mut kept = Vec::new();
        let mut problems = Vec::new();
        for path in files {
            let mut report = |problem: String| {
                problems.push(Problem {
                    path: path.clone(),
                    problem,
                });
            };
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                // It has gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    report(format!("cannot be read ({error}); its objects stay as they were"));
                    let own = self.objects.iter().filter(|(_, (file, _))| *file == path);
                    kept.extend(own.map(|(key, _)| key.clone()));
                    continue;
                }
            };
            for document in manifest::read(&text, &mut self.texts) {
                match document {
                    Document::Other => {}
                    Document::Broken(broken) => {
                        report(format!("{broken}; what was there before stays"));
                        match broken.key {
                            Some(key) => kept.push(key),
                            // It may be any of the file's.
                            None => {
                                let own = self.objects.iter().filter(|(_, (file, _))| *file == path);
                                kept.extend(own.map(|(key, _)| key.clone()));
                            }
                        }
                    }
                    Document::Object(read) => {
                        let key = read.object.key();
                        if !read.unknown.is_empty() {
                            report(format!(
                                "{key}: fields that are not known: {}",
                                read.unknown.join(", ")
                            ));
                        }
                        if let Some((other, _)) = now.get(&key) {
                            report(format!("{key} is also in {}, which counts", other.display()));
                            continue;
                        }
                        now.insert(key, (path.clone(), read.object));
                    }
                }
            }
        }
        for key in kept {
            if let Some(before) = self.objects.get(&key)
                && !now.contains_key(&key)
            {
                now.insert(key, before.clone());
            }
        }
        let gone = self.objects.keys().filter(|key| !now.contains_key(key));
        let mut events: Vec<_> = gone.map(|key| Event::Gone(key.clone())).collect();
        let changed = now
            .iter()
            .filter(|(key, (_, object))| self.objects.get(key).is_none_or(|(_, before)| before != object));
        events.extend(changed.map(|(_, (_, object))| Event::Put(object.clone())));
        self.objects = now;
        problems.sort();
        Ok((events, problems))
    }
}

/// The files with manifests, in the order of their names.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            // Editors and Kubernetes keep their own files and folders under names that begin with a dot.
            let hidden = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if hidden {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if matches!(
                path.extension().and_then(|extension| extension.to_str()),
                Some("yaml" | "yml" | "json")
            ) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: bank, labels: {a: b}}\n";
    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: bank}\n";

    fn told(directory: &mut Directory) -> (Vec<String>, Vec<String>) {
        let (events, problems) = directory.read().expect("readable");
        let events = events.iter().map(|event| match event {
            Event::Put(object) => format!("put {}", object.key()),
            Event::Gone(key) => format!("gone {key}"),
        });
        let text = |problem: &Problem| {
            let file = problem.path.file_name().expect("a name").to_string_lossy();
            format!("{file}: {}", problem.problem)
        };
        (events.collect(), problems.iter().map(text).collect())
    }

    #[test]
    fn tells_what_is_different() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("a.yaml", NAMESPACE);
        std::fs::create_dir(folder.path().join("more")).expect("a folder");
        write("more/b.yml", SERVICE);
        write("notes.txt", "kind: [");
        let mut directory = Directory::new(folder.path());
        let all = ["put Namespace bank", "put Service bank/s"].map(str::to_owned);
        assert_eq!(told(&mut directory), (all.to_vec(), vec![]));
        assert_eq!(told(&mut directory), (vec![], vec![]));
        write("a.yaml", &NAMESPACE.replace("a: b", "a: c"));
        std::fs::remove_file(folder.path().join("more/b.yml")).expect("removed");
        let (events, _) = told(&mut directory);
        assert_eq!(events, ["gone Service bank/s", "put Namespace bank"]);
    }

    #[test]
    fn what_cannot_be_understood_leaves_its_object_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |text: &str| std::fs::write(folder.path().join("a.yaml"), text).expect("written");
        write(&format!("{NAMESPACE}---\n{SERVICE}"));
        let mut directory = Directory::new(folder.path());
        assert_eq!(told(&mut directory).0.len(), 2);
        write(&format!("{NAMESPACE}---\n{SERVICE}spec: 7\n"));
        let (events, problems) = told(&mut directory);
        assert_eq!(events, Vec::<String>::new());
        assert!(
            problems[0].starts_with("a.yaml: document 2 (line 4), Service bank/s: "),
            "{problems:?}"
        );
        // Which object it is cannot be read: any of the file's may be meant.
        write("kind: [");
        assert_eq!(told(&mut directory).0, Vec::<String>::new());
        write(NAMESPACE);
        assert_eq!(told(&mut directory).0, ["gone Service bank/s"]);
    }

    #[test]
    fn of_two_documents_of_one_object_the_first_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("b.yaml"), NAMESPACE.replace("a: b", "a: x")).expect("written");
        std::fs::write(folder.path().join("a.yaml"), NAMESPACE).expect("written");
        let mut directory = Directory::new(folder.path());
        let (events, problems) = directory.read().expect("readable");
        let [Event::Put(Object::Namespace(namespace))] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(
            namespace.meta.labels.get("a").map(|value| value.as_str()),
            Some("b")
        );
        assert!(
            problems[0].problem.contains("Namespace bank is also in"),
            "{problems:?}"
        );
    }
}
