//! Payloads that break a program which passes them through a shell, a command line, a C string, a template or a terminal.

/// More than a hundred payloads, none of them empty and no two alike.
#[must_use]
pub fn hostile() -> Vec<Vec<u8>> {
    let texts = TEXTS.iter().map(|text| text.as_bytes().to_vec());
    let bytes = (0..=31_u8).chain([127, 128, 255]).map(|byte| vec![b'a', byte, b'b']);
    let long = [
        vec![0; 1 << 20],
        vec![b'\''; 100_000],
        b"$(id) ".repeat(10_000),
        b"\n".repeat(5_000),
        (0..=255).cycle().take(70_000).collect(),
        [b"x".repeat(4_095), b"\n".to_vec(), b"x".repeat(4_096)].concat(),
        vec![b'z'; (1 << 20) - 1],
    ];
    texts.chain(bytes).chain(long).collect()
}

/// Whether a payload fits on a command line: no NUL, and less than 128 KiB (MAX_ARG_STRLEN, execve(2)).
#[must_use]
pub fn fits_an_argument(payload: &[u8]) -> bool {
    !payload.contains(&0) && payload.len() < 128 * 1024
}

const TEXTS: &[&str] = &[
    "'",
    "\"",
    "''",
    "\"\"",
    "'\"'\"'",
    "\\",
    "\\\\",
    "\\'",
    "\\n",
    "\\0",
    "\\x41",
    "`",
    "`id`",
    "``",
    "$",
    "$$",
    "$(id)",
    "$((1+1))",
    "${HOME}",
    "$HOME",
    "${IFS}",
    "$(touch /tmp/ipcd-was-here)",
    "`touch /tmp/ipcd-was-here`",
    "'; touch /tmp/ipcd-was-here; '",
    "\"; touch /tmp/ipcd-was-here; \"",
    "| touch /tmp/ipcd-was-here",
    "& touch /tmp/ipcd-was-here &",
    "&& id",
    "|| id",
    "; id",
    ";",
    "> /tmp/ipcd-was-here",
    "< /etc/passwd",
    "<<EOF\nx\nEOF",
    "\n",
    "\n\n\n",
    "a\nb",
    "a\nb\n",
    "\r\n",
    "a\r\nb\r\n",
    "\t",
    " ",
    "  leading",
    "trailing  ",
    "*",
    "?",
    "[a-z]*",
    "~",
    "~root",
    "!!",
    "!$",
    "#",
    "# comment",
    "{{",
    "{{.Data}}",
    "{{ payload }}",
    "}}",
    "{a,b}",
    "{}",
    "{",
    "%s%s%s%n",
    "%d",
    "%",
    "%00",
    "-",
    "--",
    "-n",
    "-e",
    "--help",
    "--version",
    "-rf /",
    "--raw",
    "-t",
    "@",
    "@/etc/passwd",
    "@-",
    "a=b",
    "a:=1",
    "a:=",
    "a@/etc/passwd",
    "=",
    "null",
    "{\"a\":1}",
    "{\"a\":",
    "[1,2",
    "\u{1b}[2J",
    "\u{1b}]0;title\u{7}",
    "\u{feff}bom",
    "ünïcödé ☃ 漢字",
    "\u{202e}right to left",
    "e\u{301}",
    "\u{0}",
    "a\u{0}b",
    "NUL at the end\u{0}",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn there_are_a_hundred_different_ones() {
        let all: BTreeSet<_> = hostile().into_iter().collect();
        assert!(all.len() >= 100, "{}", all.len());
        assert!(!all.contains(&Vec::new()));
    }
}
