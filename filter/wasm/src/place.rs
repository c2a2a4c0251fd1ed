//! Telling parts of the configuration apart without their names.

use std::ptr;

/// Where a part of the configuration lies in memory, all the time that the configuration is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place(usize);

impl Place {
    pub(crate) fn of<T: ?Sized>(part: &T) -> Self {
        Self(ptr::from_ref(part).addr())
    }
}
