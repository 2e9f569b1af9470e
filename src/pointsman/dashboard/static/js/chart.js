// Time series: one element over uPlot, with events on the axis, a tip that says n, and a table.

import { LitElement, html, nothing } from "lit";
import uPlot from "uplot";
import { ink } from "./colours.js";
import { clock, when } from "./format.js";

/**
 * Properties:
 *   times: seconds; series: [{label, values, colour, fill?, dash?, step?, width?}], drawn in order
 *   bands: [[upper, lower, colour]] by place in `series` (0 = the first)
 *   say(value): how values are written; range: [low, high] or null
 *   events: [{at_ms, sentence, kind}]; tip(index): lines of the tip at a place in `times`
 *   label: what the picture shows, for those who do not see it
 */
export class Chart extends LitElement {
  static properties = {
    times: { attribute: false },
    series: { attribute: false },
    bands: { attribute: false },
    events: { attribute: false },
    say: { attribute: false },
    range: { attribute: false },
    tip: { attribute: false },
    span: { attribute: false },
    label: {},
  };

  constructor() {
    super();
    this.times = [];
    this.series = [];
    this.bands = [];
    this.events = [];
    this.say = String;
    this.range = null;
    this.tip = null;
    this.span = null;
    this.label = "";
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.repaint = () => this.draw(true);
  }

  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    this.observer = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.observer.observe(this);
    this.scheme.addEventListener("change", this.repaint);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.observer.disconnect();
    this.scheme.removeEventListener("change", this.repaint);
    this.plot?.destroy();
    this.plot = null;
  }

  render() {
    return html`<figure>
      <div class="chart" role="img" aria-label=${this.label}></div>
      <details><summary>Show as a table</summary>${this.table ?? nothing}</details>
    </figure>`;
  }

  firstUpdated() {
    this.querySelector("details").addEventListener("toggle", (event) => {
      this.table = event.target.open ? this.rows() : null;
      this.requestUpdate();
    });
  }

  updated() {
    this.draw(false);
  }

  rows() {
    const every = Math.max(1, Math.ceil(this.times.length / 200));
    const places = this.times.map((_, place) => place).filter((place) => place % every === 0);
    return html`<div class="scroll" tabindex="0" role="region" aria-label="${this.label}, as a table"><table>
      <thead><tr><th scope="col">time</th>${this.series.map((one) => html`<th scope="col" class="number">${one.label}</th>`)}</tr></thead>
      <tbody>${places.map((place) => html`<tr><td>${when(this.times[place] * 1000)}</td>${this.series.map((one) => html`<td class="number">${one.values[place] === null || one.values[place] === undefined ? "–" : this.say(one.values[place])}</td>`)}</tr>`)}</tbody>
    </table></div>`;
  }

  size() {
    return { width: Math.max(this.clientWidth, 200), height: 230 };
  }

  draw(anew) {
    const holder = this.querySelector(".chart");
    if (!holder) return;
    const shape = JSON.stringify([this.series.map((s) => [s.label, s.colour, s.fill, s.dash, s.step]), this.bands, this.range]);
    const data = [this.times, ...this.series.map((one) => one.values)];
    if (this.plot && !anew && shape === this.shape) {
      this.plot.setData(data);
      return;
    }
    this.shape = shape;
    this.plot?.destroy();
    holder.replaceChildren();
    this.plot = new uPlot(this.options(holder), data, holder);
  }

  options(holder) {
    const grid = { stroke: ink("--line"), width: 1 };
    const axis = { stroke: ink("--quiet"), grid, ticks: grid };
    const range = (ticks) => (ticks.at(-1) ?? 0) - (ticks[0] ?? 0);
    return {
      ...this.size(),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { show: false },
      cursor: { drag: { x: true, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true, range: (_, low, high) => (this.span ? this.span : [low, high]) },
        y: this.range ? { range: () => this.range } : { range: (_, low, high) => padded(low, high) },
      },
      axes: [
        { ...axis, values: (_, ticks) => ticks.map((t) => clock(t, range(ticks) > 72000, range(ticks) < 600)), label: "UTC", labelSize: 18, size: 34, space: 84 },
        { ...axis, values: (_, ticks) => ticks.map((t) => this.say(t)), size: 96 },
      ],
      series: [
        {},
        ...this.series.map((one) => ({
          label: one.label,
          stroke: one.colour,
          width: one.width ?? 2,
          fill: one.fill,
          dash: one.dash,
          points: { show: false },
          spanGaps: false,
          paths: one.step ? uPlot.paths.stepped({ align: 1 }) : undefined,
        })),
      ],
      bands: this.bands.map(([upper, lower, fill]) => ({ series: [upper + 1, lower + 1], fill })),
      hooks: {
        draw: [(plot) => this.marks(plot)],
        setCursor: [(plot) => this.hover(plot, holder)],
        setSelect: [(plot) => this.select(plot)],
      },
    };
  }

  marks(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = ink("--quiet");
    ctx.setLineDash([3, 4]);
    ctx.lineWidth = 1;
    for (const event of this.events) {
      const x = plot.valToPos(event.at_ms / 1000, "x", true);
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  hover(plot, holder) {
    this.box ??= Object.assign(document.createElement("div"), { className: "tip" });
    if (this.box.parentNode !== holder) holder.append(this.box);
    const { idx, left } = plot.cursor;
    if (idx === null || idx === undefined || left < 0) {
      this.box.hidden = true;
      return;
    }
    const lines = [when(this.times[idx] * 1000)];
    if (this.tip) lines.push(...this.tip(idx));
    else
      for (const one of this.series)
        if (one.values[idx] !== null && one.values[idx] !== undefined)
          lines.push(`${one.label}: ${this.say(one.values[idx])}`);
    for (const event of this.events)
      if (Math.abs(plot.valToPos(event.at_ms / 1000, "x") - left) < 6) lines.push(`◆ ${event.sentence}`);
    this.box.replaceChildren(...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    this.box.hidden = false;
    const wide = this.box.offsetWidth;
    const over = plot.over.offsetLeft + left;
    this.box.style.left = `${over + wide + 24 > holder.clientWidth ? Math.max(over - wide - 12, 0) : over + 12}px`;
    this.box.style.top = "8px";
  }

  /** A range that was dragged becomes the page's, so that its address keeps it. */
  select(plot) {
    const { left, width } = plot.select;
    if (width < 6) return;
    const [from, until] = [left, left + width].map((x) => Math.round(plot.posToVal(x, "x") * 1000));
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.dispatchEvent(new CustomEvent("range", { detail: { from, until }, bubbles: true }));
  }
}

function padded(low, high) {
  if (low === null || high === null || low === undefined) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  return [low < 0 ? low - room : Math.max(0, low - room), high + room];
}

customElements.define("pm-chart", Chart);
