// One project: is it safe, is it better, who answered, and what was done.

import { html, nothing } from "lit";
import { at, call, get } from "../api.js";
import "../chart.js";
import { colouring, faded, ink } from "../colours.js";
import { ago, difference, figure, interval, micros, percent, verdict, when, whole } from "../format.js";
import { Page } from "../page.js";
import { ask, badge, empty, grid, legend, phaseBadge, shareBar, swatch, verdictBadge } from "../parts.js";
import { costs, flips, heat, intervalBar, reliability, slices } from "../pictures.js";

const MARKS = {
  opened: "●", retried: "●", started: "▲", advanced: "▲", approved: "▲", resumed: "▲", passed: "★",
  succeeded: "★", paused: "॥", guardrail_broken: "▼", data_missing: "▼", stopped: "▼",
  unservable: "▼", blinded: "॥", withdrawn: "▼", aborted: "▼", undone: "▼",
};
const RANGES = [["15 min", 900], ["1 h", 3600], ["3 h", 10800], ["24 h", 86400], ["7 d", 604800], ["30 d", 2592000]];

class Project extends Page {
  key(place) {
    return JSON.stringify([place.name, place.query.from, place.query.until, place.query.last, place.query.attempt]);
  }

  async load() {
    const { name, query } = this.place;
    const until = Number(query.until) || 0;
    const from = Number(query.from) || Date.now() - (Number(query.last) || 3600) * 1000;
    const [status, timeline, looks, [breakdown, shadow]] = await Promise.all([
      get(at(name, "/status")),
      get(at(name, "/timeline"), { from_ms: from, until_ms: until || "" }),
      get(at(name, "/looks"), { attempt: query.attempt || "" }),
      this.slowly(name),
    ]);
    return { status, timeline, looks, breakdown, shadow };
  }

  /** What reads most evidence is read anew every quarter of a minute, the rest as things happen. */
  slowly(name) {
    if (this.slow?.name !== name || performance.now() - this.slow.at > 15_000) {
      const found = Promise.all([get(at(name, "/breakdown")), get(at(name, "/shadow"))]);
      this.slow = { name, at: performance.now(), found };
      found.catch(() => (this.slow = undefined));
    }
    return this.slow.found;
  }

  show({ status, timeline, looks, breakdown, shadow }) {
    const colour = colouring(status.variants.map((one) => one.name));
    return html`
      <div class="row apart"><div class="row">
        <h1>${status.project}</h1>${phaseBadge(status.phase)}
        <span class="quiet small">revision ${status.number} · table ${status.table.version}</span></div>
        ${this.verbs(status)}</div>
      <p>${status.sentence} <span class="quiet small" title=${when(status.changed_ms)}>${ago(status.changed_ms)} by ${status.actor}</span></p>
      ${status.kill_switches.map((k) => html`<div class="banner bad" role="alert">Killed: <strong>${k.target}</strong> by ${k.actor}${k.where === "gateway" ? " (at the gateway)" : ""}${k.reason ? `: ${k.reason}` : ""}</div>`)}
      ${status.troubles.map((text) => html`<div class="banner warn">${text}</div>`)}
      ${status.proposals.map((p) => html`<div class="banner warn row apart"><span>Proposed: <strong>${p.variant}</strong> from version ${p.from_version} to ${p.to_version}</span>
        <span class="row"><button @click=${() => this.proposal(p, "accept")}>Accept</button><button @click=${() => this.proposal(p, "dismiss")}>Dismiss</button></span></div>`)}
      <div class="grid">
        ${status.rollout ? this.rollout(status.rollout, colour) : nothing}
        ${status.rollout ? this.criteria(status.rollout, colour) : nothing}
        ${this.traffic(timeline, colour)}
        ${status.rollout ? this.evidence(looks, timeline) : nothing}
        ${this.ship(status, colour)}
        ${breakdown.rules.map((rule) => html`<section class="card wide"><h2>Who is hurt · rule ${rule.rule}</h2>${slices(rule, status.rollout?.against)}</section>`)}
        ${shadow.comparisons.map((one) => this.shadowed(one, colour))}
        ${breakdown.positive ? breakdown.rules.map((rule) => html`<section class="card wide"><h2>Are the scores honest · rule ${rule.rule}</h2>${reliability(rule.reliability, colour)}</section>`) : nothing}
        ${breakdown.rules.map((rule) => html`<section class="card wide"><h2>Latency · rule ${rule.rule}</h2>${heat(rule.latency, colour)}</section>`)}
        ${breakdown.rules.map((rule) => costs(rule.cost, colour))}
        ${this.happened(timeline)}
      </div>`;
  }

  verbs(status) {
    const phase = status.rollout?.phase;
    const killed = status.kill_switches.some((k) => k.target === status.project);
    const verb = (name, title, says, danger = false, body = {}) =>
      html`<button class=${danger ? "danger" : ""} @click=${() => ask({ title, says, verb: title, danger, act: (reason) => call("POST", at(status.project, `:${name}`), { body: { ...body, reason }, query: { wait: 5 } }) })}>${title}</button>`;
    const variant = status.rollout?.variant;
    return html`<div class="row">
      ${phase === "running" ? verb("promote", "Advance", `The rollout skips what is left of its step and goes to the next one: ${variant} gets more traffic. What guardrails have shown still counts.`) : nothing}
      ${["running", "paused"].includes(phase) ? verb("promote", "Promote fully", `${variant} becomes the champion for all traffic, without waiting for evidence.`, true, { full: true }) : nothing}
      ${phase === "running" ? verb("pause", "Pause", `${variant} keeps its share and does not grow until somebody resumes. Guardrails still roll it back.`) : nothing}
      ${phase === "paused" ? verb("resume", "Resume", `${variant} goes on growing by its steps.`) : nothing}
      ${["pending", "running", "paused", "promoting"].includes(phase) ? verb("abort", "Abort", `${variant} loses all its traffic at once, and the rollout ends as rolled back.`, true) : nothing}
      ${phase === "rolled_back" || phase === "failed" ? verb("retry", "Retry", `The same version begins again at its first step.`) : nothing}
      ${(status.rollout?.waits_for || []).some((text) => text.includes("approv")) ? verb("approve", "Approve step", "You agree that the rollout goes past its approval step.") : nothing}
      ${verb("undo", "Undo", "What was last published is taken back at once, for all traffic.", true)}
      ${killed ? verb("unkill", "Lift the kill switch", "Rules and splits decide again.") : verb("kill", "Kill", `Everything goes to the champion at once, whatever rules, splits and rollouts say, until the switch is lifted.`, true)}
    </div>`;
  }

  proposal(one, what) {
    ask({
      title: what === "accept" ? "Accept the proposal" : "Dismiss the proposal",
      says: what === "accept" ? `${one.variant} serves version ${one.to_version} instead of ${one.from_version}, once it is prepared and proved.` : "Nothing changes, and it is not proposed again.",
      verb: what === "accept" ? "Accept" : "Dismiss",
      act: (reason) => call("POST", at(this.place.name, `/proposals/${one.id}:${what}`), { body: { reason } }),
    });
  }

  rollout(one, colour) {
    return html`<section class="card wide"><h2 class="row">Rollout of ${swatch(colour(one.variant))}${one.variant} ${one.version} ${phaseBadge(one.phase)}</h2>
      <p>${one.sentence}</p>
      ${one.step?.text ? html`<p class="small"><strong>${one.step.text || `step ${one.step.number} of ${one.step.of}`}</strong> since ${when(one.step.since_ms)}</p>
        <div class="row" role="img" aria-label="step ${one.step.number} of ${one.step.of}">${Array.from({ length: one.step.of }, (_, at) => html`<span style="flex:1;height:8px;border-radius:4px;background:${at < one.step.number ? colour(one.variant) : "var(--line)"}"></span>`)}</div>` : nothing}
      ${one.waits_for.length ? html`<h3>Waits for</h3><ul>${one.waits_for.map((text) => html`<li>${text}</li>`)}</ul>` : nothing}
      ${one.stopped ? html`<div class="banner bad">${one.stopped}</div>` : nothing}
      ${one.blind ? html`<div class="banner warn">${one.blind}</div>` : nothing}
      ${one.pending.length ? html`<p class="small quiet">Still to be done: ${one.pending.map((p) => `${p.what}${p.error ? ` (${p.error})` : ""}`).join(", ")}</p>` : nothing}
      <h3>Steps so far</h3>
      ${one.transitions.length ? html`<ol class="steps">${one.transitions.slice(-12).reverse().map((t) => html`<li><span class="mark" aria-hidden="true">${MARKS[t.event] || "·"}</span><span><span class="small quiet">${when(t.at_ms)} · ${percent(t.weight, 0)}</span><br>${t.sentence}</span></li>`)}</ol>` : empty("It has not begun. Move the alias it follows, or", "pointsman promote NAME")}
    </section>`;
  }

  criteria(one, colour) {
    return html`<section class="card wide"><h2 class="row">Can it ship? ${one.verdict ? verdictBadge(one.verdict) : nothing}</h2>
      ${one.reasons.map((text) => html`<p class=${/ratio|propensit|coverage/i.test(text) ? "banner bad" : "small"}>${text}</p>`)}
      ${one.metrics.length
        ? grid(`${one.variant} less ${one.against}; the dashed line is the bound`, [
            ["criterion", (m) => html`${m.metric}${m.slice ? html` <span class="quiet">${m.slice}</span>` : nothing}<div class="small quiet">${m.role}</div>`, (m) => `${m.role} ${m.metric} ${m.slice}`],
            ["verdict", (m) => verdictBadge(m.verdict), (m) => verdict(m.verdict)[2]],
            ["interval", intervalBar, (m) => interval(m.low, m.high, m.unit)],
            ["difference", (m) => html`${difference(m.value, m.unit)}<div class="small quiet">${interval(m.low, m.high, m.unit)}</div>`, (m) => m.value],
            ["bound", (m) => difference(m.bound, m.unit)],
            ["n", (m) => `${whole(m.n)} / ${whole(m.n_champion)}`, null, true],
          ], one.metrics)
        : empty("Nothing is judged while no challenger has traffic.")}
    </section>`;
  }

  traffic(found, colour) {
    const rule = found.rules[found.rule] ? found.rule : Object.keys(found.rules)[0];
    const variants = rule ? Object.keys(found.rules[rule]).filter((v) => v).sort((a, b) => (a === "champion" ? 1 : b === "champion" ? -1 : a.localeCompare(b))) : [];
    const times = found.starts.map((ms) => ms / 1000);
    const columns = variants.map((v) => found.rules[rule][v].served);
    const totals = times.map((_, at) => columns.reduce((sum, c) => sum + c[at], 0));
    let below = times.map(() => 0);
    const stacked = columns.map((column) => {
      below = below.map((sum, at) => sum + column[at]);
      return below.map((sum, at) => (totals[at] ? sum / totals[at] : null));
    });
    const target = (variant) => times.map((t) => {
      const now = found.targets.filter((one) => one.at_ms / 1000 <= t + found.step_ms / 1000).at(-1);
      return now?.rules[rule]?.[variant] ?? (now ? 0 : null);
    });
    let sum = times.map(() => 0);
    const lines = variants.slice(0, -1).map((variant) => {
      sum = target(variant).map((share, at) => (share === null ? null : (sum[at] ?? 0) + share));
      return { label: `target ${variant}`, values: sum, colour: "currentColor", dash: [6, 4], step: true };
    });
    const dark = ink("--text");
    const series = [
      ...stacked.map((values, place) => ({ label: variants[place], values, colour: colour(variants[place]), fill: faded(colour(variants[place]), 0.35), width: 1 })).reverse(),
      ...lines.map((one) => ({ ...one, colour: dark })),
    ];
    const bands = stacked.slice(1).map((_, at) => [at, at + 1, faded(colour(variants[variants.length - 1 - at]), 0.35)]);
    const every = Object.keys(found.rules);
    return html`<section class="card wide"><div class="row apart"><h2>Who answered${every.length > 1 ? ` · rule ${rule}` : ""}</h2>${this.ranges()}</div>
      ${variants.length ? html`${legend(variants, colour)}
        <pm-chart label="Share of decisions by variant served over time, with the target as a dashed line" .times=${times} .series=${series} .bands=${bands} .range=${[0, 1]} .events=${found.events}
          .say=${(v) => percent(v, 0)} .span=${this.span(found, totals)}
          .tip=${(at) => [...variants.map((v, place) => `${v}: ${totals[at] ? percent(columns[place][at] / totals[at]) : "–"} (target ${percent(target(v)[at])}), n=${whole(columns[place][at])}`), `n=${whole(totals[at])} in ${found.step_ms / 1000} s`]}></pm-chart>`
        : empty("No decisions in this range. Send traffic:", "curl -d @person.json http://127.0.0.1:8700/v1/projects/NAME:predict")}
    </section>`;
  }

  /** The range that was asked for; where none was, without the time before the first traffic. */
  span(found, totals) {
    const { query } = this.place;
    const first = totals.findIndex((n) => n > 0);
    const begin = query.from || query.last || first < 0 ? found.from_ms : found.starts[Math.max(first - 3, 0)];
    return [Math.max(begin, found.from_ms) / 1000, found.until_ms / 1000];
  }

  ranges() {
    const { query } = this.place;
    const amend = (detail) => this.dispatchEvent(new CustomEvent("amend", { detail, bubbles: true }));
    const now = query.from ? "" : query.last || "3600";
    return html`<div class="row" role="group" aria-label="Range of time">${RANGES.map(([text, s]) => html`<button aria-pressed=${String(s) === now} class=${String(s) === now ? "primary" : ""} @click=${() => amend({ last: s, from: "", until: "" })}>${text}</button>`)}
      ${query.from ? html`<span class="small">${when(Number(query.from))} to ${when(Number(query.until))}</span>` : nothing}</div>`;
  }

  evidence(found, timeline) {
    const { query } = this.place;
    const amend = (detail) => this.dispatchEvent(new CustomEvent("amend", { detail, bubbles: true }));
    if (!found.criteria.length) return html`<section class="card wide"><h2>Evidence over time</h2>${empty("No look at the evidence yet.")}</section>`;
    const name = (c) => [c.role, c.metric, c.slice].join("|");
    const one = found.criteria.find((c) => name(c) === query.criterion) || found.criteria[0];
    const times = one.at_ms.map((ms) => ms / 1000);
    const far = Math.max(...one.value.concat(one.bound).filter((v) => v !== null).map(Math.abs)) * 6 || 1;
    const cut = (values, side) => values.map((v, at) => (one.value[at] === null ? null : v === null ? side * far : Math.max(-far, Math.min(far, v))));
    const accent = ink("--accent");
    const bad = "#d55e00";
    const series = [
      { label: "upper", values: cut(one.high, 1), colour: faded(accent, 0.5), width: 1 },
      { label: "lower", values: cut(one.low, -1), colour: faded(accent, 0.5), width: 1 },
      { label: "difference", values: one.value, colour: accent },
      { label: "bound", values: one.bound, colour: bad, dash: [4, 4] },
    ];
    const events = timeline.events.filter((e) => e.at_ms >= one.at_ms[0] && e.at_ms <= one.at_ms.at(-1));
    return html`<section class="card wide"><div class="row apart"><h2>Evidence over time · attempt ${found.attempt}</h2>
        <div class="row"><label>Criterion <select @change=${(e) => amend({ criterion: e.target.value })}>${found.criteria.map((c) => html`<option value=${name(c)} ?selected=${c === one}>${c.role} ${c.metric}${c.slice ? ` · ${c.slice}` : ""}</option>`)}</select></label>
        ${found.attempts.length > 1 ? html`<label>Attempt <select @change=${(e) => amend({ attempt: e.target.value })}>${found.attempts.map((a) => html`<option ?selected=${a === found.attempt}>${a}</option>`)}</select></label>` : nothing}</div></div>
      <p class="small quiet">The interval holds at every look at once, so it may be watched. The bound holds once the whole interval is on its good side.</p>
      <pm-chart label="Difference of ${one.metric} to the champion, narrowing against its bound" .times=${times} .series=${series} .bands=${[[0, 1, faded(accent, 0.16)]]} .events=${events}
        .say=${(v) => difference(v, one.unit, 1)}
        .tip=${(at) => [`${one.metric}: ${difference(one.value[at], one.unit)} ${interval(one.low[at], one.high[at], one.unit)}`, `bound ${difference(one.bound[at], one.unit)}: ${verdict(one.verdict[at])[2]}`, `n=${whole(one.n[at])} and ${whole(one.n_champion[at])}`]}></pm-chart>
    </section>`;
  }

  /** Every figure of what the split drew, variants side by side. */
  ship(status, colour) {
    const rules = status.rules.filter((rule) => rule.arms.some((arm) => arm.figures));
    const shown = (name) => (name.startsWith("latency_us") ? (v) => micros(Math.round(v)) : name === "log_loss" || name === "auc" || name === "brier" ? (v) => v.toFixed(4) : (v) => percent(v, 2));
    return html`<section class="card wide"><h2>Variants</h2>
      ${grid("What should be beside what is", [
        ["rule", (r) => r.rule], ["variant", (r) => html`<span class="row">${swatch(colour(r.variant))}${r.variant}</span>`, (r) => r.variant],
        ["target", (r) => percent(r.target), null, true], ["actual", (r) => percent(r.actual), null, true], ["decisions", (r) => whole(r.decisions), null, true],
      ], status.rules.flatMap((rule) => rule.arms.map((arm) => ({ ...arm, rule: rule.rule }))))}
      ${rules.map((rule) => {
        const arms = rule.arms.filter((arm) => arm.figures);
        const names = [...new Set(arms.flatMap((arm) => Object.keys(arm.figures)))];
        return html`<h3>Rule ${rule.rule}, epoch ${rule.epoch}: ${rule.figures_of}</h3>${grid("Figures with intervals that hold at every look", [
          ["metric", (n) => n], ...arms.map((arm) => [arm.variant, (n) => (arm.figures[n]?.missing ? html`<span class="quiet small" title=${arm.figures[n].missing}>no data</span>` : html`${figure(arm.figures[n], shown(n))}<div class="small quiet">n=${whole(arm.figures[n]?.n)}</div>`), (n) => arm.figures[n]?.value]),
        ], names)}`;
      })}
      <h3>How they run</h3>
      ${grid("Models", [["variant", (v) => html`<span class="row">${swatch(colour(v.name))}${v.name}</span>`, (v) => v.name], ["version", (v) => v.version], ["runtime", (v) => v.runtime], ["why", (v) => v.runtime_reason], ["labels known", (v) => percent(v.labels.value), null, true], ["decisions", (v) => whole(v.decisions), null, true]], status.variants)}
    </section>`;
  }

  shadowed(one, colour) {
    return html`<section class="card"><h2 class="row">Shadow ${swatch(colour(one.shadow))}${one.shadow}:${one.shadow_version} beside ${swatch(colour(one.served))}${one.served}</h2>
      ${one.agreement.n === 0 ? empty("No request was answered by both yet.") : flips(one, one.classes)}
      <p class="small">newly denied ${whole(one.newly_denied)} · newly allowed ${whole(one.newly_allowed)}</p>
      <p class="small ${one.labels.state === "selective" ? "banner bad" : ""}">${one.labels.text}</p>
      ${one.paired.map((p) => (p.missing ? html`<p class="small quiet">${p.metric}: ${p.missing}</p>` : html`<p class="small">${p.metric}: ${badge(p.verdict === "better" ? "good" : p.verdict === "worse" ? "bad" : "plain", p.verdict)} ${difference(p.value, "points")} ${interval(p.low, p.high, "points")}, n=${whole(p.n)}</p>`))}
    </section>`;
  }

  happened(found) {
    return html`<section class="card wide"><h2>What happened in this range</h2>
      ${found.events.length ? html`<ol class="events" tabindex="0" aria-label="What happened, the newest first">${[...found.events].reverse().map((e) => html`<li><div class="small quiet">${when(e.at_ms)} · ${e.actor} · ${e.action}</div>${e.sentence}</li>`)}</ol>` : empty("Nothing was changed.")}
    </section>`;
  }
}
customElements.define("pm-project", Project);
