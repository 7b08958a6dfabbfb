//! The mesh from a YAML file: whatever is accepted of it is shown by `config_dump` so that it reads as the same mesh,
//! without a rejection and without a warning.

#![no_main]

use adit_discovery::config_dump;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(text) = adit_fuzz::text(bytes) else {
        return;
    };
    let Some((registry, _)) = adit_fuzz::registry(text) else {
        return;
    };
    let dump = config_dump(&registry);
    let (again, blemishes) = adit_fuzz::registry(&dump.to_string()).expect("a dump is a mesh file");
    assert_eq!(blemishes, 0, "a dump has blemishes: {dump}");
    assert_eq!(config_dump(&again), dump);
});
