// Addresses: `#/`, `#/alerts[?query]`, `#/p/TENANT/NAME[/PAGE][?query]`, `#/d/ID`. Each can be kept and sent to others.

export function place() {
  const [path, search = ""] = location.hash.replace(/^#/, "").split("?");
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  const query = Object.fromEntries(new URLSearchParams(search));
  if (parts[0] === "p" && parts.length >= 3)
    return { page: parts[3] || "project", name: `${parts[1]}/${parts[2]}`, query };
  if (parts[0] === "d" && parts[1]) return { page: "decision", id: parts.slice(1).join("/"), query };
  if (parts[0] === "new") return { page: "plan", name: "", query };
  if (parts[0] === "alerts") return { page: "alerts", query };
  return { page: "projects", query };
}

export function address(name, page = "", query = {}) {
  const [tenant, project] = name.split("/").map(encodeURIComponent);
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  const search = given.length ? "?" + new URLSearchParams(given) : "";
  return `#/p/${tenant}/${project}${page ? "/" + page : ""}${search}`;
}

/** Changes the query of the present address in place. */
export function amend(query) {
  const [path, search = ""] = location.hash.split("?");
  const now = new URLSearchParams(search);
  for (const [key, value] of Object.entries(query))
    if (value === "" || value === null || value === undefined) now.delete(key);
    else now.set(key, value);
  location.hash = path.replace(/^#/, "") + (String(now) ? "?" + now : "");
}
