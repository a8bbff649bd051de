//! Single pods by hand; several on a model of the store, whose statements run late and whose answers get lost.

mod model;
mod share;
mod sharing;
mod single;
mod world;
