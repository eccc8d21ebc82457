//! Lists of rows, linked through the rows themselves: joining and leaving take the same time in a list of any length.

use serde::{Deserialize, Serialize};

use super::{ids::Id, table::Table};

/// A row that can be in one list for each of its roles.
pub(crate) trait Node: Sized {
    /// The kind of row.
    type Kind;
    /// The kinds of lists that it can be in, one of each at a time.
    type Role: Copy + std::fmt::Debug;

    fn link(&self, role: Self::Role) -> &Link<Self::Kind>;
    fn link_mut(&mut self, role: Self::Role) -> &mut Link<Self::Kind>;
}

/// A list of rows, first in first out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct List<K> {
    head: Option<Id<K>>,
    tail: Option<Id<K>>,
    len: u32,
}

/// The neighbours of a row in a list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Link<K> {
    previous: Option<Id<K>>,
    next: Option<Id<K>>,
}

impl<K> List<K> {
    /// Appends a row.
    pub(crate) fn push<T: Node<Kind = K>>(&mut self, table: &mut Table<K, T>, role: T::Role, id: Id<K>) {
        let previous = self.tail.replace(id);
        match previous {
            None => self.head = Some(id),
            Some(previous) => {
                if let Some(row) = table.get_mut(previous) {
                    row.link_mut(role).next = Some(id);
                }
            }
        }
        if let Some(row) = table.get_mut(id) {
            *row.link_mut(role) = Link { previous, next: None };
        }
        self.len += 1;
    }

    /// Takes out a row that is in the list.
    pub(crate) fn unlink<T: Node<Kind = K>>(&mut self, table: &mut Table<K, T>, role: T::Role, id: Id<K>) {
        let Some(row) = table.get_mut(id) else { return };
        let Link { previous, next } = std::mem::take(row.link_mut(role));
        match previous {
            None => self.head = next,
            Some(previous) => {
                if let Some(row) = table.get_mut(previous) {
                    row.link_mut(role).next = next;
                }
            }
        }
        match next {
            None => self.tail = previous,
            Some(next) => {
                if let Some(row) = table.get_mut(next) {
                    row.link_mut(role).previous = previous;
                }
            }
        }
        self.len -= 1;
    }

    /// The ids of the list, from the first on.
    pub(crate) fn ids<'a, T: Node<Kind = K>>(
        &self,
        table: &'a Table<K, T>,
        role: T::Role,
    ) -> impl Iterator<Item = Id<K>> + use<'a, K, T> {
        std::iter::successors(self.head, move |id| table.get(*id)?.link(role).next)
    }

    pub(crate) fn head(&self) -> Option<Id<K>> {
        self.head
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Checks that the list is linked in both directions, and that each of its rows belongs there. For the invariants.
    ///
    /// # Panics
    /// If not.
    pub(crate) fn assert_whole<T: Node<Kind = K> + std::fmt::Debug>(
        &self,
        table: &Table<K, T>,
        role: T::Role,
        belongs: impl Fn(&T) -> bool,
    ) -> usize {
        let (mut last, mut len) = (None, 0);
        for id in self.ids(table, role) {
            let row = table.get(id).unwrap_or_else(|| panic!("{role:?} list holds {id:?}, which is gone"));
            assert!(belongs(row), "{role:?} list holds {id:?}, which belongs elsewhere: {row:?}");
            assert_eq!(row.link(role).previous, last, "{role:?} link back of {id:?}");
            (last, len) = (Some(id), len + 1);
            assert!(len <= self.len as usize, "{role:?} list has more than its {} rows", self.len);
        }
        assert_eq!((self.tail, self.len as usize), (last, len), "tail and length of a {role:?} list");
        len
    }
}

impl<K> Default for List<K> {
    fn default() -> Self {
        Self { head: None, tail: None, len: 0 }
    }
}

impl<K> Default for Link<K> {
    fn default() -> Self {
        Self { previous: None, next: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    enum OfTest {}

    #[derive(Debug, Default)]
    struct Row {
        links: [Link<OfTest>; 2],
    }

    impl Node for Row {
        type Kind = OfTest;
        type Role = usize;

        fn link(&self, role: usize) -> &Link<OfTest> {
            &self.links[role]
        }

        fn link_mut(&mut self, role: usize) -> &mut Link<OfTest> {
            &mut self.links[role]
        }
    }

    #[test]
    fn a_row_leaves_its_list_from_any_place() {
        let (mut table, mut list) = (Table::<OfTest, Row>::new(), List::default());
        let ids = [(); 4].map(|()| table.insert(Row::default()));
        ids.iter().for_each(|id| list.push(&mut table, 0, *id));
        let order = |list: &List<_>, table: &_| list.ids(table, 0).collect::<Vec<_>>();

        list.unlink(&mut table, 0, ids[1]);
        assert_eq!(order(&list, &table), [ids[0], ids[2], ids[3]]);
        list.unlink(&mut table, 0, ids[3]);
        list.unlink(&mut table, 0, ids[0]);
        assert_eq!(order(&list, &table), [ids[2]]);
        assert_eq!(list.assert_whole(&table, 0, |_| true), 1);
        list.unlink(&mut table, 0, ids[2]);
        assert!(list.is_empty() && list.head().is_none());
    }

    #[test]
    fn lists_of_different_roles_do_not_meet() {
        let (mut table, mut first, mut second) = (Table::<OfTest, Row>::new(), List::default(), List::default());
        let (a, b) = (table.insert(Row::default()), table.insert(Row::default()));
        first.push(&mut table, 0, a);
        second.push(&mut table, 1, b);
        second.push(&mut table, 1, a);
        second.unlink(&mut table, 1, b);
        assert_eq!(first.ids(&table, 0).collect::<Vec<_>>(), [a]);
        assert_eq!(second.ids(&table, 1).collect::<Vec<_>>(), [a]);
    }
}
