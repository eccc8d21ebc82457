# bash completion for ipcd(8)
_ipcd() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    case $previous in
        -s | --socket | --config) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -W '-s --socket --no-datagram --config -v --verbose -h --help -V --version' -- "$word") ;;
    esac
}
complete -o filenames -F _ipcd ipcd
