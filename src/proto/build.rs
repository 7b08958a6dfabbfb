//! Generates the Rust types of the `.proto` files beside this one. protox reads them, so that building Adit
//! needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 5] = [
        "authorization.proto",
        "ca.proto",
        "discovery.proto",
        "workload.proto",
        "zds.proto",
    ];
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let files = protox::compile(FILES, ["."])?;
    let mut config = tonic_prost_build::Config::new();
    // Maps in order, so that equal messages have equal bytes; resources shared, not copied.
    config.btree_map(["."]).bytes([".envoy.service.discovery.v3"]);
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds_with_config(files, config)?;
    Ok(())
}
