// Decisions: found by unit, variant, reason or id; each explained and made again.

import { html, nothing } from "lit";
import { at, get } from "../api.js";
import { colouring } from "../colours.js";
import { number, percent, when } from "../format.js";
import { Page } from "../page.js";
import { badge, empty, grid, swatch } from "../parts.js";
import { address } from "../router.js";

const REASONS = ["SPLIT", "RULE", "PINNED", "HOLDOUT", "FALLBACK", "KILLED", "DEFAULT", "BANDIT", "ENSEMBLE"];

class Decisions extends Page {
  load() {
    const { unit, variant, reason, until } = this.place.query;
    return get(at(this.place.name, "/decisions"), { limit: 100, unit, variant, reason, until_ms: until });
  }

  watches() {
    return !this.place.query.until;
  }

  show({ decisions }) {
    const colour = colouring(decisions.flatMap((one) => [one.assigned, one.served]).filter(Boolean));
    const { query, name } = this.place;
    const amend = (detail) => this.dispatchEvent(new CustomEvent("amend", { detail, bubbles: true }));
    const search = (event) => {
      event.preventDefault();
      const given = new FormData(event.target);
      const id = given.get("id").trim();
      if (id) location.hash = `#/d/${encodeURIComponent(id)}`;
      else amend({ unit: given.get("unit").trim(), variant: given.get("variant").trim(), reason: given.get("reason"), until: "" });
    };
    const oldest = decisions.at(-1)?.at_ms;
    return html`<h1 class="hidden">Decisions of ${name}</h1>
      <form class="row card" @submit=${search} role="search">
        <label>Id <input name="id" size="28"></label>
        <label>Unit <input name="unit" .value=${query.unit || ""}></label>
        <label>Assigned <input name="variant" size="14" .value=${query.variant || ""}></label>
        <label>Reason <select name="reason"><option value="">any</option>${REASONS.map((r) => html`<option ?selected=${r === query.reason}>${r}</option>`)}</select></label>
        <button class="primary">Find</button>
      </form>
      ${decisions.length
        ? grid(query.until ? `Made before ${when(Number(query.until))}` : "The newest first", [
            ["at", (d) => when(d.at_ms)],
            ["id", (d) => html`<a href="#/d/${encodeURIComponent(d.id)}"><code>${d.id.slice(0, 18)}…</code></a>`, (d) => d.id],
            ["unit", (d) => d.unit || "–"],
            ["rule", (d) => d.rule || "–"],
            ["assigned", (d) => html`<span class="row">${swatch(colour(d.assigned))}${d.assigned}</span>`, (d) => d.assigned],
            ["served", (d) => (d.served ? html`<span class="row">${swatch(colour(d.served))}${d.served}:${d.version}</span>` : "nobody"), (d) => d.served],
            ["reason", (d) => d.reason],
            ["class", (d) => d.predicted || "–"],
            ["action", (d) => d.action || "–"],
            ["ms", (d) => number(d.latency_us / 1000, 3), null, true],
          ], decisions)
        : empty("No decision is like that. Send one:", `curl -d '{"features": {...}}' http://127.0.0.1:8700/v1/projects/${name.split("/")[1]}:predict`)}
      <p class="row">${query.until ? html`<a href=${address(name, "decisions", { ...query, until: "" })}>newest</a>` : nothing}
        ${decisions.length === 100 ? html`<a href=${address(name, "decisions", { ...query, until: oldest })}>older</a>` : nothing}</p>`;
  }
}
customElements.define("pm-decisions", Decisions);

class Decision extends Page {
  load() {
    return get(`/v1/decisions/${encodeURIComponent(this.place.id)}:explain`);
  }

  show(found) {
    const record = found.record;
    const facts = Object.entries(found.facts || {});
    const whole = (value) => (value !== null && typeof value === "object" ? JSON.stringify(value) : String(value ?? "–"));
    return html`<p><a href=${address(record.project, "decisions")}>Decisions of ${record.project}</a></p>
      <section class="card">
        <h1>Why this decision came out as it did</h1>
        <p>${found.sentence}</p>
        <p>${found.equal ? badge("good", "made again from its record and its table: equal", "✔") : badge("bad", `made again: not equal. ${found.problem}`, "✖")}</p>
        ${found.differences.length ? grid("What differs", [["field", (d) => d.field], ["recorded", (d) => whole(d.recorded)], ["made again", (d) => whole(d.recomputed)]], found.differences) : nothing}
      </section>
      <div class="grid">
        <section class="card"><h2>Step by step</h2>
          ${grid("Facts", [["what", ([key]) => key.replaceAll("_", " ")], ["value", ([, value]) => whole(value)]], facts)}
        </section>
        <section class="card"><h2>Propensities</h2>
          ${grid("Chance of each variant, under this table and live state", [["variant", ([name]) => name], ["chance", ([, p]) => percent(p, 2), null, true]], Array.isArray(record.propensities) ? record.propensities : Object.entries(record.propensities || {}))}
          <h2>What became known</h2>
          ${found.outcomes.length ? grid("Feedback", [["at", (o) => when(o.at_ms)], ["kind", (o) => o.kind], ["value", (o) => whole(o.value)], ["state", (o) => o.state], ["", (o) => o.sentence]], found.outcomes) : empty("Nothing yet.")}
          ${found.shadows.length ? grid("Shadows", [["variant", (s) => `${s.variant}:${s.version}`], ["class", (s) => s.predicted], ["action", (s) => s.action], ["ms", (s) => number(s.latency_us / 1000, 3)], ["", (s) => s.error]], found.shadows) : nothing}
        </section>
        <section class="card wide"><details><summary>The whole record</summary><pre>${JSON.stringify(record, null, 2)}</pre></details></section>
      </div>`;
  }
}
customElements.define("pm-decision", Decision);
