//! `ipcctl completions`: the script that completes command lines in a shell. It asks `ipcctl complete` at each key.

use clap::ValueEnum;

use crate::{exit::Exit, out, problem::Result};

/// Print the script that completes command lines of ipcctl in a shell.
///
/// Names of services are completed from those that the broker offers at the moment, and methods behind them from what the services say;
/// topics from those that 'ipcctl topics' lists, and the events that a service says it publishes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ipcctl completions bash > ~/.local/share/bash-completion/completions/ipcctl\n  \
    ipcctl completions zsh > ~/.zfunc/_ipcctl\n  ipcctl completions fish > ~/.config/fish/completions/ipcctl.fish")]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Fish,
    Zsh,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit> {
        out::print(match self.shell {
            Shell::Bash => BASH,
            Shell::Fish => FISH,
            Shell::Zsh => ZSH,
        })?;
        Ok(Exit::SUCCESS)
    }
}

/// Readline breaks words at `=`, `:` and `@` too, so the line is split at blanks here, and the part that readline takes for words of
/// their own is cut off what is offered. `mapfile` parts lines and nothing else: a word that is expanded without quotes is a pattern of files.
const BASH: &str = r#"# Completes command lines of ipcctl in bash.
_ipcctl() {
    local line=${COMP_LINE:0:COMP_POINT} words current offered kept
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    current=${words[${#words[@]} - 1]}
    offered=$(ipcctl complete -- "${words[@]:1}" 2>/dev/null)
    COMPREPLY=()
    case $offered in
    :commands) mapfile -t COMPREPLY < <(compgen -c -- "$current") ;;
    :files*)
        kept=${offered#:files}
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -P "$kept" -f -- "${current#"$kept"}")
        ;;
    ?*) mapfile -t COMPREPLY <<<"$offered" ;;
    esac
    kept=${current%"${current##*[=:@]}"}
    COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}
complete -F _ipcctl ipcctl
"#;

const ZSH: &str = r#"#compdef ipcctl
# Completes command lines of ipcctl in zsh.
_ipcctl() {
    local offered
    offered=$(ipcctl complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    case $offered in
    :commands) _command_names -e ;;
    :files*)
        compset -P "${offered#:files}"
        _files
        ;;
    ?*) compadd -- "${(@f)offered}" ;;
    esac
}
if [[ $funcstack[1] == _ipcctl ]]; then
    _ipcctl "$@"
else
    compdef _ipcctl ipcctl
fi
"#;

const FISH: &str = r#"# Completes command lines of ipcctl in fish.
function __ipcctl_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l offered (ipcctl complete -- $before[2..] "$current" 2>/dev/null)
    switch "$offered[1]"
        case ':commands'
            complete -C "$current"
        case ':files*'
            set -l kept (string replace ':files' '' -- $offered[1])
            for file in (__fish_complete_path (string replace -- "$kept" '' "$current"))
                echo "$kept$file"
            end
        case '?*'
            printf '%s\n' $offered
    end
end
complete -c ipcctl -f -a '(__ipcctl_complete)'
"#;
