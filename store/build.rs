//! Rebuilds when a migration is added: `sqlx::migrate!` alone only notices changes to those it has seen.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
