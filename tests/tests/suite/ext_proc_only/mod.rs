//! What only the native mode can do.

mod carried_out;
mod failure;
