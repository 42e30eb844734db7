// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A queue threaded through numbered slots: push, pop and unlink in constant
//! time and without allocation.

const NONE: u32 = u32::MAX;

/// The place of one slot in the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    previous: u32,
    next: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self { previous: NONE, next: NONE }
    }
}

/// How the list reaches the links of a slot.
type Edit<'a> = &'a mut dyn FnMut(u32, &mut dyn FnMut(&mut Links));

#[derive(Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: usize,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }
}

impl List {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn front(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    pub(super) fn back(&self) -> Option<u32> {
        (self.tail != NONE).then_some(self.tail)
    }

    /// Adds a slot that is not in the list.
    pub(super) fn push(&mut self, slot: u32, front: bool, edit: Edit<'_>) {
        let links = if front {
            Links { previous: NONE, next: self.head }
        } else {
            Links { previous: self.tail, next: NONE }
        };
        edit(slot, &mut |l| *l = links);
        self.join(links.previous, slot, edit);
        self.join(slot, links.next, edit);
        self.len += 1;
    }

    /// Takes out the slot that has `links`.
    pub(super) fn unlink(&mut self, links: Links, edit: Edit<'_>) {
        self.join(links.previous, links.next, edit);
        self.len -= 1;
    }

    /// Makes `before` and `after` neighbours; either may be the end.
    fn join(&mut self, before: u32, after: u32, edit: Edit<'_>) {
        if before == NONE {
            self.head = after;
        } else {
            edit(before, &mut |l| l.next = after);
        }
        if after == NONE {
            self.tail = before;
        } else {
            edit(after, &mut |l| l.previous = before);
        }
    }
}
