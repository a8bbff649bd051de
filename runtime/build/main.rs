//! Bakes the JavaScript surface into a startup snapshot.
//!
//! The snapshot holds for one V8 and one list of extensions only; building it with the crate keeps all three together.

#[path = "../src/dispatch.rs"]
mod dispatch;
mod warm;

use std::path::PathBuf;

use deno_core::snapshot::{CreateSnapshotOptions, create_snapshot};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = CreateSnapshotOptions {
        cargo_manifest_dir: env!("CARGO_MANIFEST_DIR"),
        startup_snapshot: None,
        skip_op_registration: false,
        extensions: portside_surface::extensions(),
        extension_transpiler: None,
        with_runtime_cb: Some(Box::new(|runtime| warm::up(runtime))),
    };
    let snapshot = create_snapshot(options, None)?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("surface.snapshot"), &snapshot.output)?;
    for changed in ["build", "src/dispatch.rs", "surface/js"] {
        tell_cargo(&format!("rerun-if-changed={changed}"));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "cargo reads it")]
fn tell_cargo(instruction: &str) {
    println!("cargo::{instruction}");
}
