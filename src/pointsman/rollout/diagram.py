"""The pictures of the state machine, drawn from its tables."""

from collections import defaultdict
from typing import Final

from pointsman.rollout.machine import INITIAL, MEANING, TERMINAL, TRANSITIONS, Event, Phase

BEGIN: Final = "<!-- drawn from src/pointsman/rollout/machine.py: begin -->"
END: Final = "<!-- drawn from src/pointsman/rollout/machine.py: end -->"


def block() -> str:
    """Everything docs/reference/rollout.md holds between BEGIN and END, both included."""
    return f"{BEGIN}\n\n```mermaid\n{mermaid()}\n```\n\n{transitions()}\n\n{meanings()}\n\n{END}"


def mermaid() -> str:
    """A state diagram: one arrow for each pair of phases, labelled with all its events.

    Events that stay in their phase are left to the table below it: loops hide the ways out.
    """
    arrows: dict[tuple[Phase, Phase], list[Event]] = defaultdict(list)
    for phase, events in TRANSITIONS.items():
        for event, following in events.items():
            if following is not phase:
                arrows[phase, following].append(event)
    lines = ["stateDiagram-v2", f"    [*] --> {INITIAL.value}: {Event.OPENED.value}"]
    lines += [
        f"    {phase.value} --> {following.value}: {', '.join(events)}"
        for (phase, following), events in arrows.items()
    ]
    lines += [f"    {phase.value} --> [*]" for phase in Phase if phase in TERMINAL]
    return "\n".join(lines)


def transitions() -> str:
    """The table itself: a row for each event, a column for each phase; a dot is refused."""
    phases = list(Phase)
    lines = [
        f"| event | {' | '.join(phase.value for phase in phases)} |",
        f"|---|{'---|' * len(phases)}",
    ]
    for event in Event:
        cells = [TRANSITIONS[phase].get(event) for phase in phases]
        row = " | ".join("·" if cell is None else cell.value for cell in cells)
        lines.append(f"| `{event.value}` | {row} |")
    return "\n".join(lines)


def meanings() -> str:
    """What each event is, for people."""
    lines = ["| event | what happened |", "|---|---|"]
    lines += [f"| `{event.value}` | {MEANING[event]} |" for event in Event]
    return "\n".join(lines)
