// What is wrong now, what was, and how those do who hear of it.

import { html, nothing } from "lit";
import { call, get } from "../api.js";
import { ago, measured, span, when, whole } from "../format.js";
import { Page } from "../page.js";
import { ask, badge, empty, grid, severityBadge } from "../parts.js";
import { address } from "../router.js";

const HERE = /#.*$/;

class Alerts extends Page {
  load() {
    return get("/v1/alerts", { project: this.place.query.project, limit: 100 });
  }

  show({ open, recent, receivers, troubles }) {
    const { project } = this.place.query;
    return html`<h1>Alerts</h1>
      ${project ? html`<p>Of <a href=${address(project)}>${project}</a> alone. <a href="#/alerts">All alerts</a></p>` : nothing}
      ${troubles.map((one) => html`<div class="banner warn">${one}</div>`)}
      <div class="grid">
        <section class="card wide"><h2>Open</h2>
          ${open.length ? open.map((one) => this.one(one)) : empty("Nothing is wrong that an alert speaks of.")}
        </section>
        ${this.receivers(receivers)}
        <section class="card wide"><h2>Over</h2>
          ${recent.length
            ? grid("The newest first", [
                ["over since", (a) => when(a.resolved_ms)], ["lasted", (a) => span(a.gone_ms - a.since_ms)], ["severity", (a) => severityBadge(a.severity), (a) => a.severity], ["kind", (a) => words(a.kind)],
                ["what it was", (a) => html`<a href=${inside(a.link)}>${a.sentence}</a>`, (a) => a.sentence], ["n", (a) => whole(a.n), null, true],
              ], recent)
            : empty("No alert has ended yet. What is told, and from when on, is the project file's to say:", "spec.alerts")}
        </section>
      </div>`;
  }

  one(alert) {
    const facts = [
      ["metric", alert.metric],
      ["value", alert.value === null ? "" : measured(alert.value, alert.measure)],
      ["bound", alert.bound === null ? "" : measured(alert.bound, alert.measure)],
      ["window", alert.window_ms === null ? "" : span(alert.window_ms)],
      ["n", alert.n === null ? "" : whole(alert.n)],
    ].filter(([, text]) => text);
    return html`<article class="alert">
      <div class="row">${severityBadge(alert.severity)}<strong>${words(alert.kind)}</strong>${alert.project ? html`<a href=${address(alert.project)}>${alert.project}</a>` : html`<span class="quiet">this installation</span>`}<span class="quiet small" title=${when(alert.since_ms)}>since ${ago(alert.since_ms)}</span></div>
      <p>${alert.sentence}</p>
      ${facts.length ? html`<dl class="facts">${facts.map(([name, text]) => html`<div><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>` : nothing}
      <p class="small">${alert.deed ? html`Pointsman: ${alert.deed}. ` : nothing}<a href=${inside(alert.link)}>What happened then</a></p>
    </article>`;
  }

  receivers(found) {
    return html`<section class="card wide"><h2>Who hears of it</h2>
      ${found.length
        ? grid("Receivers", [
            ["receiver", (r) => r.name], ["type", (r) => r.type], ["state", (r) => badge(r.state === "ok" ? "good" : "bad", r.state), (r) => r.state], ["last taken", (r) => when(r.sent_ms)],
            ["waiting", (r) => whole(r.waiting), null, true], ["given up", (r) => whole(r.given_up), null, true], ["why", (r) => r.error],
            ["", (r) => html`<button aria-label="Test ${r.name}" @click=${() => this.test(r.name)}>Test</button>`, () => ""],
          ], found)
        : empty("Nobody hears of alerts. Say who does:", "pointsman serve --receiver 'team=slack:${file:/run/secrets/slack}'")}
    </section>`;
  }

  test(name) {
    ask({
      title: `Test ${name}`,
      says: `A message that says it is a test goes to ${name} at once.`,
      verb: "Send",
      reason: false,
      act: () => call("POST", `/v1/receivers/${encodeURIComponent(name)}:test`),
    });
  }
}
customElements.define("pm-alerts", Alerts);

const words = (kind) => kind.replaceAll("_", " ");

/** A link as this page follows it: by whatever address it was opened. */
const inside = (link) => HERE.exec(link)?.[0] ?? "#/alerts";
