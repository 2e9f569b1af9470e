// What a change would do before it is made: who would move, what would shift, what it is over.

import { html, nothing } from "lit";
import { at, call, get } from "../api.js";
import { difference, number, percent, whole } from "../format.js";
import { Page } from "../page.js";
import { ask, badge, grid, problem } from "../parts.js";

class Plan extends Page {
  static properties = { ...Page.properties, text: { state: true }, planned: { state: true }, busy: { state: true }, refused: { state: true } };

  constructor() {
    super();
    this.text = "";
  }

  key(place) {
    return place.name;
  }

  watches() {
    return false;
  }

  async load() {
    if (!this.place.name) return { number: 0 };
    const found = await get(at(this.place.name));
    if (!this.text) this.text = JSON.stringify(found.document, null, 2);
    return found;
  }

  show(found) {
    return html`<h1 class="hidden">Plan a change</h1><div class="grid">
      <section class="card wide">
        <h2>${this.place.name ? `A change of revision ${found.number}` : "A new project"}</h2>
        <label for="spec" class="small">The project, as YAML or JSON; or <input type="file" accept=".yaml,.yml,.json" aria-label="Take a file" @change=${this.take}></label>
        <textarea id="spec" spellcheck="false" .value=${this.text} @input=${(e) => (this.text = e.target.value)}></textarea>
        <p class="row"><button class="primary" ?disabled=${this.busy} @click=${this.plan}>Plan</button>
          <span class="quiet small" role="status">${this.busy ? "replaying logged decisions …" : "Replays what was logged in the past 24 hours. Nothing is changed."}</span></p>
        ${problem(this.refused)}
      </section>
      ${this.planned ? this.outcome(this.planned) : nothing}
    </div>`;
  }

  async take(event) {
    const file = event.target.files[0];
    if (file) this.text = await file.text();
  }

  /** Where the text says it belongs: the API takes one project, at its own path. */
  target() {
    if (this.place.name) return this.place.name;
    const field = (name) => new RegExp(`["']?\\b${name}["']?:\\s*["']?([\\w.-]+)`).exec(this.text)?.[1];
    return `${field("tenant") || "default"}/${field("name") || "unnamed"}`;
  }

  async plan() {
    [this.busy, this.refused, this.planned] = [true, null, null];
    try {
      this.planned = await call("POST", at(this.target(), ":plan"), { body: this.text });
    } catch (error) {
      this.refused = error;
    }
    this.busy = false;
  }

  outcome(found) {
    if (!found.changed) return html`<section class="card wide"><h2>Nothing would change</h2></section>`;
    const { replay, limits } = found;
    return html`
      <section class="card wide">
        <h2>${found.summary.text}</h2>
        ${found.sentence ? html`<p><strong>${found.sentence}</strong></p>` : nothing}
        <ul>${found.changes.map((c) => html`<li>${badge("plain", c.change ?? c.op ?? c.kind)} ${c.kind} <strong>${c.name}</strong>${c.details.length ? html`<ul>${c.details.map((d) => html`<li>${d}</li>`)}</ul>` : nothing}</li>`)}</ul>
        ${found.moves.length ? grid("Units that move", [["rule", (m) => m.rule], ["share of units", (m) => percent(m.share, 2), null, true], ["from → to", (m) => m.flows.map((f) => `${f.from} → ${f.to} ${percent(f.share, 2)}`).join(", ")]], found.moves) : nothing}
        ${limits ? this.limits(limits) : nothing}
        <p class="row">${limits && !limits.open && limits.over.length
            ? html`<button class="primary" @click=${() => this.approve(limits)}>Approve plan ${limits.plan.slice(0, 12)}</button>` : nothing}
          <button class=${limits && !limits.open ? "danger" : "primary"} @click=${() => this.apply(found)}>Apply</button></p>
      </section>
      ${replay ? this.replay(replay.full ? [["first step", replay], ["at 100 %", replay.full]] : [["", replay]]) : nothing}`;
  }

  limits({ over, frozen, approvals, agreed }) {
    return html`${frozen ? html`<div class="banner warn">${frozen}</div>` : nothing}
      ${over.length ? html`<div class="banner bad"><strong>Over ${over.length} limit(s)</strong><ul>${over.map((one) => html`<li>${one.sentence}</li>`)}</ul>${agreed.length} of ${approvals} approvals${agreed.length ? html`: ${agreed.map((a) => a.actor ?? a).join(", ")}` : nothing}</div>` : nothing}`;
  }

  replay(parts) {
    const points = (one) => (one ? html`${percent(one.before)} → ${percent(one.after)} <strong>${difference(one.shift, "points")}</strong>` : html`<span class="quiet">not known</span>`);
    return parts.map(([name, one]) => html`<section class="card wide">
      <h2>What it would have done to ${whole(one.decisions)} logged decisions${name ? `, ${name}` : ""}</h2>
      ${grid(`${percent(one.share, 2)} of decisions and ${percent(one.units_share, 2)} of units would go to another variant; worst slice first`, [
        ["slice", (s) => s.name || "all"],
        ["decisions", (s) => whole(s.decisions), null, true],
        ["denied", (s) => points(s.denied), (s) => s.denied?.shift],
        ["between", (s) => (s.denied && s.denied.low !== null && s.denied.low !== undefined ? `${difference(s.denied.low, "points")} and ${difference(s.denied.high, "points")}` : "–")],
        ["score", (s) => (s.score ? `${number(s.score.before, 3)} → ${number(s.score.after, 3)}` : "–")],
      ], [one.whole, ...one.slices])}
      ${one.asked.length ? grid("Versions that the log does not know were asked", [["version", (a) => `${a.variant ?? ""} ${a.version ?? a.source ?? ""}`], ["drawn", (a) => whole(a.drawn), null, true], ["scored", (a) => whole(a.scored), null, true], ["", (a) => a.why ?? ""]], one.asked) : nothing}
    </section>`);
  }

  approve(limits) {
    ask({
      title: "Approve this plan",
      says: `You agree that exactly this change (${limits.plan.slice(0, 12)}) may be applied although it is over its limits. A reason is needed.`,
      verb: "Approve",
      act: async (reason) => {
        const answer = await call("POST", at(this.target(), `/plans/${limits.plan}:approve`), { body: { reason } });
        this.plan();
        return answer;
      },
    });
  }

  apply(found) {
    const over = found.limits && !found.limits.open;
    ask({
      title: `Apply to ${this.target()}`,
      says: (found.sentence || found.summary.text) + (over ? " It will be refused unless it is approved." : " It takes effect for all traffic as soon as workers have the table."),
      verb: "Apply",
      danger: Boolean(over),
      act: (reason) => call("PUT", at(this.target()), { body: this.text, query: { reason }, headers: { "if-match": `"${found.parent}"` } }),
    });
  }
}
customElements.define("pm-plan", Plan);
