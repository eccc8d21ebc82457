//! `ipcctl man`: manual pages, for packagers. Generated from the command line and from the error table, so that they cannot fall behind.

use std::{fmt::Write as _, io};

use clap_mangen::Man as Page;

use crate::{
    exit::Exit,
    out,
    problem::{Problem, Result},
    table,
    verbs::help,
};

/// Print a manual page: that of ipcctl, or that of a verb.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ipcctl man send > ipcctl-send.1")]
pub(crate) struct Args {
    /// The verb
    verb: Option<String>,
}

impl Args {
    pub(crate) fn run(self, tree: &clap::Command) -> Result<Exit> {
        let command = match &self.verb {
            None => Some(tree),
            Some(verb) => tree.find_subcommand(verb),
        };
        let Some(command) = command else {
            let message = format!("there is no verb '{}'", self.verb.unwrap_or_default());
            return Err(Problem::usage("man", message).hint("see 'ipcctl --help'"));
        };
        let page = page(command, tree).map_err(|error| Problem::host("man", "cannot render the page", &error))?;
        out::print(&page)?;
        Ok(Exit::SUCCESS)
    }
}

fn page(command: &clap::Command, tree: &clap::Command) -> io::Result<String> {
    let is_whole = command.has_subcommands();
    let extra = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let page = Page::new(command.clone());
    let mut bytes = Vec::new();
    page.render_description_section(&mut bytes)?;
    page.render_options_section(&mut bytes)?;
    let mut text = head(command) + &String::from_utf8_lossy(&bytes);
    if is_whole {
        text.push_str(&verbs(tree));
    }
    text.push_str(&blocks(&extra));
    text.push_str(&exit_status(command.get_name()));
    text.push_str(ENVIRONMENT);
    text.push_str(FILES);
    text.push_str(&see_also(command, tree));
    Ok(text)
}

fn head(command: &clap::Command) -> String {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).trim_end();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".TH {} 1 \"\" \"ipcd {version}\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}",
        name.to_uppercase(),
        escape(name),
        escape(&about),
        verbatim(usage)
    )
}

fn verbs(tree: &clap::Command) -> String {
    tree.get_subcommands().filter(|verb| !verb.is_hide_set()).fold(".SH VERBS\n".to_owned(), |mut text, verb| {
        let name = verb.get_name();
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, ".TP\n\\fBipcctl\\-{}\\fR(1)\n{}", escape(name), line(&about)); // a String takes everything
        text
    })
}

/// What stands below the options in `--help`, block by block. `Heading:` begins a section; lines that are indented stay as they are.
fn blocks(text: &str) -> String {
    text.split("\n\n").filter(|block| !block.trim().is_empty()).map(block).collect()
}

fn block(text: &str) -> String {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    match first.strip_suffix(':') {
        Some(heading) if rest.starts_with(' ') => {
            let indented = rest.lines().take_while(|line| line.starts_with(' ')).count();
            let (examples, after): (Vec<_>, Vec<_>) = rest.lines().enumerate().partition(|(at, _)| *at < indented);
            let join =
                |lines: Vec<(usize, &str)>| lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
            let heading = escape(&heading.to_uppercase());
            format!(".SH {heading}\n{}{}", verbatim(&join(examples)), paragraph(&join(after)))
        }
        _ => paragraph(text),
    }
}

fn paragraph(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(".PP\n{}\n", text.lines().map(line).collect::<Vec<_>>().join("\n"))
    }
}

/// Lines that are not to be filled.
fn verbatim(text: &str) -> String {
    format!(".nf\n{}\n.fi\n", text.lines().map(line).collect::<Vec<_>>().join("\n"))
}

fn exit_status(name: &str) -> String {
    let own = match name {
        "run" => "That of the command. The following are of ipcctl itself.",
        _ => "0 if all went well. Every other one names what happened:",
    };
    format!(".SH EXIT STATUS\n{own}\n.PP\n{}", verbatim(table::render(&help::rows()).trim_end()))
}

fn see_also(command: &clap::Command, tree: &clap::Command) -> String {
    let verbs = tree.get_subcommands().filter(|verb| !verb.is_hide_set()).map(clap::Command::get_name);
    let related = verbs.filter(|verb| *verb != command.get_name()).map(|verb| format!("ipcctl-{verb}(1)"));
    let own = (!command.has_subcommands()).then(|| "ipcctl(1)".to_owned());
    let pages = ["ipcd(8)", "ipcd.toml(5)", "ipc-protocol(7)"].map(str::to_owned);
    let all: Vec<_> = own.into_iter().chain(related).chain(pages).map(|page| escape(&page)).collect();
    format!(".SH SEE ALSO\n{}\n", all.join(", "))
}

/// A line of text that troff takes as it is: one that begins with a dot or an apostrophe would be a request.
fn line(text: &str) -> String {
    let escaped = escape(text);
    if escaped.starts_with(['.', '\'']) { format!("\\&{escaped}") } else { escaped }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

const ENVIRONMENT: &str = r".SH ENVIRONMENT
.TP
.B IPCD_SOCKET
The broker's socket: a path, @NAME (abstract) or fd:N (an inherited connection). The option \fB\-s\fR comes before it.
.TP
.B XDG_RUNTIME_DIR
Where the socket is looked for if IPCD_SOCKET isn't set. A relative path is ignored.
.TP
.B IPC_DEADLINE_MS
Set by \fBipcctl serve\fR for what it runs: the time that is left of the call, in milliseconds. A call made there has no more.
";

const FILES: &str = r".SH FILES
.TP
.I $XDG_RUNTIME_DIR/ipcd/ipcd.sock
The socket of a user's own broker.
.TP
.I /run/ipcd/ipcd.sock
The socket that root uses if XDG_RUNTIME_DIR isn't set.
.TP
.I /tmp/ipcd\-UID/ipcd.sock
The socket that other users use if XDG_RUNTIME_DIR isn't set.
.TP
.I PATH.dgram
Beside each of them: the socket for datagrams.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_begins_a_section_and_its_lines_are_not_filled() {
        let text = block("Examples:\n  ipcctl send a\n  .x \\n");
        assert_eq!(text, ".SH EXAMPLES\n.nf\n  ipcctl send a\n  .x \\en\n.fi\n");
    }

    #[test]
    fn text_that_begins_with_a_dot_is_no_request() {
        assert_eq!(block("a-b\n.SH x"), ".PP\na\\-b\n\\&.SH x\n");
    }
}
