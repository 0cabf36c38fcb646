//! Compiles a policy as it is written into plans, and finds everything that is wrong with it.
//!
//! `build` drives the [`Compiler`](compiler::Compiler); `rules` and `tiers` add to it what compiles
//! general limits and tiers. `warnings` finds what can have no effect.

mod build;
mod compiler;
mod names;
mod rules;
mod shared;
mod tiers;
mod warnings;
