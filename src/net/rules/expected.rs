//! What our table looks like when `nft` lists it.
//!
//! Every version of the program prints rules in its own spelling, so the expected listing is not written down here: the
//! rules are loaded into a namespace made for it, and listed. That costs some tens of milliseconds, once for each
//! combination of options.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Options, RulesError, nft, render};
use crate::namespace::{Namespace, NamespaceError};

/// Listings made so far. A node has a handful of combinations, each virtual interface name counted.
static LISTINGS: Mutex<Option<HashMap<Options, Arc<str>>>> = Mutex::new(None);

/// How many listings are kept at most.
const LISTINGS_KEPT: usize = 64;

/// The listing of the table of `options`, remembered from an earlier time if there was one.
pub(super) fn listing(options: &Options) -> Result<Arc<str>, RulesError> {
    let remembered = LISTINGS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .and_then(|listings| listings.get(options).cloned());
    match remembered {
        Some(listing) => Ok(listing),
        None => listing_afresh(options),
    }
}

/// The listing of the table of `options`, made now and remembered.
pub(super) fn listing_afresh(options: &Options) -> Result<Arc<str>, RulesError> {
    let scratch = Namespace::create().map_err(|error| match error {
        NamespaceError::Create(errno) | NamespaceError::Open { errno, .. } => RulesError::Scratch(errno),
        _ => RulesError::Scratch(nix::errno::Errno::EIO),
    })?;
    let action = "load the pod's rules into an empty namespace";
    nft::load(&scratch, action, &render::replacement(options))?;
    let listing: Arc<str> = nft::list_table(&scratch)?
        .ok_or_else(|| RulesError::Refused {
            action,
            message: "the table is not there afterwards".to_owned(),
        })?
        .into();
    let mut listings = LISTINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let listings = listings.get_or_insert_default();
    if listings.len() >= LISTINGS_KEPT {
        listings.clear();
    }
    listings.insert(options.clone(), listing.clone());
    Ok(listing)
}

/// The first difference, in words.
pub(super) fn difference(expected: &str, found: &str) -> Option<String> {
    let mut wanted = expected.lines();
    let mut present = found.lines();
    loop {
        match (wanted.next(), present.next()) {
            (None, None) => return None,
            (Some(wanted), Some(present)) if wanted == present => {}
            (Some(wanted), Some(present)) => {
                return Some(format!(
                    "found {:?} in place of {:?}",
                    present.trim(),
                    wanted.trim()
                ));
            }
            (Some(wanted), None) => return Some(format!("{:?} is missing", wanted.trim())),
            (None, Some(present)) => return Some(format!("{:?} is too much", present.trim())),
        }
    }
}
