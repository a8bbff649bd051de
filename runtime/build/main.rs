//! Bakes the JavaScript surface into a startup snapshot, but for the parts of it that are loaded when they are first used.
//!
//! The snapshot holds for one V8 and one list of extensions only; building it with the crate keeps all three together.

#[path = "../src/dispatch.rs"]
#[expect(dead_code, reason = "no objects are run")]
mod dispatch;
mod warm;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use deno_core::snapshot::{CreateSnapshotOptions, create_snapshot};
use deno_core::wrap_lazy_ext_script;

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
    write_parts(&out, &snapshot.consumed_lazy_specifiers)?;
    for changed in [
        "build",
        "src/dispatch.rs",
        "src/expression.rs",
        "surface/js",
    ] {
        tell_cargo(&format!("rerun-if-changed={changed}"));
    }
    Ok(())
}

/// Writes the sources of all parts that are not in the snapshot, as a table for [`portside_surface::parts`].
fn write_parts(out: &Path, in_snapshot: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let mut table = String::from("&[\n");
    for file in portside_surface::extensions()
        .iter()
        .flat_map(|extension| extension.lazy_loaded_js_files.iter())
        .filter(|file| !in_snapshot.iter().any(|name| name == file.specifier))
    {
        let source = wrap_lazy_ext_script(file.load()?.as_str());
        let name = file.specifier.replace([':', '/'], "_");
        std::fs::write(out.join(&name), source)?;
        let part = format!("include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\"))");
        writeln!(
            table,
            "    ({:?}, deno_core::v8::String::create_external_onebyte_const({part})),",
            file.specifier
        )?;
    }
    table.push_str("]\n");
    std::fs::write(out.join("parts.rs"), table)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "cargo reads it")]
fn tell_cargo(instruction: &str) {
    println!("cargo::{instruction}");
}
