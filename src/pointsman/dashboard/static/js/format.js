// Numbers and times as people read them. Times are UTC, and say so.

export const percent = (share, digits = 1) =>
  share === null || share === undefined ? "–" : `${(share * 100).toFixed(digits)} %`;

export const whole = (n) => (n === null || n === undefined ? "–" : n.toLocaleString("en-US"));

export const number = (value, digits = 4) =>
  value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toString();

const two = (n) => String(n).padStart(2, "0");

/** 2026-05-01 12:00:00 UTC */
export function when(ms) {
  if (!ms) return "–";
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ") + " UTC";
}

/** The time of day, with the day where the range is longer than one. */
export function clock(seconds, long = false, short = false) {
  const date = new Date(seconds * 1000);
  const minutes = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
  const time = short ? `${minutes}:${two(date.getUTCSeconds())}` : minutes;
  return long ? `${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())} ${time}` : time;
}

export function ago(ms, now = Date.now()) {
  const s = Math.max(0, Math.round((now - ms) / 1000));
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} days ago`;
}

/** A difference in its own unit: points and percent are fractions. */
export function difference(value, unit, digits = 2) {
  if (value === null || value === undefined) return "–";
  const sign = value > 0 ? "+" : value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (unit === "points") return `${sign}${(size * 100).toFixed(digits)} points`;
  if (unit === "percent") return `${sign}${(size * 100).toFixed(digits)} %`;
  return sign + number(size);
}

/** A length of time in its two largest units, as the terminal writes it. */
export function span(ms) {
  const parts = [];
  let rest = Math.ceil(Math.max(ms, 0) / 1000) * 1000;
  for (const [size, name] of [[86_400_000, "d"], [3_600_000, "h"], [60_000, "min"], [1000, "s"]]) {
    const amount = Math.floor(rest / size);
    rest %= size;
    if (amount) parts.push(`${amount} ${name}`);
  }
  return parts.slice(0, 2).join(" ") || "0 s";
}

/** A number of an alert, by how it is measured. */
export function measured(value, measure) {
  if (value === null || value === undefined) return "–";
  if (measure === "share") return percent(value, 2);
  if (measure === "points") return difference(value, "points");
  if (measure === "relative") return difference(value, "percent");
  if (measure === "seconds") return span(value * 1000);
  return number(value);
}

export function interval(low, high, unit) {
  return `[${difference(low, unit)}, ${difference(high, unit)}]`;
}

/** A figure of `status`: value with its interval, or why there is none. */
export function figure(found, shown = percent) {
  if (!found || found.value === undefined) return "–";
  const range = found.low === undefined ? "" : ` [${shown(found.low)}, ${shown(found.high)}]`;
  return shown(found.value) + range;
}

export const micros = (us) =>
  us >= 1e6 ? `${number(us / 1e6, 3)} s` : us >= 1000 ? `${number(us / 1000, 3)} ms` : `${us} µs`;

const VERDICTS = {
  pass: ["good", "✔", "pass"],
  fail: ["bad", "✖", "fail"],
  inconclusive: ["warn", "◐", "not yet"],
  no_data: ["plain", "○", "no data"],
};
export const verdict = (name) => VERDICTS[name] || ["plain", "○", name || "none"];

const PHASES = {
  serving: "good", succeeded: "good", running: "warn", promoting: "warn", pending: "warn",
  updating: "warn", paused: "warn", published: "plain", none: "plain",
  degraded: "bad", killed: "bad", rolled_back: "bad", failed: "bad",
};
const SEVERITIES = { critical: ["bad", "▲"], warning: ["warn", "◆"], info: ["plain", "○"] };
export const severity = (name) => SEVERITIES[name] || ["plain", "○"];

export const phase = (name) => PHASES[name] || "plain";
