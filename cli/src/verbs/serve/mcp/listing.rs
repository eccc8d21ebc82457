//! A server's list of tools, page by page, and how it says that the list has changed.

use serde_json::{Map, Value, json};

use crate::mcp::{
    message::{self, Message},
    version::Era,
};

/// A list, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Listing {
    tools: Vec<Value>,
    pages: usize,
}

impl Listing {
    /// Takes a page. Returns the parameters that ask for the next one, if there is one.
    pub(super) fn take(&mut self, mut page: Value) -> Option<Map<String, Value>> {
        self.pages += 1;
        if let Some(Value::Array(listed)) = page.get_mut("tools").map(Value::take) {
            self.tools.extend(listed);
        }
        let cursor = page.get_mut("nextCursor").map(Value::take).filter(Value::is_string)?;
        let has_room = self.pages < MOST_PAGES && self.tools.len() < MOST_TOOLS;
        has_room.then(|| Map::from_iter([("cursor".to_owned(), cursor)]))
    }

    /// The tools that were read.
    pub(super) fn tools(mut self) -> Vec<Value> {
        self.tools.truncate(MOST_TOOLS);
        self.tools
    }
}

/// Whether a server says that its list has changed.
pub(super) fn is_change(message: &Message) -> bool {
    matches!(message, Message::Notification { method, .. } if method == "notifications/tools/list_changed")
}

/// The wish to be told of changes, which has to be asked for in the stateless era.
pub(super) fn subscription(number: u64) -> Value {
    let wanted = Map::from_iter([("notifications".to_owned(), json!({ "toolsListChanged": true }))]);
    message::request(number, "subscriptions/listen", Era::Stateless.params(wanted, Map::new()))
}

/// Pages of a list, which a server may go on with for ever.
const MOST_PAGES: usize = 50;
const MOST_TOOLS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_pages() {
        let mut listing = Listing::default();
        let next = listing.take(json!({ "tools": [1, 2], "nextCursor": "2" }));
        assert_eq!(next, json!({ "cursor": "2" }).as_object().cloned());
        assert_eq!(listing.take(json!({ "tools": [3] })), None);
        assert_eq!(listing.tools(), [1, 2, 3]);
    }

    #[test]
    fn a_list_without_end_ends() {
        let mut listing = Listing::default();
        let pages = std::iter::repeat_with(|| listing.take(json!({ "tools": [1], "nextCursor": "2" })));
        assert_eq!(pages.take_while(Option::is_some).count(), MOST_PAGES - 1);
        let mut wide = Listing::default();
        assert_eq!(wide.take(json!({ "tools": vec![1; 2_000], "nextCursor": "2" })), None);
        assert_eq!(wide.tools().len(), MOST_TOOLS);
    }
}
