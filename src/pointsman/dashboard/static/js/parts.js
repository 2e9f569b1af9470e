// Small pieces that every page is made of. All of them are functions that return templates.

import { html, nothing } from "lit";
import { phase, severity, verdict } from "./format.js";

export const badge = (kind, text, glyph = "") =>
  html`<span class="badge ${kind}">${glyph ? html`<span aria-hidden="true">${glyph}</span>` : nothing}${text}</span>`;

export const phaseBadge = (name) => badge(phase(name), name.replace("_", " "));

export function verdictBadge(name) {
  const [kind, glyph, text] = verdict(name);
  return badge(kind, text, glyph);
}

export function severityBadge(name) {
  const [kind, glyph] = severity(name);
  return badge(kind, name, glyph);
}

export const swatch = (colour) => html`<span class="swatch" style="background:${colour}" aria-hidden="true"></span>`;

export const legend = (names, colour) =>
  html`<div class="legend">${names.map((name) => html`<span>${swatch(colour(name))}${name}</span>`)}</div>`;

/** Target above actual: one look says whether traffic follows the plan. */
export function shareBar(shares, colour, label) {
  const said = Object.entries(shares).map(([name, share]) => `${name} ${(share * 100).toFixed(1)} %`);
  return html`<div class="shares" role="img" aria-label="${label}: ${said.join(", ")}" title=${said.join("\n")}>
    ${Object.entries(shares).map(([name, share]) => html`<span style="width:${share * 100}%;background:${colour(name)}"></span>`)}
  </div>`;
}

export const empty = (what, command) =>
  html`<p class="empty">${what} ${command ? html`<code>${command}</code>` : nothing}</p>`;

export function problem(error) {
  if (!error) return nothing;
  return html`<div class="banner bad" role="alert">
    <strong>${error.message}</strong>
    ${error.violations?.length
      ? html`<ul>${error.violations.map((v) => html`<li>${v.line ? html`line ${v.line}: ` : nothing}<code>${v.path}</code> ${v.message}${v.hint ? html` <span class="quiet">– ${v.hint}</span>` : nothing}</li>`)}</ul>`
      : nothing}
    ${error.hint ? html`<div class="small">${error.hint}</div>` : nothing}
  </div>`;
}

/**
 * A table that can be taken along: columns are [heading, cell, text, numeric], where `cell` makes
 * what is shown of a row, and `text` what is copied (the cell, where it is text itself).
 */
export function grid(caption, columns, rows, key = "") {
  const text = ([, cell, plain], row) => String((plain || cell)(row) ?? "");
  const copy = (event) => {
    const lines = [columns.map((c) => c[0]), ...rows.map((row) => columns.map((c) => text(c, row)))];
    const csv = lines.map((line) => line.map(quoted).join(",")).join("\n");
    const button = event.currentTarget;
    navigator.clipboard.writeText(csv).then(
      () => (button.textContent = "copied"),
      () => (button.textContent = "cannot copy"),
    );
  };
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}><table data-key=${key}>
    <caption>${caption} · <button class="link small" @click=${copy}>copy as CSV</button></caption>
    <thead><tr>${columns.map(([heading, , , numeric]) => html`<th scope="col" class=${numeric ? "number" : ""}>${heading}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${columns.map(([, cell, , numeric]) => html`<td class=${numeric ? "number" : ""}>${cell(row)}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/**
 * Asks before anything is done: says what will happen, takes a reason, and shows what came of it.
 * `act` is called with the reason; what it returns as `sentence` is shown.
 */
export function ask({ title, says, verb, danger = false, reason = true, act }) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "ask-title");
  const form = document.createElement("form");
  form.method = "dialog";
  const heading = Object.assign(document.createElement("h2"), { id: "ask-title", textContent: title });
  const what = Object.assign(document.createElement("p"), { textContent: says });
  const label = Object.assign(document.createElement("label"), { textContent: "Reason, for the audit log" });
  const input = Object.assign(document.createElement("input"), { name: "reason", size: 40 });
  label.append(input);
  const told = Object.assign(document.createElement("p"), { className: "small" });
  told.setAttribute("role", "status");
  const row = Object.assign(document.createElement("p"), { className: "row" });
  const go = Object.assign(document.createElement("button"), { type: "submit", textContent: verb, className: danger ? "danger" : "primary" });
  const leave = Object.assign(document.createElement("button"), { type: "button", textContent: "Cancel" });
  leave.addEventListener("click", () => dialog.close());
  row.append(go, leave);
  form.append(heading, what, ...(reason ? [label] : []), told, row);
  dialog.append(form);
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    told.textContent = "…";
    try {
      const answer = await act(input.value);
      told.textContent = answer?.sentence || "done";
      leave.textContent = "Close";
      go.remove();
    } catch (error) {
      const places = (error.violations || []).map((v) => `${v.path}: ${v.message}`);
      told.textContent = [error.message, ...places, error.hint].filter(Boolean).join(" – ");
      go.disabled = false;
    }
  });
  dialog.showModal();
}
