//! Manifests: text with objects in YAML, exactly as `kubectl apply` takes it.
//!
//! A document that cannot be understood is reported with its place, and says nothing about the others. What it is the text
//! of is known as far as its kind and name can be read, so that its last good state can stay.

use adit_mesh::Interner;
use serde_json::Value;

use crate::objects::{self, Key, Kind, Name, Read};

/// A document of a text.
#[derive(Clone, PartialEq, Debug)]
pub enum Document {
    /// An object.
    Object(Read),
    /// An object of a kind that makes no difference to the mesh: a Deployment, say.
    Other,
    /// What cannot be understood.
    Broken(Broken),
}

/// A document that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("document {number} (line {line}){}: {reason}", key.as_ref().map(|key| format!(", {key}")).unwrap_or_default())]
pub struct Broken {
    /// Which document of the text, from 1.
    pub number: usize,
    /// The line where it begins, from 1.
    pub line: usize,
    /// The object, as far as it could be read.
    pub key: Option<Key>,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads the documents of a text. A `List` is taken apart.
pub fn read(text: &str, texts: &mut Interner) -> Vec<Document> {
    let mut documents = Vec::new();
    for (number, (line, part)) in split(text).into_iter().enumerate() {
        let number = number + 1;
        let broken = |key, reason| {
            Document::Broken(Broken {
                number,
                line,
                key,
                reason,
            })
        };
        // `y` and `on` are texts, as for everybody who reads YAML 1.2.
        let options = serde_saphyr::options! { strict_booleans: true };
        let value = match serde_saphyr::from_str_with_options::<Value>(part, options) {
            Ok(value) => value,
            Err(error) => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                documents.push(broken(
                    None,
                    format!("not YAML: {}", first.trim_start_matches("error: ")),
                ));
                continue;
            }
        };
        let values = match value {
            Value::Null => continue,
            Value::Object(mut list) if list.get("kind").and_then(Value::as_str) == Some("List") => {
                match list.remove("items") {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                }
            }
            value => vec![value],
        };
        for value in values {
            documents.push(match object(value, texts) {
                Ok(Some(read)) => Document::Object(read),
                Ok(None) => Document::Other,
                Err((key, reason)) => broken(key, reason),
            });
        }
    }
    documents
}

type NotRead = (Option<Key>, String);

fn object(value: Value, texts: &mut Interner) -> Result<Option<Read>, NotRead> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let (Some(api_version), Some(kind)) = (text(value.get("apiVersion")), text(value.get("kind"))) else {
        return Err((None, "it has no apiVersion and kind".to_owned()));
    };
    let Some(kind) = Kind::of(&api_version, &kind) else {
        return Ok(None);
    };
    let metadata = value.get("metadata");
    let Some(name) = text(metadata.and_then(|meta| meta.get("name"))).filter(|name| !name.is_empty()) else {
        return Err((None, format!("this {} has no metadata.name", kind.name())));
    };
    let namespace = match text(metadata.and_then(|meta| meta.get("namespace"))) {
        _ if !kind.is_namespaced() => String::new(),
        Some(namespace) if !namespace.is_empty() => namespace,
        _ => "default".to_owned(),
    };
    let key = Key {
        kind,
        name: Name::new(namespace, name),
    };
    objects::read(kind, value, texts)
        .map(Some)
        .map_err(|reason| (Some(key), reason))
}

/// The documents of a text with the lines where they begin. A line that begins with `---` ends one wherever it stands
/// (YAML 1.2.2, section 9.1.1), also within text.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut begin, mut offset) = (0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.strip_prefix("---");
        if marker.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])) {
            parts.push((begin, &text[start..offset]));
            (start, begin) = (offset + 3, number + 1);
        }
        offset += line.len();
    }
    parts.push((begin, &text[start..]));
    let is_empty = |part: &str| {
        part.lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    };
    parts.retain(|(_, part)| !is_empty(part));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Object;

    fn documents(text: &str) -> Vec<Document> {
        read(text, &mut Interner::default())
    }

    fn broken(text: &str) -> String {
        match documents(text).remove(0) {
            Document::Broken(broken) => broken.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_documents_lists_and_comments() {
        let text = "# a comment\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n--- # b\n\
                    {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Pod, metadata: {name: p}}]}\n\
                    ---\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
        let documents = documents(text);
        let [Document::Object(first), Document::Object(second), Document::Other] = &documents[..] else {
            panic!("{documents:?}");
        };
        assert_eq!(first.object.key().to_string(), "Namespace a");
        assert_eq!(second.object.key().to_string(), "Pod default/p");
    }

    #[test]
    fn a_broken_document_is_named_and_the_others_are_read() {
        let text = "kind: [\n---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: bank}\nspec: {ports: 7}\n\
                    ---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
        let documents = documents(text);
        let [
            Document::Broken(first),
            Document::Broken(second),
            Document::Object(_),
        ] = &documents[..]
        else {
            panic!("{documents:?}");
        };
        assert_eq!((first.number, first.line), (1, 1));
        assert_eq!((second.number, second.line), (2, 2));
        assert!(
            second
                .to_string()
                .starts_with("document 2 (line 2), Service bank/s: "),
            "{second}"
        );
    }

    #[test]
    fn what_is_no_object_is_said() {
        assert!(broken("a: b").ends_with("it has no apiVersion and kind"));
        assert!(broken("apiVersion: v1\nkind: Pod").ends_with("this Pod has no metadata.name"));
    }

    #[test]
    fn fields_that_are_not_known_are_noted() {
        let text = "apiVersion: security.istio.io/v1beta1\nkind: AuthorizationPolicy\nmetadata: {name: p}\n\
                    spec: {rules: [{from: [{source: {planets: [mars]}}]}], mood: good}";
        let Document::Object(read) = documents(text).remove(0) else {
            panic!("broken");
        };
        assert_eq!(read.unknown, ["spec.mood", "spec.rules.0.from.0.source.planets"]);
        let Object::AuthorizationPolicy(policy) = read.object else {
            panic!("of another kind");
        };
        assert_eq!(policy.unknown.len(), 2);
    }
}
