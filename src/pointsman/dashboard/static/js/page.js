// What pages have in common: they load what they show, again when there is news, and say what failed.

import { LitElement, html } from "lit";
import { problem } from "./parts.js";

const REST = 4;
const LONGEST_MS = 15_000;
// A page rests so many times as long as loading took: whoever looks must not slow down the loop
// that judges, which shares a process with the API.

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
      this.rested = 0;
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

  /** One load at a time, with a rest between; news that came meanwhile loads once more after it. */
  async refresh() {
    if (this.loading) {
      this.missed = true;
      return;
    }
    const rest = (this.rested ?? 0) - performance.now();
    if (rest > 0) {
      this.later ??= setTimeout(() => {
        this.later = undefined;
        if (this.isConnected) this.refresh();
      }, rest);
      return;
    }
    this.loading = true;
    const started = performance.now();
    let key;
    do {
      key = this.key(this.place);
      try {
        const found = await this.load();
        if (key === this.key(this.place)) [this.found, this.error] = [found, null];
      } catch (error) {
        if (key === this.key(this.place)) this.error = error;
        if (error.status === 401) this.dispatchEvent(new CustomEvent("signed-out", { bubbles: true }));
      }
    } while (key !== this.key(this.place));
    this.loading = false;
    const took = performance.now() - started;
    this.rested = performance.now() + Math.min(Math.max(REST * took, 500), LONGEST_MS);
    if (this.missed) this.refresh();
    this.missed = false;
  }

  render() {
    return html`${problem(this.error)}${this.found === undefined ? (this.error ? "" : html`<p class="quiet" role="status">loading …</p>`) : this.show(this.found)}`;
  }
}
