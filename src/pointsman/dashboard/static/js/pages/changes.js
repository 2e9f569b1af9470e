// Every revision: what it changed, who and why; and the way back.

import { html, nothing } from "lit";
import { at, call, get } from "../api.js";
import { when } from "../format.js";
import { Page } from "../page.js";
import { ask, badge } from "../parts.js";

class Changes extends Page {
  static properties = { ...Page.properties, open: { state: true } };

  async load() {
    const name = this.place.name;
    const found = await get(at(name, "/history"), { limit: 200 });
    const wanted = Number(this.place.query.revision) || null;
    if (wanted) this.open = await this.diff(wanted);
    else this.open = null;
    return found;
  }

  async diff(number) {
    const path = at(this.place.name);
    const [mine, before] = await Promise.all([
      get(`${path}/revisions/${number}`),
      number > 1 ? get(`${path}/revisions/${number - 1}`) : { document: {}, cause: "" },
    ]);
    const told = number > 1 && mine.cause !== "delete" && before.cause !== "delete" ? await get(path + "/diff", { from: number - 1, to: number }) : null;
    return { number, told, lines: compared(before.document, mine.document) };
  }

  show({ revisions, entries }) {
    const newest = revisions[0]?.number;
    const amend = (detail) => this.dispatchEvent(new CustomEvent("amend", { detail, bubbles: true }));
    return html`<h1 class="hidden">Changes of ${this.place.name}</h1><div class="grid">
      <section class="card wide"><h2>Revisions</h2>
        <ol class="events" style="max-height:none">${revisions.map((one) => html`<li>
          <div class="row apart"><div class="row">
            <strong>${one.number}</strong> ${badge("plain", one.cause + (one.restores ? ` of ${one.restores}` : ""))}
            <span>${one.actor}</span><span class="quiet small">${when(one.at_ms)}</span>
            ${one.reason ? html`<q>${one.reason}</q>` : nothing}</div>
            <div class="row">
              <button @click=${() => amend({ revision: this.open?.number === one.number ? "" : one.number })} aria-expanded=${this.open?.number === one.number}>${this.open?.number === one.number ? "Close" : "What it changed"}</button>
              ${one.number !== newest && one.cause !== "delete" ? html`<button @click=${() => this.restore(one)}>Restore</button>` : nothing}
            </div></div>
          ${this.open?.number === one.number ? this.opened(this.open) : nothing}
        </li>`)}</ol></section>
      <section class="card wide"><h2>What happened</h2>
        <ol class="events" style="max-height:none">${entries.map((one) => html`<li><div class="small quiet">${when(one.at_ms)} · ${one.actor} · ${one.action}</div>${one.sentence}</li>`)}</ol></section>
    </div>`;
  }

  opened({ told, lines }) {
    return html`${told ? html`<p class="small">${told.summary.text}</p>
        <ul>${told.changes.flatMap((c) => c.details.map((d) => html`<li>${c.kind} ${c.name}: ${d}</li>`))}</ul>
        ${told.moves.map((m) => html`<p class="small">rule ${m.rule}: ${(m.share * 100).toFixed(2)} % of units move</p>`)}` : nothing}
      ${lines.length ? html`<pre tabindex="0" aria-label="What differs in the declared content">${lines.map(([sign, text]) => html`<div style=${sign === "+" ? "color:var(--good)" : sign === "-" ? "color:var(--bad)" : ""}>${sign} ${text}</div>`)}</pre>` : html`<p class="small quiet">The declared content is the same; what it was resolved to differs.</p>`}`;
  }

  restore(one) {
    ask({
      title: `Restore revision ${one.number}`,
      says: `What ${this.place.name} declared, its versions and its allocation become those of revision ${one.number} again, at once and for all traffic. It is published as a new revision, so that this can be undone too.`,
      verb: "Restore",
      danger: true,
      act: (reason) => call("POST", at(this.place.name, ":undo"), { body: { to: one.number, reason } }),
    });
  }
}
customElements.define("pm-changes", Changes);

/** Lines of two documents, those that differ marked, by the longest common part of both. */
function compared(before, after) {
  const [a, b] = [before, after].map((d) => (Object.keys(d || {}).length ? JSON.stringify(d, null, 2).split("\n") : []));
  const longest = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i][j] = a[i] === b[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
  const lines = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length)
    if (i < a.length && j < b.length && a[i] === b[j]) lines.push([" ", a[i++], j++]);
    else if (j < b.length && (i === a.length || longest[i][j + 1] >= longest[i + 1][j])) lines.push(["+", b[j++]]);
    else lines.push(["-", a[i++]]);
  if (lines.every(([sign]) => sign === " ")) return [];
  const near = (at) => lines.slice(Math.max(at - 3, 0), at + 4).some(([sign]) => sign !== " ");
  return lines.filter((_, at) => near(at));
}
