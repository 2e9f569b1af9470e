"""The guide says of every kind of alert what the code says."""

from pathlib import Path

from pointsman.domain.alert import INSTALLATION, USUAL, Kind
from pointsman.rollout.words import span

GUIDE = (Path(__file__).parents[2] / "docs" / "guide" / "alerts.md").read_text(encoding="utf-8")


def test_the_guide_lists_every_kind_with_what_is_usual() -> None:
    """One row a kind, those about projects first."""
    rows = [line for line in GUIDE.splitlines() if line.startswith("| `") and "critical |" in line]
    rows += [line for line in GUIDE.splitlines() if line.startswith("| `") and "warning |" in line]
    expected = [
        [
            f"`{kind.value}`",
            usual.severity.value,
            usual.meaning,
            "" if usual.bound is None else f"{usual.bound:g} %",
            "" if usual.window_ms is None else span(usual.window_ms),
            "" if usual.least is None else str(usual.least),
            span(usual.after_ms),
            span(usual.quiet_ms),
        ]
        for kind, usual in USUAL.items()
    ]

    told = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert sorted(told) == sorted(expected)
    assert set(USUAL) == set(Kind)
    middle = GUIDE.index("About the installation")
    assert all((GUIDE.index(f"| `{k.value}`") > middle) == (k in INSTALLATION) for k in Kind)


def test_the_guide_s_own_verification_of_a_signature_works(tmp_path: Path) -> None:
    """The Python of the guide, run as it stands."""
    from pointsman.plugins.webhook import signature

    code = GUIDE.partition("```python\n")[2].partition("```")[0]
    found: dict[str, object] = {}
    exec(code, found)
    import time

    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"a": 1}'
    now = str(int(time.time()))
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": now,
        "webhook-signature": signature(secret, "msg_1", now, body),
    }
    genuine = found["genuine"]
    assert genuine(headers, body, secret)  # type: ignore[operator]
    assert not genuine(headers, body + b" ", secret)  # type: ignore[operator]
    old = {**headers, "webhook-timestamp": str(int(now) - 1_000)}
    assert not genuine(old, body, secret)  # type: ignore[operator]
