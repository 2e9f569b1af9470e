"""The dashboard in a real browser: a rollout watched to its rollback, a decision explained, a plan
approved, a revision restored. Everything is done as people do it."""

import re
from typing import Any

from tests.end_to_end.browser import Watched, browsing
from tests.end_to_end.conftest import Registry, Start
from tests.end_to_end.serving import Serving
from tests.end_to_end.test_rollout import PROJECT, register, taken_back, traffic

LIMITED = """
apiVersion: pointsman/v1
kind: Project
metadata: {{name: limited}}
spec:
  classes: [ok, fraud]
  unit: account
  context: {{account: string, country: {{type: string, default: DE}}}}
  features: {{amount: double}}
  decision: {{deny: [fraud]}}
  variants:
    champion: {{constant: ok}}
    strict: {{constant: fraud}}
  rules:
    - name: default
      split: {{champion: {champion}, strict: {strict}}}
  metrics:
    denied: {{kind: decision, event: denied, slices: [country]}}
  limits: {{maxUnitsMoved: 0.2}}
"""


def sent(serving: Serving, project: str, n: int) -> list[dict[str, Any]]:
    answers = []
    for number in range(n):
        country = "FR" if number % 3 == 0 else "DE"
        status, body = serving.post(
            f"/v1/projects/{project}:predict",
            {
                "unit": f"u-{number}",
                "context": {"country": country},
                "features": {"amount": float(number)},
            },
        )
        assert status == 200, body
        answers.append(body)
    return answers


def taken_in(serving: Serving, project: str, n: int) -> None:
    def all_are_there() -> bool:
        return sum(v["decisions"] for v in serving.status(project)["variants"]) >= n

    serving.wait(all_are_there)


def test_a_rollout_is_watched_from_its_first_step_to_its_rollback(
    start: Start, registry: Registry
) -> None:
    """Nobody loads the page anew: phase, sentence, traffic and evidence come by themselves."""
    serving = start()
    register(registry, "watching")
    with browsing(serving) as window:
        window.open("/")
        window.sees("default/income")
        text = PROJECT.format(
            name="watched", model="watching", challenger="models:/watching/2", threshold=0.01
        )
        serving.apply(text)
        window.sees("default/watched")
        window.page.get_by_role("link", name="default/watched").click()
        window.sees("Can it ship?")
        with traffic(serving, "watched"):
            window.sees(re.compile("goes from 0 % to 20 %"))
            window.sees(re.compile("rolled back from 20 %"))
            window.sees("rolled back")
        assert window.page.locator("pm-chart canvas").count() >= 1
        window.keep("rollback")
        window.check()
        alerted(window)
    taken_back(serving, "watched")
    with browsing(serving, dark=True, width=400) as window:
        for path, text, name in (
            ("/p/default/watched", "Steps so far", "rollback-phone"),
            ("/alerts", "took all traffic from challenger", "alerts-phone"),
        ):
            window.open(path)
            window.sees(re.compile(text))
            width = window.page.evaluate("document.documentElement.scrollWidth")
            assert width <= 400, f"{path} is wider than a phone"
            window.keep(name)
            window.check()

    # The same server shows the rest: what was done can be found, explained and taken back.
    with browsing(serving) as window:
        explained(window)
        approved(window, serving)
        restored(window, serving)
        signed_in(window, serving)


def alerted(window: Watched) -> None:
    """The header counts what is open, by itself; the page says it with its numbers, and the link
    leads to the rollout at that time."""
    window.page.get_by_role("link", name=re.compile(r"Alerts \d+ open")).click()
    window.sees("rolled back")
    window.sees(re.compile("took all traffic from challenger version 2"))
    window.sees("Nobody hears of alerts. Say who does:")
    window.keep("alerts")
    window.check()
    window.page.get_by_role("link", name="What happened then").first.click()
    window.sees("Can it ship?")


def explained(window: Watched) -> None:
    """From the list of decisions to one of them, made again and found equal."""
    window.open("/p/default/watched/decisions?variant=challenger")
    window.sees("The newest first")
    window.keep("decisions", whole=False)
    window.check()
    window.page.locator("tbody a").first.click()
    window.sees("made again from its record and its table: equal")
    window.keep("explain")
    window.check()


def approved(window: Watched, serving: Serving) -> None:
    """A change over its limit is shown before it is made, agreed to by a second person, applied."""
    serving.apply(LIMITED.format(champion=95, strict=5))
    answers = sent(serving, "limited", 300)
    taken_in(serving, "limited", len(answers))
    wanted = LIMITED.format(champion=50, strict=50)
    _, made = serving.admin("POST", "/v1/tokens", {"name": "bob", "role": "approver"})

    window.open("/p/default/limited/plan")
    window.page.get_by_role("textbox", name=re.compile("The project")).fill(wanted)
    window.page.get_by_role("button", name="Plan", exact=True).click()
    window.sees(re.compile(r"Over 1 limit"))
    window.sees(re.compile(r"Of \d+ logged decisions"))
    window.keep("plan")
    window.check()
    window.page.get_by_role("button", name="Apply").click()
    window.page.get_by_role("dialog").get_by_role("button", name="Apply").click()
    window.sees(re.compile("limit"))
    window.page.get_by_role("button", name="Cancel").click()

    with window.somebody_else(made["token"]) as other:
        other.open("/p/default/limited/plan")
        other.page.get_by_role("textbox", name=re.compile("The project")).fill(wanted)
        other.page.get_by_role("button", name="Plan", exact=True).click()
        other.page.get_by_role("button", name=re.compile("Approve plan")).click(timeout=120_000)
        other.page.get_by_label("Reason").fill("we want them strict")
        other.page.get_by_role("dialog").get_by_role("button", name="Approve").click()
        other.sees(re.compile("agreed|approved"))

    window.page.get_by_role("button", name="Apply").click()
    window.page.get_by_role("dialog").get_by_role("button", name="Apply").click()
    window.sees(re.compile("revision 2 applied"))
    assert serving.status("limited")["number"] == 2


def restored(window: Watched, serving: Serving) -> None:
    """Every revision is a difference with a way back, after a word of what it will do."""
    window.open("/p/default/limited/changes?revision=2")
    window.sees("rule default")
    window.keep("changes")
    window.wrong.clear()
    window.check()
    window.page.get_by_role("button", name="Restore").first.click()
    window.sees(re.compile("become those of revision 1 again"))
    window.page.get_by_label("Reason").fill("too strict")
    window.page.get_by_role("dialog").get_by_role("button", name="Restore").click()
    window.sees(re.compile("back to revision 1"))
    status = serving.status("limited")
    share = round(status["rules"][0]["arms"][0]["target"], 6)
    assert (status["number"], share) == (3, 0.95)


def signed_in(window: Watched, serving: Serving) -> None:
    """Without a token there is a door and nothing behind it; a wrong one says what to do."""
    window.open("/")
    window.sees("default/limited")
    window.page.get_by_role("button", name="sign out").click()
    window.sees("Sign in")
    assert window.page.get_by_text("default/limited").count() == 0
    window.page.get_by_label("Token").fill("pma_wrong_token")
    window.page.get_by_role("button", name="Sign in").click()
    window.sees("no valid token")
    window.page.get_by_label("Token").fill(serving.token)
    window.page.get_by_role("button", name="Sign in").click()
    window.sees("default/limited")
