"""What each shell runs to complete ``caloman``, and to forget it."""

from typing import NamedTuple


class Shell(NamedTuple):
    """Two scripts.

    Args:
        install: For the shell's ``eval``.
        uninstall: The same.
    """

    install: str
    uninstall: str


_BASH = Shell(
    r"""_caloman() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\n'
    local found=($(COMP_LINE="$line" caloman -sc query=bash 2>/dev/null))
    # Bash has cut the word at these signs and wants what stands behind the last of them.
    local word="${line##*[[:space:]]}" signs="${COMP_WORDBREAKS//[^=:]/}"
    local begun="${word%"${word##*[${signs:- }]}"}"
    COMPREPLY=("${found[@]#"$begun"}")
}
complete -o nospace -F _caloman caloman
""",
    "complete -r caloman; unset -f _caloman\n",
)
_ZSH = Shell(
    r"""(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -D }
_caloman() {
    local -a found
    found=("${(@f)$(COMP_LINE="$LBUFFER" caloman -sc query=zsh 2>/dev/null)}")
    [[ -n "$found" ]] && compadd -S '' -- $found
}
compdef _caloman caloman
""",
    "compdef -d caloman; unfunction _caloman\n",
)
_FISH = Shell(
    r"""function __caloman_complete
    set -lx COMP_LINE (commandline -cp)
    caloman -sc query=fish 2>/dev/null
end
complete -c caloman -f -a '(__caloman_complete)'
""",
    "complete -e -c caloman; functions -e __caloman_complete\n",
)
SHELLS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""Name of a shell -> its scripts."""
