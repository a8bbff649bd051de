//! Nothing but dependencies, with the features that only tests ask for.
//!
//! Programs that are built beside tests (`cargo build --workspace --bin NAME`) have them too, because this is in the workspace,
//! and so share the tests' build. Nothing depends on this, so a release, which selects its packages by name, has none of them.
