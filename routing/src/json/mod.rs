//! Reads JSON where it lies: finds members and their places without building a tree, and skips at the speed of memory.

mod escape;
mod quotes;
mod scanner;
mod string;
#[cfg(test)]
mod tests;

pub(crate) use scanner::{Key, MAX_ITEMS, Scanner, SyntaxError};
pub(crate) use string::RawString;
