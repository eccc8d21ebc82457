use super::*;

fn line(args: &str) -> Parsed {
    parse(std::iter::once("ipcctl").chain(args.split_whitespace()).map(OsString::from))
}

fn cli(args: &str) -> Cli {
    match line(args) {
        Parsed::Command(cli) => *cli,
        Parsed::Text(text) => panic!("{args}: {text}"),
        Parsed::Refused(_, problem) => panic!("{args}: {problem:?}"),
    }
}

fn refused(args: &str) -> String {
    match line(args) {
        Parsed::Refused(_, problem) if problem.exit() == Exit::Code(2) => format!("{problem:?}"),
        _ => panic!("{args} is accepted"),
    }
}

fn help(args: &str) -> String {
    match line(args) {
        Parsed::Text(text) => text,
        _ => panic!("{args} gives no help"),
    }
}

#[test]
fn the_command_tree_is_sound() {
    tree().debug_assert();
}

#[test]
fn common_options_stand_before_and_after_the_verb() {
    for args in ["-t 5s -s /x -o json list", "list -t 5s -s /x -o json"] {
        let globals = cli(args).globals;
        assert_eq!((globals.time, globals.format), (Some(Duration::from_secs(5)), Format::Json), "{args}");
        assert_eq!(globals.socket.as_deref(), Some("/x".as_ref()), "{args}");
    }
}

#[test]
fn a_wrong_option_names_the_nearest_right_one() {
    assert!(refused("send --onewya upper").contains("'--oneway'"));
    assert!(refused("sned upper").contains("'send'"));
    assert!(refused("serve upper --job 3 -- tr").contains("'--jobs'"));
}

#[test]
fn a_duration_without_a_unit_is_refused() {
    assert!(refused("-t 5 list").contains("200ms"));
    assert!(refused("-t 0 list").contains("200ms"));
    assert!(refused("send --wait=5 a").contains("200ms"));
}

#[test]
fn a_name_that_is_none_is_refused() {
    assert!(refused("send Upper x").contains("a-z"));
    assert!(refused("send a..b x").contains("label"));
    assert!(refused("serve UP -- cat").contains("a-z"));
}

#[test]
fn a_bare_command_asks_for_a_verb() {
    assert!(refused("").contains("which verb"));
}

#[test]
fn the_error_line_has_the_form_that_was_asked_for() {
    let format = |args: &str| match line(args) {
        Parsed::Refused(format, _) => format,
        _ => panic!("{args} is accepted"),
    };
    assert_eq!(format("-o json sned"), Format::Json);
    assert_eq!(format("list --nope -ojson"), Format::Json);
    assert_eq!(format("run --nope -- x -o json"), Format::Text);
}

#[test]
fn the_help_of_each_verb_ends_with_an_example() {
    for verb in tree().get_subcommands().map(clap::Command::get_name) {
        let text = help(&format!("{verb} --help"));
        let example = text.rfind("Example").unwrap_or_else(|| panic!("{verb}: no example in\n{text}"));
        assert!(
            text.rfind("Common options").is_some_and(|options| options < example),
            "{verb}: the example is not last"
        );
        assert!(text[example..].contains(&format!("ipcctl {verb}")), "{verb}: {}", &text[example..]);
    }
}

#[test]
fn the_top_level_help_fits_a_screen() {
    let text = help("--help");
    assert!(text.lines().count() <= 48, "{} lines:\n{text}", text.lines().count());
}
