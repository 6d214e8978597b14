//! Doubly linked lists through an array: order without allocation, every operation in constant time.
//!
//! One [`Links`] holds the links of as many nodes as it has places; a node is in at most one list of that
//! `Links` at a time. The lists are: free places, entries in the order they may be evicted, packets that wait.

const END: u32 = u32::MAX;

/// One list: where it begins and ends, and how many nodes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    pub(super) const EMPTY: List = List { head: END, tail: END, len: 0 };

    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    /// The node that is in the list for longest.
    pub(super) const fn front(&self) -> Option<usize> {
        if self.head == END { None } else { Some(self.head as usize) }
    }
}

#[derive(Clone, Copy)]
struct Node {
    before: u32,
    after: u32,
}

/// The links of all nodes.
pub(super) struct Links(Box<[Node]>);

impl Links {
    pub(super) fn new(nodes: usize) -> Self {
        Links(vec![Node { before: END, after: END }; nodes].into_boxed_slice())
    }

    /// Appends a node that is in no list.
    pub(super) fn push(&mut self, list: &mut List, node: usize) {
        let before = list.tail;
        self.0[node] = Node { before, after: END };
        match self.0.get_mut(before as usize) {
            Some(tail) => tail.after = node as u32,
            None => list.head = node as u32,
        }
        list.tail = node as u32;
        list.len += 1;
    }

    /// Takes a node out of the list it is in.
    pub(super) fn unlink(&mut self, list: &mut List, node: usize) {
        let Node { before, after } = self.0[node];
        match self.0.get_mut(before as usize) {
            Some(node) => node.after = after,
            None => list.head = after,
        }
        match self.0.get_mut(after as usize) {
            Some(node) => node.before = before,
            None => list.tail = before,
        }
        list.len -= 1;
    }

    /// Takes the node that is in the list for longest.
    pub(super) fn pop(&mut self, list: &mut List) -> Option<usize> {
        let node = list.front()?;
        self.unlink(list, node);
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn two_lists_through_one_array_are_two_queues(steps in prop::collection::vec((0u8..3, 0usize..8), 0..200)) {
            let mut links = Links::new(8);
            let mut lists = [List::EMPTY; 2];
            let mut model: [VecDeque<usize>; 2] = Default::default();
            for (step, node) in steps {
                let holder = model.iter().position(|queue| queue.contains(&node));
                match (step, holder) {
                    (0, None) | (1, None) => {
                        links.push(&mut lists[step as usize], node);
                        model[step as usize].push_back(node);
                    }
                    (2, Some(holder)) => {
                        links.unlink(&mut lists[holder], node);
                        model[holder].retain(|&n| n != node);
                    }
                    (step, _) => {
                        let which = (step & 1) as usize;
                        prop_assert_eq!(links.pop(&mut lists[which]), model[which].pop_front());
                    }
                }
                for (list, queue) in lists.iter().zip(&model) {
                    prop_assert_eq!((list.len(), list.front()), (queue.len(), queue.front().copied()));
                }
            }
        }
    }
}
