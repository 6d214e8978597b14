//! Changes, and how a reader never sees half of one.
//!
//! Words 0, 1 and 3 of a node that readers can reach never change. When its bits change, the array of siblings
//! that holds the node is written anew elsewhere, and one store of word 2 of the parent (or of the top entry)
//! swaps it in. When the parent's bits change too (a child comes or goes, a tail becomes a child), the same is
//! done one level up. When no bits change (another next hop for a known prefix), entries are stored in place, or
//! a new array of entries is swapped in by word 2. The old arrays wait for their grace period.
//!
//! ```text
//!   add B beside A                      node ──▶ tail A         becomes      node ──▶ child ──▶ tail A, tail B
//!   remove B                            node ──▶ child ──▶ tail A, tail B    becomes      node ──▶ tail A
//! ```
//!
//! Everything that can fail, because nodes or entries run out, comes before the one store that publishes.

use super::Fib6;
use super::draft::Draft;
use super::node::{
    Bits, Entry, LEVELS, NODE_WORDS, Node, SHORT, STRIDE, TOP_BITS, copy, level_of, may_be_tail, rank, read,
    slot_of, span, top_index, words, write,
};
use crate::route::buddy::Buddy;
use crate::route::fib4::Full;
use crate::route::next_hop::NextHopId;
use crate::route::publish::{Dead, Graveyard};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering};

/// Blocks of 128 nodes and of 128 entries that additions leave untouched, so that a removal, which writes arrays
/// anew before it gives the old ones back, finds room in a full table.
const RESERVE: u32 = 4;

/// The writer's side: which nodes and entries are free.
#[derive(Debug)]
pub(crate) struct Fib6Writer {
    nodes: Buddy,
    entries: Buddy,
    /// Runs that the change in progress took, to be given back if it fails.
    taken: Vec<Dead>,
    /// Runs that it replaces, laid down once it is published.
    stale: Vec<Dead>,
    /// Additions stop short of the reserve.
    adding: bool,
    /// Which of the tries it is, so that what waited for its grace period comes back to it.
    number: u8,
}

/// What becomes of a prefix: its entry, or the leaf that takes its slots over (none in this table or node).
#[derive(Debug, Clone, Copy)]
enum Edit {
    Set(Entry),
    Clear(Entry),
}

impl Edit {
    /// The leaf at a slot that the prefix of `len` covers, after the edit.
    fn apply(self, old: Entry, len: u8) -> Entry {
        match self {
            Edit::Set(new) if old.len() <= len => new,
            Edit::Clear(heir) if !old.is_none() && old.len() == len => heir,
            _ => old,
        }
    }
}

/// One node on the way down, and the slot in which the way goes on.
#[derive(Debug, Clone, Copy)]
struct Step {
    at: u32,
    node: Node,
    slot: u32,
}

/// What comes to stand in a slot in place of a child, or of none.
#[derive(Debug, Clone, Copy)]
enum Below {
    Node(Node),
    /// A child with this prefix and nothing else is a tail.
    Tail(Entry),
    Nothing,
}

impl Fib6Writer {
    pub(crate) fn new(fib: &Fib6) -> Self {
        Fib6Writer {
            nodes: Buddy::new((fib.nodes.len() / NODE_WORDS) as u32),
            entries: Buddy::new(fib.leaves.len() as u32),
            taken: Vec::new(),
            stale: Vec::new(),
            adding: false,
            number: 0,
        }
    }

    /// The same, as the trie with this number; 0 is the main table's.
    pub(crate) fn numbered(self, number: u8) -> Self {
        Fib6Writer { number, ..self }
    }

    pub(crate) fn nodes(&self) -> (u32, u32) {
        (self.nodes.used(), self.nodes.units())
    }

    pub(crate) fn leaves(&self) -> (u32, u32) {
        (self.entries.used(), self.entries.units())
    }

    /// A run whose grace period has passed.
    pub(crate) fn reuse_nodes(&mut self, at: u32, count: u8) {
        self.nodes.free(at, u32::from(count));
    }

    /// A run whose grace period has passed.
    pub(crate) fn reuse_leaves(&mut self, at: u32, count: u8) {
        self.entries.free(at, u32::from(count));
    }

    /// `net`/`len` leads to `id` from now on. Fails, having changed nothing, when nodes or entries run out.
    pub(crate) fn set(
        &mut self,
        fib: &Fib6,
        (net, len): (u128, u8),
        id: NextHopId,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        self.edit(fib, net, len, Edit::Set(Entry::new(net, len, id)), dead)
    }

    /// `net`/`len` is gone; `cover`, the next shorter prefix and its next hop, takes over where it ends in the
    /// same node. (Where it ends further up, a reader remembers it from there.)
    pub(crate) fn clear(
        &mut self,
        fib: &Fib6,
        (net, len): (u128, u8),
        cover: Option<(u8, NextHopId)>,
        dead: &mut Graveyard,
    ) -> Result<(), Full> {
        let floor = match len {
            0..=SHORT => None, // any cover is in the same table
            9..=TOP_BITS => Some(SHORT),
            _ => Some(TOP_BITS + STRIDE * level_of(len) as u8),
        };
        let heir = match cover {
            Some((shorter, id)) if floor.is_none_or(|floor| shorter > floor) => Entry::new(net, shorter, id),
            _ => Entry::NONE,
        };
        self.edit(fib, net, len, Edit::Clear(heir), dead)
    }

    fn edit(&mut self, fib: &Fib6, net: u128, len: u8, edit: Edit, dead: &mut Graveyard) -> Result<(), Full> {
        if len <= SHORT {
            let from = (net >> (128 - SHORT)) as usize;
            for entry in &fib.short[from..from + (1 << (SHORT - len))] {
                let old = Entry(u64::from(entry.load(Ordering::Relaxed)));
                entry.store(edit.apply(old, len).short(), Ordering::Release);
            }
            return Ok(());
        }
        if len <= TOP_BITS {
            for entry in &fib.top.get()[top_index(net)..][..1 << (TOP_BITS - len)] {
                let old = entry.load(Ordering::Relaxed);
                let leaf = edit.apply(Entry(old & u64::from(u32::MAX)), len).short();
                if leaf != old as u32 {
                    publish(entry, old >> 32 << 32 | u64::from(leaf));
                }
            }
            return Ok(());
        }
        self.taken.clear();
        self.stale.clear();
        self.adding = matches!(edit, Edit::Set(_));
        let done = self.edit_deep(fib, net, len, edit);
        if done.is_err() {
            // Nobody has seen what was taken.
            while let Some(run) = self.taken.pop() {
                match run {
                    Dead::Nodes6(_, at, count) => self.reuse_nodes(at, count),
                    Dead::Leaves6(_, at, count) => self.reuse_leaves(at, count),
                    _ => {}
                }
            }
        } else {
            self.stale.drain(..).for_each(|run| dead.push(run));
        }
        done
    }

    /// A prefix longer than the top table resolves: the change in the last node on its way, and what follows
    /// from it upwards, until a node's bits stay as they are.
    fn edit_deep(&mut self, fib: &Fib6, net: u128, len: u8, edit: Edit) -> Result<(), Full> {
        let top = &fib.top.get()[top_index(net)];
        let mut path = descend(fib, top, net, level_of(len));
        let mut below = match (path.last().copied(), edit) {
            (Some(step), _) => {
                let mut draft = Draft::of(fib, &step.node);
                let before = draft.clone();
                let child = self.edit_last(fib, path.len() - 1, step.slot, &mut draft, (net, len), edit)?;
                if child.is_none() && draft == before {
                    return Ok(());
                }
                path.pop();
                self.settle(fib, path.len(), step, draft, child)?
            }
            (None, Edit::Set(entry)) => Some(Below::Node(self.grow(fib, 0, &[(net, entry)])?)),
            (None, Edit::Clear(_)) => return Ok(()),
        };
        while let Some(child) = below {
            let Some(step) = path.pop() else { return self.settle_top(fib, top, child) };
            let mut draft = Draft::of(fib, &step.node);
            if let Below::Tail(entry) = child {
                draft.tail[step.slot as usize] = entry;
            }
            below = self.settle(fib, path.len(), step, draft, Some(child))?;
        }
        Ok(())
    }

    /// The change in the last node on the way, which is of `level`: its leaves, or the tail of `slot`, or a child
    /// to come there.
    fn edit_last(
        &mut self,
        fib: &Fib6,
        level: usize,
        slot: u32,
        draft: &mut Draft,
        (net, len): (u128, u8),
        edit: Edit,
    ) -> Result<Option<Below>, Full> {
        if level_of(len) == level {
            for leaf in &mut draft.leaf[span(net, len)] {
                *leaf = edit.apply(*leaf, len);
            }
            return Ok(None);
        }
        let tail = &mut draft.tail[slot as usize];
        let old = *tail;
        match edit {
            Edit::Clear(_) => {
                if !old.is_none() && old.same_prefix(Entry::new(net, len, NextHopId::NONE)) {
                    *tail = Entry::NONE;
                }
            }
            Edit::Set(new) if !old.is_none() && !old.same_prefix(new) => {
                *tail = Entry::NONE;
                return self
                    .grow(fib, level + 1, &[(old.net(net), old), (net, new)])
                    .map(Below::Node)
                    .map(Some);
            }
            Edit::Set(new) if may_be_tail(level, len) => *tail = new,
            Edit::Set(new) => return self.grow(fib, level + 1, &[(net, new)]).map(Below::Node).map(Some),
        }
        Ok(None)
    }

    /// A new node of `level`, not yet anywhere, for one prefix or two, with all that is needed below it.
    fn grow(&mut self, fib: &Fib6, level: usize, prefixes: &[(u128, Entry)]) -> Result<Node, Full> {
        let (mut draft, mut node) = (Draft::default(), Node::default());
        let mut further = ArrayVec::<(u128, Entry), 2>::new();
        for &(net, entry) in prefixes {
            if level_of(entry.len()) == level {
                for leaf in &mut draft.leaf[span(net, entry.len())] {
                    *leaf = Edit::Set(entry).apply(*leaf, entry.len());
                }
            } else {
                further.push((net, entry));
            }
        }
        let together = matches!(further[..], [(a, _), (b, _)] if slot_of(a, level) == slot_of(b, level));
        if !together {
            further.retain(|(net, entry)| {
                let tail = may_be_tail(level, entry.len());
                if tail {
                    draft.tail[slot_of(*net, level) as usize] = *entry;
                }
                !tail
            });
        }
        // Of two in different slots at least one was a tail before, and so is one again.
        if let Some(&(net, _)) = further.first() {
            let child = self.grow(fib, level + 1, &further)?;
            node.children = 1 << slot_of(net, level);
            node.child_base = self.take_nodes(1)?;
            write(fib, node.child_base, child);
        }
        self.store_entries(fib, &draft, draft.outline(node))
    }

    /// Brings `draft`, and `child` in the slot of `step`, into the node of `step`. What its parent is to have in
    /// its place, if it cannot stay as it is.
    fn settle(
        &mut self,
        fib: &Fib6,
        level: usize,
        step: Step,
        draft: Draft,
        child: Option<Below>,
    ) -> Result<Option<Below>, Full> {
        let Step { at, node, slot } = step;
        let mut new = draft.outline(node);
        match child {
            Some(Below::Node(_)) => new.children |= 1 << slot,
            Some(Below::Tail(_) | Below::Nothing) => new.children &= !(1 << slot),
            None => {}
        }
        let same_entries = (new.leaves, new.tails) == (node.leaves, node.tails);
        let same_bits = same_entries && new.children == node.children;
        let sole = if level == 0 { None } else { draft.sole(&new) };
        let sole = sole.filter(|sole| may_be_tail(level - 1, sole.len()));
        if child.is_none() && same_bits && sole.is_none() && (new.uniform || !node.uniform) {
            draft.write(fib, &node);
            return Ok(None);
        }
        if child.is_some() && node.children != 0 {
            self.stale.push(Dead::Nodes6(self.number, node.child_base, node.children.count_ones() as u8));
        }
        if new.is_empty() || sole.is_some() {
            self.drop_entries(&node);
            return Ok(Some(sole.map_or(Below::Nothing, Below::Tail)));
        }
        if child.is_some() {
            new.child_base = self.store_children(fib, &node, new.children, slot, child)?;
        }
        if child.is_some() && same_entries {
            new = Node { entry_base: node.entry_base, uniform: node.uniform, ..new };
        } else {
            new = self.store_entries(fib, &draft, new)?;
            self.drop_entries(&node);
        }
        if same_bits {
            publish(&words(fib, at)[2], new.bases());
            return Ok(None);
        }
        Ok(Some(Below::Node(new)))
    }

    /// The top entry gets another node.
    fn settle_top(&mut self, fib: &Fib6, top: &AtomicU64, child: Below) -> Result<(), Full> {
        let old = top.load(Ordering::Relaxed);
        let mut number = 0;
        if let Below::Node(node) = child {
            number = self.take_nodes(1)?;
            write(fib, number, node);
        }
        if old >> 32 != 0 {
            self.stale.push(Dead::Nodes6(self.number, (old >> 32) as u32, 1));
        }
        publish(top, u64::from(number) << 32 | old & u64::from(u32::MAX));
        Ok(())
    }

    /// The children of `node` in a new array, with `child` in `slot`; only those of `bits`.
    fn store_children(
        &mut self,
        fib: &Fib6,
        node: &Node,
        bits: u64,
        slot: u32,
        child: Option<Below>,
    ) -> Result<u32, Full> {
        if bits == 0 {
            return Ok(0);
        }
        let base = self.take_nodes(bits.count_ones())?;
        for (to, at) in (base..).zip(Bits(bits)) {
            match child {
                Some(Below::Node(child)) if at == slot => write(fib, to, child),
                _ => copy(fib, node.child_base + rank(node.children, at), to),
            }
        }
        Ok(base)
    }

    /// `node` with a new array for what the draft has.
    fn store_entries(&mut self, fib: &Fib6, draft: &Draft, mut node: Node) -> Result<Node, Full> {
        node.entry_base = 0;
        let count = node.entries();
        if count != 0 {
            if self.adding && !self.entries.spare(RESERVE) {
                return Err(Full);
            }
            node.entry_base = self.entries.alloc(count).ok_or(Full)?;
            self.taken.push(Dead::Leaves6(self.number, node.entry_base, count as u8));
            draft.write(fib, &node);
        }
        Ok(node)
    }

    fn drop_entries(&mut self, node: &Node) {
        if node.entries() != 0 {
            self.stale.push(Dead::Leaves6(self.number, node.entry_base, node.entries() as u8));
        }
    }

    fn take_nodes(&mut self, count: u32) -> Result<u32, Full> {
        if self.adding && !self.nodes.spare(RESERVE) {
            return Err(Full);
        }
        let at = self.nodes.alloc(count).ok_or(Full)?;
        self.taken.push(Dead::Nodes6(self.number, at, count as u8));
        Ok(at)
    }
}

/// Release: the arrays and next hops that `word` leads to are complete. Partner: the Acquire loads of word 2 and
/// of the top entry in `walk`.
fn publish(place: &AtomicU64, word: u64) {
    place.store(word, Ordering::Release);
}

/// The nodes that are there on the way to the one in which a prefix ends, in the node of level `target`.
fn descend(fib: &Fib6, top: &AtomicU64, net: u128, target: usize) -> ArrayVec<Step, LEVELS> {
    let mut path = ArrayVec::new();
    let mut at = (top.load(Ordering::Relaxed) >> 32) as u32;
    for level in 0..=target {
        if at == 0 {
            break;
        }
        let (slot, node) = (slot_of(net, level), read(fib, at));
        path.push(Step { at, node, slot });
        let has_child = node.children >> slot & 1 != 0;
        at = if has_child { node.child_base + rank(node.children, slot) } else { 0 };
    }
    path
}
