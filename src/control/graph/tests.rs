mod cases;
mod gate;
mod random;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use adit_discovery::wire;
use adit_discovery::xds::catalog::{Catalog, Table};
use adit_discovery::xds::{Kind as Wire, Resource};
use adit_mesh::registry::LocalNode;
use adit_mesh::{Interner, Registry, Store};

use super::*;
use crate::source::manifest::{self, Document};

/// A graph, and what its changes have made.
struct Bench {
    graph: Graph,
    made: Catalog,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self {
            graph: Graph::new(settings),
            made: Catalog::new(Instant::now()),
        }
    }

    fn with(settings: Settings, text: &str) -> Self {
        let mut bench = Self::new(settings);
        bench.apply(text);
        bench
    }

    /// Applies the objects of a text, and settles.
    fn apply(&mut self, text: &str) -> Settled {
        for object in objects(text) {
            self.graph.apply(Event::Put(object));
        }
        self.settle()
    }

    fn settle(&mut self) -> Settled {
        let settled = self.graph.settle();
        let next = self.made.with(settled.changes.iter().cloned(), Instant::now());
        self.made = next.unwrap_or_else(|| self.made.clone());
        settled
    }

    fn registry(&self) -> Arc<Registry> {
        registry(&self.made)
    }
}

fn objects(text: &str) -> Vec<Object> {
    let documents = manifest::read(text, &mut Interner::default());
    let object = |document| match document {
        Document::Object(read) => Some(read.object),
        Document::Other => None,
        Document::Broken(broken) => panic!("{broken}"),
    };
    documents.into_iter().filter_map(object).collect()
}

/// What a tunnel makes of a catalog.
fn registry(catalog: &Catalog) -> Arc<Registry> {
    let store = Store::new(LocalNode::default());
    let mut texts = Interner::default();
    let mut batch = Vec::new();
    for resource in catalog.all(Wire::Address) {
        let read = wire::read_address(resource.name(), resource.content(), &mut texts);
        batch.push(read.unwrap_or_else(|rejection| panic!("{resource:?}: {}", rejection.reason)));
    }
    for resource in catalog.all(Wire::Authorization) {
        let read = wire::read_authorization(resource.name(), resource.content(), &mut texts);
        batch.push(read.unwrap_or_else(|rejection| panic!("{resource:?}: {}", rejection.reason)));
    }
    store.update(batch);
    store.snapshot()
}

/// Everything by name, with what tells versions apart.
fn versions(catalog: &Catalog) -> BTreeMap<(Table, String), u64> {
    let all = catalog.all(Wire::Address).chain(catalog.all(Wire::Authorization));
    let of = |one: &Resource| ((one.table(), one.name().to_string()), one.version());
    all.map(of).collect()
}
