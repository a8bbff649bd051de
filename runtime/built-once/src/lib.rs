//! Nothing but dependencies, with the features that anything in the workspace asks of them.
//!
//! The snapshot's build script runs V8, too, and what a build script depends on has features of its own. Where they differ from
//! those of the programs, in one crate somewhere below, V8's crate and all of Deno's are compiled once for each. Both depend on
//! this, so both have all features. `scripts/lint` tells when something is missing here. What only tests ask for is in `for-tests/`.
