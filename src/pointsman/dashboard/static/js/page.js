// What pages have in common: they load what they show, again when there is news, and say what failed.

import { LitElement, html } from "lit";
import { problem } from "./parts.js";

export class Page extends LitElement {
  static properties = {
    place: { attribute: false },
    news: { attribute: false },
    found: { state: true },
    error: { state: true },
  };

  createRenderRoot() {
    return this;
  }

  willUpdate(changed) {
    if (changed.has("place") && this.key(this.place) !== this.loaded) {
      this.loaded = this.key(this.place);
      this.found = undefined;
      this.refresh();
    } else if (changed.has("news") && this.watches()) this.refresh();
  }

  /** What decides that other data are wanted. */
  key(place) {
    return JSON.stringify(place);
  }

  /** Whether news makes the page load again. */
  watches() {
    return true;
  }

  /** One load at a time; news that came meanwhile loads once more. */
  async refresh() {
    if (this.loading) {
      this.again = true;
      return;
    }
    this.loading = true;
    do {
      this.again = false;
      const key = this.key(this.place);
      try {
        const found = await this.load();
        if (key === this.key(this.place)) [this.found, this.error] = [found, null];
      } catch (error) {
        if (key === this.key(this.place)) this.error = error;
        if (error.status === 401) this.dispatchEvent(new CustomEvent("signed-out", { bubbles: true }));
      }
      if (key !== this.key(this.place)) this.again = true;
    } while (this.again);
    this.loading = false;
  }

  render() {
    return html`${problem(this.error)}${this.found === undefined ? (this.error ? "" : html`<p class="quiet" role="status">loading …</p>`) : this.show(this.found)}`;
  }
}
