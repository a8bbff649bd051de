//! Being made.

fn main() {}
