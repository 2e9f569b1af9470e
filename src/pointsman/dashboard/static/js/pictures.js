// Pictures that are no time series: drawn as SVG or as tables, so that they can be read and copied.

import { html, nothing, svg } from "lit";
import { clock, difference, figure, micros, number, percent, whole } from "./format.js";
import { empty, grid, swatch } from "./parts.js";

/** An interval against its bound: where the whole bar is on the good side, the bound holds. */
export function intervalBar(one) {
  const values = [one.value, one.low, one.high, one.bound, 0].filter((v) => v !== null && v !== undefined);
  if (one.value === null || one.value === undefined) return nothing;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || 1) * 0.12;
  const x = (v) => 4 + ((v - low + room) / (high - low + 2 * room)) * 212;
  const [from, until] = [one.low ?? low - room, one.high ?? high + room].map(x);
  const said = `${difference(one.value, one.unit)}, between ${difference(one.low, one.unit)} and ${difference(one.high, one.unit)}, bound ${difference(one.bound, one.unit)}`;
  return html`<svg viewBox="0 0 220 26" width="220" height="26" role="img" aria-label=${said}>
    <title>${said}, n=${whole(one.n)} and ${whole(one.n_champion)}</title>
    <line x1=${x(0)} x2=${x(0)} y1="3" y2="23" stroke="var(--line)" stroke-width="1.5"></line>
    <line x1=${x(one.bound)} x2=${x(one.bound)} y1="2" y2="24" stroke="var(--bad)" stroke-width="2" stroke-dasharray="3 2"></line>
    <line x1=${from} x2=${until} y1="13" y2="13" stroke="var(--accent)" stroke-width="5" stroke-linecap="round" opacity=".55"></line>
    <circle cx=${x(one.value)} cy="13" r="4.5" fill="var(--accent)"></circle>
  </svg>`;
}

/** Mean score beside the share that was positive, with intervals; the diagonal is honest. */
export function reliability(found, colour) {
  const variants = Object.entries(found).filter(([, one]) => one.bins.length);
  if (!variants.length) return empty("No labels are joined yet; send them with", "POST /v1/feedback");
  const size = 240;
  const [x, y] = [(v) => 30 + v * size, (v) => 10 + (1 - v) * size];
  return html`<div class="row">
    ${variants.map(
      ([name, one]) => html`<figure>
        <svg viewBox="0 0 290 280" width="290" height="280" role="img" aria-label="Reliability of ${name}, ${one.bins.length} bins">
          <line x1=${x(0)} y1=${y(0)} x2=${x(1)} y2=${y(1)} stroke="var(--line)" stroke-dasharray="4 3"></line>
          <path d="M${x(0)} ${y(0)}V${y(1)}M${x(0)} ${y(0)}H${x(1)}" stroke="var(--quiet)" fill="none"></path>
          ${[0, 0.5, 1].map((v) => svg`<text x=${x(v)} y="266" text-anchor="middle">${v}</text><text x="24" y=${y(v) + 4} text-anchor="end">${v}</text>`)}
          ${one.bins.map((bin) => svg`<g><title>mean score ${number(bin.score, 3)}: positive ${figure(bin.share)}, n=${bin.share.n}</title>
            ${bin.share.low === undefined ? nothing : svg`<line x1=${x(bin.score)} x2=${x(bin.score)} y1=${y(bin.share.low)} y2=${y(bin.share.high)} stroke=${colour(name)} stroke-width="2" opacity=".6"></line>`}
            <circle cx=${x(bin.score)} cy=${y(bin.share.value)} r="4" fill=${colour(name)}></circle></g>`)}
          <text x=${x(0.5)} y="279" text-anchor="middle">mean score</text>
        </svg>
        <figcaption class="row">${swatch(colour(name))}${name}: calibration error ${one.calibration_error === null ? "not known yet" : percent(one.calibration_error)}</figcaption>
      </figure>`,
    )}
  </div>`;
}

/** Decisions by time and latency: tails and second humps that quantiles hide. */
export function heat(found, colour) {
  const variants = Object.entries(found).filter(([, one]) => one.columns.length);
  if (!variants.length) return empty("Nothing was drawn by the split yet.");
  return variants.map(([name, one]) => {
    const most = Math.max(...one.counts.flat(), 1);
    const rows = [...one.edges_us.keys()].reverse();
    return html`<figure>
      <div class="row small">${swatch(colour(name))}${name}</div>
      <div class="heat" role="img" aria-label="Latency of ${name} over time, from ${micros(one.edges_us[0])} to ${micros(one.edges_us.at(-1))}"
        style="grid-template-columns: 64px repeat(${one.columns.length}, minmax(3px, 1fr))">
        ${rows.map((row) => html`<div class="small quiet" style="font-size:10px;line-height:13px">${row % 2 === 0 ? micros(one.edges_us[row]) : nothing}</div>
          ${one.columns.map((at, column) => {
            const n = one.counts[column][row];
            const part = n ? 0.12 + 0.88 * Math.sqrt(n / most) : 0;
            return html`<div title="${clock(at / 1000, true)} UTC, from ${micros(one.edges_us[row])}: n=${whole(n)}" style="background:${part ? `color-mix(in srgb, ${colour(name)} ${Math.round(part * 100)}%, var(--card))` : "var(--ground)"}"></div>`;
          })}`)}
      </div>
      <figcaption>${clock(one.columns[0] / 1000, true)} to ${clock((one.columns.at(-1) + one.width_ms) / 1000, true)} UTC, columns of ${one.width_ms / 60000} min</figcaption>
    </figure>`;
  });
}

/** What the shadow would have said where the served one said otherwise. */
export function flips(comparison, classes) {
  const most = Math.max(...comparison.matrix.flat(), 1);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Flips"><table>
    <caption>${comparison.from ?? comparison.served} in rows, ${comparison.to ?? comparison.shadow} in columns: decisions</caption>
    <thead><tr><th scope="col"></th>${classes.map((c) => html`<th scope="col" class="number">${c}</th>`)}</tr></thead>
    <tbody>${comparison.matrix.map((line, row) => html`<tr><th scope="row">${classes[row]}</th>
      ${line.map((n, column) => html`<td class="number" style=${row === column ? "" : `background:color-mix(in srgb, var(--warn) ${Math.round((n / most) * 60)}%, transparent)`}>${whole(n)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** Slices by the largest difference to the champion, the worst first. */
export function slices(rule, against = "champion") {
  const others = rule.variants.filter((name) => name !== against);
  const rows = rule.slices.flatMap((one) =>
    others
      .filter((name) => one.variants[name] && one.variants[against])
      .map((name) => ({ slice: one.slice, name, mine: one.variants[name], theirs: one.variants[against] })),
  );
  if (!rows.length && rule.slices.length) return empty("The split draws one variant alone just now: there is nothing to compare.");
  if (!rows.length) return empty("Nothing is kept by slice: name attributes of a metric,", "slices: [country]");
  const gap = (row, metric) =>
    row.mine[metric].value === undefined || row.theirs[metric].value === undefined
      ? null
      : row.mine[metric].value - row.theirs[metric].value;
  const worst = (row) => Math.max(Math.abs(gap(row, "denied") ?? 0), -(gap(row, "accuracy") ?? 0));
  rows.sort((a, b) => worst(b) - worst(a));
  const top = Math.max(...rows.map((row) => Math.abs(gap(row, "denied") ?? 0)), 1e-9);
  const bar = (value) => {
    if (value === null) return "–";
    const width = (Math.abs(value) / top) * 60;
    return html`<span class="row"><span style="display:inline-block;height:10px;width:${width}px;background:${value > 0 ? "var(--bad)" : "var(--good)"}"></span>${difference(value, "points")}</span>`;
  };
  return grid("Slices, the worst first: challenger less champion", [
    ["slice", (row) => row.slice],
    ["variant", (row) => row.name],
    ["denied", (row) => bar(gap(row, "denied")), (row) => gap(row, "denied")],
    ["of", (row) => `${percent(row.theirs.denied.value)} → ${percent(row.mine.denied.value)}`],
    ["accuracy", (row) => difference(gap(row, "accuracy"), "points")],
    ["errors", (row) => percent(row.mine.errors.value, 2)],
    ["n", (row) => `${whole(row.mine.denied.n)} / ${whole(row.theirs.denied.n)}`, null, true],
  ], rows);
}

export function costs(found, colour) {
  const rows = Object.entries(found).filter(([, one]) => one.decisions);
  if (!rows.some(([, one]) => one.total)) return nothing;
  const each = ([, one]) => one.total / one.decisions;
  const top = Math.max(...rows.map(each), 1e-12);
  return html`<section class="card"><h2>Cost</h2>${grid("Declared cost of what the split drew", [
    ["variant", ([name]) => html`<span class="row">${swatch(colour(name))}${name}</span>`, ([name]) => name],
    ["per decision", (row) => html`<span class="row"><span style="display:inline-block;height:10px;width:${(each(row) / top) * 120}px;background:${colour(row[0])}"></span>${number(each(row))}</span>`, each],
    ["per correct decision", ([, one]) => number(one.per_correct), null, true],
    ["total", ([, one]) => number(one.total, 6), null, true],
    ["n", ([, one]) => whole(one.decisions), null, true],
  ], rows)}</section>`;
}
