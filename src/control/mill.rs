//! The mill: takes events in, makes resources of them, and publishes catalogs.
//!
//! One task owns the graph. Events are taken in as they come, which costs little; what follows from them is made when
//! they are published, so that of a pod that changes three times in a rollout only the last state is made.

use std::sync::Arc;
use std::time::Instant;

use adit_discovery::xds::{Catalog, Clients, Debounce, debounce::Waiting};
use tokio::sync::{mpsc, watch};

use crate::graph::{Event, Graph};
use crate::metrics::Metrics;
use crate::objects::Kind;
use crate::placement::Placement;
use crate::settings::Settings;
use crate::source::Told;
use crate::translate::Condition;

/// What is said about objects, by their names.
pub type Conditions = Arc<Vec<(String, Vec<Condition>)>>;

/// Makes catalogs of events.
#[derive(Debug)]
pub struct Mill {
    graph: Graph,
    catalog: Catalog,
    debounce: Debounce,
    placement: Placement,
    metrics: Arc<Metrics>,
    published: watch::Sender<Option<Catalog>>,
    conditions: watch::Sender<Conditions>,
}

impl Mill {
    /// A mill that has seen nothing, and publishes nothing before it has seen everything.
    pub fn new(settings: Settings, debounce: Debounce, placement: Placement, metrics: Arc<Metrics>) -> Self {
        Self {
            graph: Graph::new(settings),
            catalog: Catalog::new(Instant::now()),
            debounce,
            placement,
            metrics,
            published: watch::Sender::new(None),
            conditions: watch::Sender::default(),
        }
    }

    /// What is published.
    pub fn published(&self) -> watch::Receiver<Option<Catalog>> {
        self.published.subscribe()
    }

    /// What the authors of objects must be told.
    pub fn conditions(&self) -> watch::Receiver<Conditions> {
        self.conditions.subscribe()
    }

    /// Runs until the source ends. `clients` are those who are served: they say what they have accepted.
    pub async fn run(mut self, mut source: mpsc::Receiver<Told>, clients: Clients) {
        let mut complete = false;
        let mut waiting: Option<Waiting> = None;
        let mut progress = clients.changed();
        loop {
            let strictness = self.graph.strictness_due();
            let strictness = async {
                match strictness {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            let due = waiting
                .filter(|_| complete)
                .map(|waiting| waiting.due(&self.debounce));
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                told = source.recv() => match told {
                    Some(Told::Event(event)) => {
                        let (now, urgent) = (Instant::now(), is_urgent(&event));
                        self.take(event);
                        match &mut waiting {
                            Some(waiting) => waiting.note(now, urgent),
                            None => waiting = Some(Waiting::new(now, urgent)),
                        }
                    }
                    Some(Told::Complete) => {
                        if !complete {
                            complete = true;
                            let since = waiting.take().map_or_else(Instant::now, |waiting| waiting.since());
                            self.graph.hold_strictness();
                            self.publish(since);
                            tracing::info!(objects = ?self.graph.counts(), "everything has been seen");
                        }
                    }
                    None => return,
                },
                () = due => {
                    if let Some(waiting) = waiting.take() {
                        self.publish(waiting.since());
                    }
                }
                changed = progress.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.acknowledge(&clients, &mut waiting);
                }
                () = strictness => self.acknowledge(&clients, &mut waiting),
            }
        }
    }

    /// Pods that everybody knows by now become strict.
    fn acknowledge(&mut self, clients: &Clients, waiting: &mut Option<Waiting>) {
        let now = Instant::now();
        self.graph
            .acknowledged(clients.accepted_by_all(adit_discovery::xds::Kind::Address), now);
        if self.graph.is_dirty() && waiting.is_none() {
            *waiting = Some(Waiting::new(now, true));
        }
    }

    fn take(&mut self, event: Event) {
        self.metrics.event(&event);
        self.placement.apply(&event);
        self.graph.apply(event);
    }

    fn publish(&mut self, since: Instant) {
        let settled = self.graph.settle();
        // There are as many as objects: they are gathered when one is different, not for each pod that comes.
        if settled.conditions_changed {
            let all = self.graph.conditions().iter();
            let all = all.map(|(key, conditions)| (key.to_string(), conditions.clone()));
            self.conditions.send_replace(Arc::new(all.collect()));
        }
        let next = self.catalog.with(settled.changes, since);
        let first = self.published.borrow().is_none();
        if let Some(next) = next {
            self.catalog = next;
        } else if !first {
            return;
        }
        self.graph.published(self.catalog.generation());
        self.metrics.published(&self.catalog);
        tracing::debug!(
            generation = self.catalog.generation(),
            computed = settled.computed,
            "published"
        );
        self.published.send_replace(Some(self.catalog.clone()));
    }
}

/// What may make the mesh stricter, or takes something away.
fn is_urgent(event: &Event) -> bool {
    match event {
        Event::Gone(_) => true,
        Event::Put(object) => matches!(
            object.key().kind,
            Kind::AuthorizationPolicy | Kind::PeerAuthentication | Kind::Namespace
        ),
    }
}
