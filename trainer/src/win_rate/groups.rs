//! Numbers for groups of prompts that are not independent.

use std::collections::HashMap;

/// The numbers of groups, by their names in the files.
#[derive(Default)]
pub(super) struct Groups {
    named: HashMap<String, usize>,
    next: usize,
}

impl Groups {
    /// The number of a named group, or of a new one.
    pub(super) fn number(&mut self, name: Option<String>) -> usize {
        let number = match &name {
            Some(name) => self.named.get(name).copied().unwrap_or(self.next),
            None => self.next,
        };
        if number == self.next {
            self.next += 1;
        }
        if let Some(name) = name {
            self.named.insert(name, number);
        }
        number
    }
}
