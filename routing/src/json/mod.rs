//! Reads JSON in place: finds members and their positions without building a tree, and skips values fast.

mod escape;
mod quotes;
mod scanner;
mod string;
#[cfg(test)]
mod tests;

pub(crate) use scanner::{Key, MAX_ITEMS, Scanner, SyntaxError};
pub(crate) use string::RawString;
