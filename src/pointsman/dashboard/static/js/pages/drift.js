// Do inputs still look like they did, and how do versions probably do before labels come.

import { html, nothing } from "lit";
import { at, call, get } from "../api.js";
import "../chart.js";
import { colouring, faded } from "../colours.js";
import { clock, number, percent, when, whole } from "../format.js";
import { Page } from "../page.js";
import { badge, empty, grid, problem, swatch } from "../parts.js";

const METRICS = ["accuracy", "precision", "recall", "f1", "auc"];

class Drift extends Page {
  async load() {
    const { name, query } = this.place;
    const asked = { step: query.step || "" };
    const [found, performance, report, column] = await Promise.all([
      get(at(name, "/drift"), asked),
      get(at(name, "/performance")),
      get(at(name, "/report:about")),
      query.column ? get(at(name, "/drift/column"), { ...asked, name: query.column, at_ms: query.at }).catch(() => null) : null,
    ]);
    return { found, performance, report, column };
  }

  amend(detail) {
    this.dispatchEvent(new CustomEvent("amend", { detail, bubbles: true }));
  }

  show({ found, performance, report, column }) {
    return html`<h1 class="hidden">Drift of ${this.place.name}</h1><div class="grid">
      <section class="card wide"><div class="row apart"><h2>Do inputs look as before</h2>${this.steps(found)}</div>
        ${found.reference ? this.map(found) : empty(`Nothing to compare with yet: ${found.waits_for}. Or declare what it should look like:`, `pointsman profile ${this.place.name.split("/").at(-1)} training.parquet`)}
      </section>
      ${column ? this.two(column) : nothing}
      ${found.reference && found.starts.length ? this.list(found) : nothing}
      ${this.estimated(performance)}
      ${this.report(report)}
    </div>`;
  }

  /** Evidently's pages, made elsewhere of full records, for those who may export. */
  report(found) {
    const made = found.made_ms !== null;
    return html`<section class="card wide"><h2>Evidently</h2>
      ${made ? html`<p><button class="link" @click=${() => this.openReport()}>Evidently report of ${when(found.made_ms)}</button> <span class="small quiet">in another tab, for who may export</span></p>${problem(this.refused)}` : empty("No report yet. Every column and the labels of the last days beside those before:", `pointsman report ${this.place.name.split("/").at(-1)} --evidently`)}
    </section>`;
  }

  /** The tab is opened at once: a browser takes one that comes later for an advertisement. */
  async openReport() {
    const tab = window.open("about:blank", "_blank");
    try {
      const { path } = await call("POST", at(this.place.name, "/report:open"));
      if (!tab) throw new Error("the browser keeps tabs from being opened here");
      tab.opener = null;
      tab.location.replace(path);
      this.refused = null;
    } catch (error) {
      tab?.close();
      this.refused = error;
    }
    this.requestUpdate();
  }

  steps(found) {
    return html`<div class="row" role="group" aria-label="What is compared">${[["hour", "Each hour", 3600], ["day", "Each day", 86400]].map(([step, text, s]) => html`<button aria-pressed=${found.step_s === s} class=${found.step_s === s ? "primary" : ""} @click=${() => this.amend({ step, column: "", at: "" })}>${text}</button>`)}</div>`;
  }

  /** Features by time: the stronger the colour, the further from the reference; ▲ is an alarm. */
  map(found) {
    const { reference, starts } = found;
    const said = html`<p class="small">Beside ${reference.source} (n=${whole(reference.n)}${reference.actor === "registry" ? ", from the registry" : reference.actor ? `, declared by ${reference.actor}` : nothing}). A cell is the population stability index of that ${found.step_s < 86400 ? "hour" : "day"}; ▲ is a drift: over its limit, more than chance makes at that n, and a discovery among all that was looked at. Drift says where to look; it changes nothing by itself.</p>`;
    if (!starts.length) return html`${said}${empty("No decisions beside the reference yet. Send traffic:", "curl -d @person.json http://127.0.0.1:8700/v1/projects/NAME:predict")}`;
    const shown = found.step_s < 86400 ? (ms) => clock(ms / 1000, true) : (ms) => new Date(ms).toISOString().slice(5, 10);
    const open = this.place.query;
    const cell = (one, place) => {
      const psi = one.psi[place];
      if (psi === null) return html`<td class="cell quiet" title="${one.name}, ${when(starts[place])}: fewer than 50 decisions">·</td>`;
      const strength = Math.round(Math.min(psi / Math.max(one.limit[place] * 2, 1e-9), 1) * 38);
      const text = `${one.name}, ${when(starts[place])}: index ${number(psi, 3)}, limit ${number(one.limit[place], 3)}, n=${whole(one.n[place])}${one.drifted[place] ? ", drifted" : ""}`;
      const chosen = open.column === one.name && Number(open.at) === starts[place];
      return html`<td class="cell" style="background:color-mix(in srgb, var(--warn) ${strength}%, transparent)"><button class="cell" title=${text} aria-label=${text} aria-pressed=${chosen} @click=${() => this.amend(chosen ? { column: "", at: "" } : { column: one.name, at: starts[place] })}>${one.drifted[place] ? "▲" : ""}${psi.toFixed(2)}</button></td>`;
    };
    return html`${said}<div class="scroll" tabindex="0" role="region" aria-label="Drift by column and time"><table class="heat">
      <thead><tr><th scope="col">column</th>${starts.map((ms) => html`<th scope="col" class="number">${shown(ms)}</th>`)}</tr></thead>
      <tbody>${worstFirst(found.columns).map((one) => html`<tr><th scope="row">${one.name}${one.role === "answer" ? html` <span class="quiet small">answer</span>` : nothing}</th>${starts.map((_, place) => cell(one, place))}</tr>`)}</tbody>
    </table></div>`;
  }

  /** Both distributions behind a cell. */
  two(found) {
    const most = Math.max(...found.before, ...found.now, 1e-9);
    const bar = (share, colour) => html`<span class="row"><span style="display:inline-block;height:10px;width:${(share / most) * 160}px;background:${colour}"></span>${percent(share)}</span>`;
    const [before, now] = ["var(--quiet)", "var(--accent)"];
    return html`<section class="card wide"><h2>${found.column} at ${when(found.at_ms)}</h2>
      <div class="legend"><span>${swatch(before)}reference</span><span>${swatch(now)}then</span></div>
      ${grid(`Shares by bin, n=${whole(found.n)} beside n=${whole(found.reference.n)}`, [
        ["bin", (one) => one.label],
        ["reference", (one) => bar(one.before, before), (one) => one.before],
        ["then", (one) => bar(one.now, now), (one) => one.now],
      ], found.labels.map((label, place) => ({ label, before: found.before[place], now: found.now[place] })))}
    </section>`;
  }

  list(found) {
    const rows = worstFirst(found.columns).map((one) => ({ ...one, place: one.psi.findLastIndex((psi) => psi !== null) })).filter((one) => one.place >= 0);
    const of = (one, field) => one[field][one.place];
    return html`<section class="card wide"><h2>How far, at last</h2>${grid("The newest comparison of every column, the furthest first", [
      ["column", (one) => one.name], ["role", (one) => one.role], ["at", (one) => when(found.starts[one.place])],
      ["drift", (one) => (of(one, "drifted") ? badge("bad", "drifted", "▲") : found.starts[one.place] + found.step_s * 1000 > Date.now() ? badge("plain", "not over", "◐") : badge("good", "as before", "✔")), (one) => of(one, "drifted")],
      ["index", (one) => number(of(one, "psi"), 3), null, true], ["limit", (one) => number(of(one, "limit"), 3), null, true],
      ["Wasserstein", (one) => number(of(one, "wasserstein"), 3), null, true], ["Kolmogorov", (one) => number(of(one, "kolmogorov"), 3), null, true],
      ["Jensen-Shannon", (one) => number(of(one, "jensen_shannon"), 3), null, true], ["p", (one) => number(of(one, "p_value"), 2), null, true],
      ["n", (one) => whole(of(one, "n")), null, true],
    ], rows)}</section>`;
  }

  /** What scores say of all decisions, beside what labels say of those that have one. */
  estimated(found) {
    if (found.missing) return html`<section class="card wide"><h2>Before labels come</h2>${empty(found.missing)}</section>`;
    const { query } = this.place;
    const metric = METRICS.includes(query.metric) ? query.metric : "accuracy";
    const colour = colouring(found.versions.map((one) => one.variant));
    const pick = html`<label>Metric <select @change=${(e) => this.amend({ metric: e.target.value })}>${METRICS.map((name) => html`<option ?selected=${name === metric}>${name}</option>`)}</select></label>`;
    const shown = found.versions.filter((one) => one.days.length);
    return html`<section class="card wide"><div class="row apart"><h2>Before labels come: estimated beside realised</h2>${pick}</div>
      <p class="small quiet">The dashed line is an estimate from what scores have meant on days before; it holds while they keep their meaning. The solid line is what labels said. Bands hold 95 % of days on which nothing changed.</p>
      ${shown.length ? shown.map((one) => this.version(one, metric, colour(one.variant))) : empty("No decisions with a score yet.")}
    </section>`;
  }

  version(one, metric, colour) {
    const times = one.days.map((day) => day.at_ms / 1000);
    const of = (which, end) => one.days.map((day) => day[which]?.[metric]?.[end] ?? null);
    const [guess, truth] = ["estimated", "realised"].map((which) => ({ value: of(which, "value"), low: of(which, "low"), high: of(which, "high") }));
    const series = [
      { label: "estimated, upper", values: guess.high, colour: faded(colour, 0.4), width: 1 },
      { label: "estimated, lower", values: guess.low, colour: faded(colour, 0.4), width: 1 },
      { label: "estimated", values: guess.value, colour, dash: [6, 4] },
      { label: "realised", values: truth.value, colour, width: 2.5 },
    ];
    const text = (rates, place) => (rates.value[place] === null ? "none yet" : `${percent(rates.value[place])}${rates.low[place] === null ? "" : ` [${percent(rates.low[place])}, ${percent(rates.high[place])}]`}`);
    const rows = one.days.map((day, place) => ({ ...day, place }));
    return html`<h3 class="row">${swatch(colour)}${one.variant}:${one.version}</h3>
      <pm-chart label="${metric} of ${one.variant} version ${one.version} by day, estimated and realised" .times=${times} .series=${series} .bands=${[[0, 1, faded(colour, 0.14)]]} .events=${[]} .range=${[0, 1]}
        .say=${(v) => percent(v, 0)}
        .tip=${(place) => [`estimated ${metric}: ${text(guess, place)}, n=${whole(one.days[place].n)}`, `realised ${metric}: ${text(truth, place)}, n=${whole(one.days[place].labelled)}`]}></pm-chart>
      ${grid(`${metric} by day`, [
        ["day", (day) => when(day.at_ms).slice(0, 10)], ["estimated", (day) => text(guess, day.place)], ["realised", (day) => text(truth, day.place)],
        ["decisions", (day) => whole(day.n), null, true], ["labelled", (day) => whole(day.labelled), null, true],
      ], rows)}`;
  }
}
customElements.define("pm-drift", Drift);

/** Columns by how often they drifted, then by how far they are at most. */
function worstFirst(columns) {
  const times = (one) => one.drifted.filter(Boolean).length;
  const most = (one) => Math.max(...one.psi.map((psi, at) => (psi === null ? 0 : psi / one.limit[at])), 0);
  return [...columns].sort((a, b) => times(b) - times(a) || most(b) - most(a));
}
