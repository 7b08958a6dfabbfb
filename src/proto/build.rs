//! Generates the Rust types of the `.proto` files beside this one. protox reads them, so that building Adit
//! needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=zds.proto");
    let files = protox::compile(["zds.proto"], ["."])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
