//! Generates the Rust types of the `.proto` files beside this one. protox reads them, so that building Adit
//! needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 3] = ["authorization.proto", "workload.proto", "zds.proto"];
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let files = protox::compile(FILES, ["."])?;
    // Maps in order, so that equal messages have equal bytes.
    prost_build::Config::new().btree_map(["."]).compile_fds(files)?;
    Ok(())
}
