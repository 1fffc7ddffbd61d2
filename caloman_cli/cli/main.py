"""The command ``caloman``: finds the verb, and turns every mistake into one line and a status.

Torch is not imported here: help, completion and typing mistakes answer at once.
"""

import os
import sys
from collections.abc import Sequence

from caloman_cli import __version__
from caloman_cli.cli.endings import FAILED, OK, report
from caloman_cli.cli.verbs import CONFIG, VERBS, Verb
from caloman_cli.errors import UserError
from caloman_cli.runs.console import finish, say
from caloman_cli.training.interruption import ENDING, Interruption, Preempted


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments behind ``caloman``; those of the process by default.

    Returns:
        0, or 1 for a failure, 2 for a mistake of the user, 130 for an interrupt, 143 for SIGTERM,
        129 for SIGHUP.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Read when torch is first imported. A thread that waits spins by default for milliseconds, the
    # time of those that work wherever cores are shared; one that sleeps at once wakes too late.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    debug = "--debug" in arguments or os.environ.get("CALOMAN_DEBUG", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--debug"]
    status = OK
    error: BaseException | None = None
    try:
        with Interruption(ENDING):
            status = _dispatch(arguments, debug)
    except (KeyboardInterrupt, Preempted) as stop:
        error = stop
    except Exception as failure:  # noqa: BLE001  the last resort: every failure becomes a status
        error = failure
    lost = finish()
    if lost is not None and (error is None or getattr(error, "errno", None) == lost.errno):
        if isinstance(lost, BrokenPipeError):  # nobody reads any more: head, less
            return status
        sys.stderr.write(f"caloman: standard output cannot be written: {lost.strerror}\n")
        return status or FAILED
    return status if error is None else report(error, debug)


def _dispatch(arguments: list[str], debug: bool) -> int:
    if {"-sc", "--shell-completion"} & set(arguments):
        from caloman_cli.cli.completion import complete

        return complete(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        say(usage())
        return OK
    if arguments[0] == "--version":
        say(f"caloman {__version__}\n")
        return OK
    if arguments[0] == "--cite":
        from caloman_cli.cli.citation import bibtex

        say(bibtex() + "\n")
        return OK
    if arguments[0] == "config":
        from caloman_cli.cli.configs import answer

        return answer(arguments[1:], debug)
    verb, rest = find_verb(arguments)
    if verb is None:
        say(usage(arguments[0]))
        return OK
    from caloman_cli.cli.application import Application

    return Application(verb, debug).run(rest)


def find_verb(arguments: list[str]) -> tuple[Verb | None, list[str]]:
    """Split off the verb, one word or two.

    Returns:
        The verb and what follows; no verb where help on a family (``data``) is asked for.

    Raises:
        UserError: There is no such verb.
    """
    from caloman_cli.config.mistakes import suggestion

    first, rest = arguments[0], arguments[1:]
    for n in (2, 1):  # export describe, export
        if (words := " ".join(arguments[:n])) in VERBS:
            return VERBS[words], arguments[n:]
    family = [words.split()[1] for words in VERBS if words.startswith(f"{first} ")]
    if not family:
        names = dict.fromkeys(words.split()[0] for words in (*VERBS, *CONFIG))
        if first in ("version", "cite"):
            raise UserError(f"unknown verb '{first}': write caloman --{first}")
        if first.startswith("-"):
            raise UserError(
                f"unknown option '{first}': try --help, --version or --cite, or name a verb"
            )
        raise UserError(f"unknown verb '{first}': {suggestion(first, names)}")
    if not rest:
        raise UserError(f"'caloman {first}' needs one of: {', '.join(family)}")
    if rest[0] in ("-h", "--help"):
        return None, []
    if rest[0] not in family:
        raise UserError(f"unknown verb '{first} {rest[0]}': {suggestion(rest[0], family)}")
    return VERBS[f"{first} {rest[0]}"], rest[1:]


def usage(family: str = "") -> str:
    """The verbs, all or those of one family (``data``)."""
    chosen = [verb for words, verb in VERBS.items() if words.startswith(family)]
    lines = [f"  {verb.words:14s} {verb.summary}" for verb in chosen]
    return "\n".join(
        [
            "caloman: two-step generative models of calorimeter showers",
            "",
            f"usage: caloman {family or 'VERB'} [key=value ...] [options]",
            "",
            *lines,
            *([] if family else [f"  {name:14s} {summary}" for name, summary in CONFIG.items()]),
            "",
            "caloman VERB --help    what a verb takes, with examples",
            "caloman --version      the version",
            "caloman --cite         BibTeX of the software and of the papers it rests on",
            "--debug                full tracebacks (or CALOMAN_DEBUG=1)",
            'tab completion         eval "$(caloman -sc install=bash)"  (zsh: the same with zsh)',
            "                       caloman -sc install=fish | source",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
