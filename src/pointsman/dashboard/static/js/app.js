// The frame: who is signed in, which page is shown, whether it is live.

import { LitElement, html, nothing } from "lit";
import { follow, forgetToken, get, setToken, takeToken, token } from "./api.js";
import "./pages/alerts.js";
import "./pages/changes.js";
import "./pages/decisions.js";
import "./pages/drift.js";
import "./pages/plan.js";
import "./pages/project.js";
import "./pages/projects.js";
import { problem } from "./parts.js";
import { address, amend, place } from "./router.js";

const LIVE = { live: "live", away: "the controller does not answer; trying again", refused: "not signed in" };

class App extends LitElement {
  static properties = { place: { state: true }, news: { state: true }, state: { state: true }, signedIn: { state: true }, error: { state: true }, open: { state: true } };

  constructor() {
    super();
    takeToken();
    this.place = place();
    this.news = 0;
    this.state = "away";
    this.signedIn = Boolean(token());
    addEventListener("hashchange", () => {
      takeToken();
      this.place = place();
      this.title();
    });
  }

  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener("amend", (event) => amend(event.detail));
    this.addEventListener("range", (event) => amend({ ...event.detail, last: "" }));
    this.addEventListener("signed-out", () => this.leave());
    this.title();
    if (this.signedIn) this.watch();
  }

  watch() {
    this.stop?.();
    this.told = undefined;
    const heard = (stamp) => {
      this.news += 1;
      this.count(stamp.alerts);
    };
    this.stop = follow(heard, (state) => (this.state = state));
  }

  /** How many alerts are open, asked for only when one has begun or ended. */
  async count(told) {
    if (told === this.told) return;
    this.told = told;
    try {
      this.open = (await get("/v1/alerts", { limit: 0 })).open.length;
    } catch {
      this.told = undefined;
    }
  }

  title() {
    const { page, name } = this.place;
    document.title = page === "alerts" ? "Alerts · Pointsman" : name ? `${name} · ${page} · Pointsman` : "Pointsman";
  }

  async enter(event) {
    event.preventDefault();
    setToken(new FormData(event.target).get("token").trim());
    try {
      await get("/v1/version");
      [this.signedIn, this.error] = [true, null];
      this.watch();
    } catch (error) {
      forgetToken();
      this.error = error;
    }
  }

  leave() {
    forgetToken();
    this.stop?.();
    this.signedIn = false;
  }

  render() {
    return html`<a class="skip" href="#main" @click=${this.skip}>To the content</a>
      <header class="bar"><a class="brand" href="#/"><img src="icon.svg" alt="">Pointsman</a>
        <a href="#/new">New project</a>
        <a href="#/alerts">Alerts${this.signedIn && this.open ? html` <span class="badge bad">${this.open}<span class="hidden"> open</span></span>` : nothing}</a>
        <span class="live" role="status">${this.signedIn ? html`${LIVE[this.state]} · times are UTC · <button class="link" @click=${this.leave}>sign out</button>` : nothing}</span></header>
      <main id="main" tabindex="-1">${this.signedIn ? this.page() : this.door()}</main>`;
  }

  skip(event) {
    event.preventDefault();
    this.querySelector("main").focus();
  }

  door() {
    return html`<section class="card" style="max-width:32rem;margin:3rem auto"><h1>Sign in</h1>
      <p>With an admin token: <code>pointsman serve</code> prints the first one, <code>pointsman token create NAME --role viewer</code> makes others. It stays in this tab.</p>
      <form class="row" @submit=${this.enter}><label>Token <input name="token" type="password" autocomplete="off" required size="32"></label><button class="primary">Sign in</button></form>
      ${problem(this.error)}</section>`;
  }

  page() {
    const { page, name } = this.place;
    if (page === "projects") return html`<pm-projects .place=${this.place} .news=${this.news}></pm-projects>`;
    if (page === "alerts") return html`<pm-alerts .place=${this.place} .news=${this.news}></pm-alerts>`;
    if (page === "decision") return html`<pm-decision .place=${this.place}></pm-decision>`;
    const tabs = [["", "Overview", "project"], ["decisions", "Decisions", "decisions"], ["drift", "Drift", "drift"], ["changes", "Changes", "changes"], ["plan", "Plan", "plan"]];
    const shown = {
      project: () => html`<pm-project .place=${this.place} .news=${this.news}></pm-project>`,
      decisions: () => html`<pm-decisions .place=${this.place} .news=${this.news}></pm-decisions>`,
      drift: () => html`<pm-drift .place=${this.place} .news=${this.news}></pm-drift>`,
      changes: () => html`<pm-changes .place=${this.place} .news=${this.news}></pm-changes>`,
      plan: () => html`<pm-plan .place=${this.place}></pm-plan>`,
    }[page];
    return html`${name ? html`<nav class="tabs" aria-label="Pages of ${name}">${tabs.map(([path, text, key]) => html`<a href=${address(name, path)} aria-current=${key === page ? "page" : "false"}>${text}</a>`)}</nav>` : nothing}
      ${shown ? shown() : html`<p>There is no such page. <a href="#/">All projects</a></p>`}`;
  }
}
customElements.define("pm-app", App);
