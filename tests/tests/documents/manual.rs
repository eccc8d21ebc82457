//! Compares the manual pages, units and tables written by hand with the programs.

use std::path::Path;

use ipc_protocol::transport::Address;
use ipc_tests::{command::Command, programs::Programs};
use ipcd::Config;

use crate::{markdown, read, root};

#[test]
fn ipcd_toml_lists_every_limit_with_its_default() {
    let page = read(&root().join("dist/man/ipcd.toml.5"));
    let listed: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".It Ic ")?.split_once(" = ")).collect();
    let limits = serde_json::to_value(defaults().limits).expect("limits are numbers");
    let limits = limits.as_object().expect("limits have names");
    let missing = limits.iter().filter(|(name, value)| !listed.contains(&(name, value.to_string().as_str())));
    assert_eq!(missing.collect::<Vec<_>>(), [], "dist/man/ipcd.toml.5 lacks these, or has another default");
    let is_known = |name: &str| ["socket", "datagram"].contains(&name) || limits.contains_key(name);
    let unknown: Vec<_> = listed.iter().filter(|(name, _)| !is_known(name)).collect();
    assert!(unknown.is_empty(), "dist/man/ipcd.toml.5 has what the broker does not know: {unknown:?}");
}

#[test]
fn configurations_in_the_documents_are_valid() {
    let page = read(&root().join("dist/man/ipcd.toml.5"));
    let example = page.split(".Bd -literal\n").nth(1).and_then(|rest| rest.split(".Ed\n").next());
    load(example.expect("the page has an example"));
    load(&read(&root().join("dist/ipcd.toml")));
    let readme = read(&root().join("README.md"));
    let shown: Vec<_> = markdown::split(&readme).1.into_iter().filter(|block| block.language == "toml").collect();
    assert!(!shown.is_empty(), "README.md shows no configuration");
    shown.iter().for_each(|block| drop(load(&block.text)));
}

#[test]
fn the_shipped_configuration_holds_the_defaults() {
    let shipped = read(&root().join("dist/ipcd.toml"));
    let keys = shipped.lines().filter_map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")));
    let enabled = shipped.lines().filter(|line| *line == "[limits]").count();
    assert_eq!(enabled, 1);
    let (top, limits): (Vec<_>, Vec<_>) =
        keys.partition(|key| ["socket", "datagram"].iter().any(|k| key.starts_with(k)));
    let config = load(&format!("{}\n[limits]\n{}\n", top.join("\n"), limits.join("\n")));
    assert_eq!((config.datagram, config.limits), (true, defaults().limits));
}

#[test]
fn every_option_of_ipcd_is_in_its_page() {
    let help = Command::new(&Programs::get().ipcd, ["--help"]).prints_text();
    let options: Vec<_> = help.split_whitespace().filter_map(|word| word.strip_prefix("--")).collect();
    let options: Vec<_> =
        options.iter().map(|option| option.trim_end_matches(|c: char| !c.is_ascii_lowercase())).collect();
    assert!(options.len() >= 6, "{options:?}");
    let page = read(&root().join("dist/man/ipcd.8"));
    let missing = options.iter().filter(|option| !page.contains(&format!("Fl -{option}")));
    assert_eq!(missing.collect::<Vec<_>>(), [] as [&&str; 0], "dist/man/ipcd.8 lacks these options");
}

#[test]
fn units_start_ipcd_with_options_that_it_has() {
    let help = Command::new(&Programs::get().ipcd, ["--help"]).prints_text();
    let units = ["dist/ipcd.service", "dist/user/ipcd.service"].map(|unit| read(&root().join(unit)));
    let starts: Vec<_> =
        units.iter().flat_map(|unit| unit.lines()).filter(|line| line.starts_with("ExecStart=")).collect();
    assert_eq!(starts.len(), 2, "each unit starts one program");
    let options = starts.iter().flat_map(|line| line.split(' ')).filter(|word| word.starts_with("--"));
    let unknown: Vec<_> = options.filter(|option| !help.contains(*option)).collect();
    assert!(unknown.is_empty(), "ipcd has no {unknown:?}");
}

#[test]
fn the_readme_lists_every_error_as_the_program_does() {
    let readme = read(&root().join("README.md"));
    let rows = readme.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let rows: Vec<_> = rows.filter(|cells| cells.len() == 6).collect();
    let is_listed = |name: &str, exit: &str, may_have_run: &str| {
        let names_it = |cells: &&Vec<&str>| markdown::code(cells[1]).iter().any(|code| code == name);
        let row = rows.iter().find(names_it);
        row.is_some_and(|cells| cells[2].replace(' ', "").starts_with(exit) && cells[3] == may_have_run)
    };
    let table = Command::ipcctl(["help", "errors"]).prints_text();
    let errors: Vec<Vec<_>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert!(errors.len() > 15, "{table}");
    let missing = errors.iter().filter(|error| !is_listed(error[0], error[1], error[3]));
    assert_eq!(missing.collect::<Vec<_>>(), [] as [&Vec<&str>; 0], "README.md lacks these, or says something else");
}

fn defaults() -> Config {
    Config::new(Address::Path("/run/ipcd.sock".into()))
}

fn load(text: &str) -> Config {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("a file of our own");
    let socket = Some(Address::Path(Path::new("/run/ipcd.sock").into()));
    Config::load(file.path(), socket, || unreachable!()).unwrap_or_else(|error| panic!("{error}: {text}"))
}
