// Every project at a glance: phase, target and actual share, verdict, what happened last.

import { html, nothing } from "lit";
import { get } from "../api.js";
import { colouring } from "../colours.js";
import { ago, percent, when } from "../format.js";
import { Page } from "../page.js";
import { empty, legend, phaseBadge, shareBar, verdictBadge } from "../parts.js";
import { address } from "../router.js";

class Projects extends Page {
  load() {
    return get("/v1/projects");
  }

  show({ projects }) {
    const word = (this.place.query.find || "").toLowerCase();
    const shown = projects.filter((one) => one.project.toLowerCase().includes(word));
    return html`<div class="row apart">
        <h1>Projects</h1>
        <label>Find <input type="search" .value=${this.place.query.find || ""} @input=${(e) => this.dispatchEvent(new CustomEvent("amend", { detail: { find: e.target.value }, bubbles: true }))}></label>
      </div>
      ${projects.length ? nothing : empty("There is no project yet. Write a file and apply it:", "pointsman init && pointsman apply -f income.yaml")}
      ${shown.length ? html`<div class="card scroll" tabindex="0" role="region" aria-label="Projects"><table>
        <thead><tr><th scope="col">project</th><th scope="col">phase</th><th scope="col">target over actual share</th><th scope="col">rollout</th><th scope="col">last</th></tr></thead>
        <tbody>${shown.map((one) => this.line(one))}</tbody>
      </table></div>` : nothing}`;
  }

  line(one) {
    const colour = colouring(Object.keys({ ...one.target, ...one.actual }));
    const names = Object.keys(one.target);
    return html`<tr>
      <td><a href=${address(one.project)}><strong>${one.project}</strong></a><div class="small quiet">revision ${one.number}</div></td>
      <td>${phaseBadge(one.phase)}</td>
      <td>${shareBar(one.target, colour, "target")}
        ${one.actual ? shareBar(one.actual, colour, "actual, past 5 minutes") : html`<div class="small quiet">no traffic in the past 5 minutes</div>`}
        ${legend(names, colour)}</td>
      <td>${one.rollout ? html`<div class="row">${phaseBadge(one.rollout.phase)}${one.rollout.verdict ? verdictBadge(one.rollout.verdict) : nothing}</div><div class="small quiet">${one.rollout.variant} at ${percent(one.rollout.weight)}</div>` : html`<span class="quiet">none</span>`}</td>
      <td class="small">${one.sentence}<div class="quiet" title=${when(one.at_ms)}>${ago(one.at_ms)}</div></td>
    </tr>`;
  }
}
customElements.define("pm-projects", Projects);
