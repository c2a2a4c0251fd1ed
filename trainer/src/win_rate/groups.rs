//! Groups of prompts that are not independent.

use std::collections::HashMap;

/// What dependent prompts have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Tie {
    /// The name of their group in the files.
    Name(String),
    /// Their text, except for capitals and white space, whatever was said before it.
    Text(String),
}

/// Groups of rows. Rows with a tie in common are in one group, and so are all that such rows connect (union-find).
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Leads from each node to another one of its group, and from the group's root to itself. Each row is a node.
    parents: Vec<usize>,
    tied: HashMap<Tie, usize>,
}

impl Groups {
    /// Adds a row with these ties. Returns its node.
    pub(super) fn add(&mut self, ties: impl IntoIterator<Item = Tie>) -> usize {
        let row = self.new_node();
        for tie in ties {
            let tied = *self.tied.entry(tie).or_insert(row);
            self.join(tied, row);
        }
        row
    }

    /// The numbers of the groups of these nodes: from 0, without gaps, in the order of their first nodes.
    pub(super) fn numbers(&mut self, nodes: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut known = HashMap::new();
        let number = |node| {
            let (root, next) = (self.root(node), known.len());
            *known.entry(root).or_insert(next)
        };
        nodes.into_iter().map(number).collect()
    }

    fn new_node(&mut self) -> usize {
        let node = self.parents.len();
        self.parents.push(node);
        node
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        // The lower one stays the root, so that the paths of later rows are short.
        self.set_parent(one.max(other), one.min(other));
    }

    /// The root of a node's group. Halves the path to it.
    fn root(&mut self, mut node: usize) -> usize {
        loop {
            let parent = self.parent(node);
            if parent == node {
                return node;
            }
            let next = self.parent(parent);
            self.set_parent(node, next);
            node = next;
        }
    }

    fn parent(&self, node: usize) -> usize {
        self.parents.get(node).copied().unwrap_or(node)
    }

    fn set_parent(&mut self, node: usize, parent: usize) {
        if let Some(old) = self.parents.get_mut(node) {
            *old = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_others_connect_are_in_one_group() {
        let mut groups = Groups::default();
        let (name, text) = (|name: &str| Tie::Name(name.into()), |text: &str| Tie::Text(text.into()));
        let rows = [
            groups.add([name("a"), text("x")]),
            groups.add([text("y")]),
            groups.add([name("b"), text("z")]),
            // A name is not a text.
            groups.add([text("a")]),
            // Connects the first row with the third one.
            groups.add([name("b"), text("x")]),
            groups.add([]),
        ];
        assert_eq!(groups.numbers(rows), [0, 1, 0, 2, 0, 3]);
    }

    #[test]
    fn a_long_chain_is_one_group() {
        let mut groups = Groups::default();
        let tie = |number: usize| Tie::Text(number.to_string());
        let rows: Vec<_> = (0..10_000).rev().map(|row| groups.add([tie(row), tie(row + 1)])).collect();
        assert!(groups.numbers(rows).iter().all(|number| *number == 0));
    }
}
