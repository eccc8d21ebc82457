//! `ipcctl peers`: the processes that are connected.

use ipc_client::{ServiceName, control};

use crate::{exit::Exit, globals::Globals, pages, problem::Result, table::Cell};

/// List the processes that are connected, oldest connection first. The last is this command itself.
///
/// The number in the first column is an address: 'ipcctl send @17.method' calls that process. The last column is the program as it
/// names itself.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ipcctl peers\n  ipcctl peers -o json | jq -r 'select(.names[] == \"upper\") | .pid'"
)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, globals: &Globals) -> Result<Exit> {
        pages::print::<control::PeerPage, _>(globals, "peers", |after| control::Peers { after }, rows)?;
        Ok(Exit::SUCCESS)
    }
}

fn rows(peers: &[control::PeerRow]) -> Vec<Vec<Cell>> {
    let header = vec![
        Cell::text("peer"),
        Cell::number("uid"),
        Cell::number("gid"),
        Cell::number("pid"),
        Cell::number("calls_out"),
        Cell::number("calls_in"),
        Cell::number("unread_bytes"),
        Cell::number("connected_s"),
        Cell::text("names"),
        Cell::text("program"),
    ];
    std::iter::once(header).chain(peers.iter().map(row)).collect()
}

fn row(peer: &control::PeerRow) -> Vec<Cell> {
    let names: Vec<&str> = peer.names.iter().map(ServiceName::as_str).collect();
    vec![
        Cell::text(peer.peer),
        Cell::number(peer.uid),
        Cell::number(peer.gid),
        Cell::optional(peer.pid),
        Cell::number(peer.pending),
        Cell::number(peer.in_flight),
        Cell::number(peer.unread_bytes),
        Cell::number(peer.connected_ms / 1000),
        Cell::text(names.join(",")),
        Cell::text(&peer.agent), // the last: it may hold blanks
    ]
}

#[cfg(test)]
mod tests {
    use ipc_client::PeerNumber;

    use super::*;
    use crate::table;

    #[test]
    fn a_peer_is_a_line_and_its_program_stands_last() {
        let peer = control::PeerRow {
            peer: PeerNumber(17),
            uid: 0,
            gid: 0,
            pid: None,
            agent: "my tool".into(),
            names: vec![ServiceName::parse("a").unwrap(), ServiceName::parse("b.c").unwrap()],
            pending: 1,
            in_flight: 2,
            unread_bytes: 3,
            connected_ms: 4_999,
        };
        let text = table::render(&rows(&[peer]));
        let line: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line, ["@17", "0", "0", "-", "1", "2", "3", "4", "a,b.c", "my", "tool"]);
    }
}
