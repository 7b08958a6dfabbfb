//! A persistent sorted set of endpoints that one can be drawn from.
//!
//! `imbl` has a sorted map that cannot be indexed, and a vector that can, but which copies some sixty chunks (four
//! thousand pointers) when something is inserted in its middle. So: a persistent vector of chunks of at most 64
//! endpoints. A change copies one chunk and the path to it, and every thirtieth or so splits or merges chunks; the
//! vector of chunks is 64 times shorter than the set, so that its middle is cheap. An endpoint costs about ten bytes.

use std::sync::Arc;

use imbl::Vector;

use crate::text::Text;
use crate::workload::Workload;

/// A chunk that would grow beyond this is split.
const MOST: usize = 64;
/// A chunk that shrinks below this is joined with its neighbour. A quarter, so that a chunk which was just split or
/// joined is far from both limits.
const LEAST: usize = MOST / 4;

/// Endpoints in the order of their uids.
#[derive(Clone, Default, Debug)]
pub(super) struct Members {
    /// None is empty; all but an only one hold at least `LEAST`.
    chunks: Vector<Arc<Vec<Arc<Workload>>>>,
    len: usize,
}

/// Where the chunks begin and end depends on history, so only the endpoints are compared.
impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Workload>, &Arc<Workload>)| Arc::ptr_eq(a, b) || a == b;
        self.len == other.len && self.iter().zip(other.iter()).all(same)
    }
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// One of them, each with the same probability: a place is drawn in a chunk that is drawn, until it is
    /// one that holds an endpoint. Chunks are more than half full on average, and never less than a quarter.
    pub(super) fn draw(&self, random: &mut fastrand::Rng) -> Option<&Arc<Workload>> {
        if self.chunks.len() == 1 {
            return self.chunks.front()?.get(random.usize(..self.len));
        }
        while !self.is_empty() {
            let chunk = self.chunks.get(random.usize(..self.chunks.len()))?;
            if let Some(drawn) = chunk.get(random.usize(..MOST)) {
                return Some(drawn);
            }
        }
        None
    }

    /// Adds an endpoint, or replaces the one with its uid.
    pub(super) fn insert(&mut self, endpoint: Arc<Workload>) {
        if self.chunks.is_empty() {
            self.chunks.push_back(Arc::new(vec![endpoint]));
            self.len = 1;
            return;
        }
        let at = self.chunk_of(&endpoint.uid);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        let chunk = Arc::make_mut(chunk);
        match position(chunk, &endpoint.uid) {
            Ok(index) => {
                chunk[index] = endpoint;
                return;
            }
            Err(index) => chunk.insert(index, endpoint),
        }
        self.len += 1;
        if chunk.len() > MOST {
            let upper = chunk.split_off(chunk.len() / 2);
            self.chunks.insert(at + 1, Arc::new(upper));
        }
    }

    /// Removes the endpoint with this uid, if it is there.
    pub(super) fn remove(&mut self, uid: &Text) {
        let at = self.chunk_of(uid);
        // Looked up before anything is copied.
        let Some(index) = self.chunks.get(at).and_then(|chunk| position(chunk, uid).ok()) else {
            return;
        };
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        let chunk = Arc::make_mut(chunk);
        chunk.remove(index);
        self.len -= 1;
        let left = chunk.len();
        if left == 0 {
            self.chunks.remove(at);
        } else if left < LEAST && self.chunks.len() > 1 {
            self.join(at.min(self.chunks.len() - 2));
        }
    }

    /// Joins a chunk with the one after it, or evens them out if one chunk cannot hold both.
    fn join(&mut self, at: usize) {
        let upper = self.chunks.remove(at + 1);
        let Some(lower) = self.chunks.get_mut(at) else {
            return;
        };
        let lower = Arc::make_mut(lower);
        lower.extend(upper.iter().cloned());
        if lower.len() > MOST {
            let upper = lower.split_off(lower.len() / 2);
            self.chunks.insert(at + 1, Arc::new(upper));
        }
    }

    /// The chunk that holds the uid, or would.
    fn chunk_of(&self, uid: &Text) -> usize {
        let found = self
            .chunks
            .binary_search_by(|chunk| chunk.first().map(|first| &first.uid).cmp(&Some(uid)));
        found.unwrap_or_else(|after| after.saturating_sub(1))
    }
}

fn position(chunk: &[Arc<Workload>], uid: &Text) -> Result<usize, usize> {
    chunk.binary_search_by(|member| member.uid.cmp(uid))
}

#[cfg(test)]
mod tests;
