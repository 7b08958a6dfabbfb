//! What the tests of this room share: a small hierarchy of authorities, certificates of every flaw, a clock that
//! can be set.
