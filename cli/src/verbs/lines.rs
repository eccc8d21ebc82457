//! `ipcctl send --lines`: one call for each line, one answer a line.

use ipc_client::{Client, Encoding};

use crate::{body::Body, call::Template, exit::Exit, format::Format, lines::Lines, problem::Result, reply};

/// Makes one call after the other, each when the one before has been answered. Stops at the first that fails.
pub(crate) fn run(template: &Template<'_>, mut lines: Lines, client: &Client, format: Format) -> Result<Exit> {
    let encoding = template.encoding.unwrap_or(Encoding::BYTES);
    while let Some(bytes) = lines.next_encoded(encoding, &template.subject)? {
        let request = template.request(Body { encoding, bytes });
        let response = template.call(client, request).map_err(|problem| problem.at_line(lines.number()))?;
        reply::print_line(&response, format, &template.subject)?;
    }
    Ok(Exit::SUCCESS)
}
