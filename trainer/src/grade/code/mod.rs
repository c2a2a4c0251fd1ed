//! Runs code that a model wrote, with the tests of its prompt.

mod fence;
mod python;

pub(crate) use fence::python_block;
pub(crate) use python::PythonRunner;
