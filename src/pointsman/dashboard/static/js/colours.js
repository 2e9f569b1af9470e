// One variant, one colour: in every picture, in every table, and in the terminal.
// Okabe and Ito's palette, which colour-blind people can tell apart.

const CHAMPION = "#0072b2";
const CHALLENGER = "#e69f00";
const OTHERS = ["#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6d31", "#7f7f7f"];

/** A function from variant names to colours, for a project with these variants. */
export function colouring(names) {
  const others = [...new Set(names)].filter((n) => n !== "champion" && n !== "challenger").sort();
  return (name) => {
    if (name === "champion") return CHAMPION;
    if (name === "challenger") return CHALLENGER;
    const place = others.indexOf(name);
    return OTHERS[(place < 0 ? OTHERS.length - 1 : place) % OTHERS.length];
  };
}

/** What a colour of the style sheet is just now, in a form that a canvas takes. */
export function ink(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
  probe.remove();
  return "#" + [r, g, b].map((part) => Math.round(part).toString(16).padStart(2, "0")).join("");
}

export const faded = (colour, part) =>
  colour + Math.round(part * 255).toString(16).padStart(2, "0");
