//! Names that somebody may have meant: what an error offers in place of a name that nothing has.
//!
//! A name is near when few letters would have to be changed, added, left out or swapped with their neighbour to make
//! it the other (optimal string alignment, after Damerau, "A technique for computer detection and correction of spelling
//! errors", 1964), or when it goes on from, or leads up to, what was asked for.

use std::fmt::Write;

/// How many names are offered.
const MOST: usize = 3;

/// So few names may be listed all, when none of them is near.
const FEW: usize = 8;

/// The names that are near `wanted`, the nearest first, at most three.
pub fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let allowed = (wanted.chars().count() / 3).max(1);
    let mut found: Vec<_> = names
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance = distance(&wanted, &lower);
            let begins = lower.starts_with(&wanted) || (!lower.is_empty() && wanted.starts_with(&lower));
            // What merely begins the same comes after what is nearly the same.
            let rank = if distance <= allowed {
                distance
            } else {
                allowed + 1
            };
            (distance <= allowed || begins).then_some((rank, name))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST);
    found.into_iter().map(|(_, name)| name).collect()
}

/// The end of a sentence that says that nothing is called `wanted`: which names are near, or, where none is and there
/// are few, which names there are. Empty when there is nothing to offer.
pub fn hint<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let near = near(wanted, names.iter().copied());
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match (&near[..], &names[..]) {
        ([], []) => write!(text, "; there is none at all"),
        ([], all) if all.len() <= FEW => write!(text, "; there are {}", all.join(", ")),
        ([], _) => Ok(()),
        (near, _) => write!(text, "; did you mean {}?", near.join(" or ")),
    };
    text
}

/// How many letters differ. Linear in memory: three rows of the table are enough.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<_>, Vec<_>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let same = one[i - 1] == other[j - 1];
            let changed = above[j - 1] + usize::from(!same);
            let mut least = changed.min(above[j] + 1).min(row[j - 1] + 1);
            let swapped = i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
            if swapped && !same {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["ledger-1", "ledger-2", "payments", "customer-analytics", "web"];

    #[test]
    fn a_slip_of_the_finger_is_near() {
        assert_eq!(near("ledgre-1", NAMES), ["ledger-1", "ledger-2"]);
        assert_eq!(near("Payment", NAMES), ["payments"]);
        assert_eq!(near("wbe", NAMES), ["web"]);
    }

    #[test]
    fn the_beginning_of_a_name_is_near() {
        assert_eq!(near("customer", NAMES), ["customer-analytics"]);
        assert_eq!(near("ledger-17", NAMES), ["ledger-1", "ledger-2"]);
        assert!(near("bank", NAMES).is_empty());
    }

    #[test]
    fn a_hint_offers_what_is_near_or_all_of_few() {
        assert_eq!(hint("wep", NAMES), "; did you mean web?");
        assert_eq!(
            hint("bank", NAMES),
            "; there are customer-analytics, ledger-1, ledger-2, payments, web"
        );
        assert_eq!(hint("bank", []), "; there is none at all");
        let many: Vec<_> = (0..20).map(|number| format!("pod-{number}")).collect();
        assert_eq!(hint("bank", many.iter().map(String::as_str)), "");
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }
}
