// The admin API is the only door: what is shown here is what any client may ask for.

const KEY = "pointsman-token";

/** What the API refused, in its words: what, what to do, and every place. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.detail || `the API answered ${status}`);
    this.status = status;
    this.hint = body.hint || "";
    this.violations = body.violations || [];
  }
}

/** A token given behind `#token=` is kept for this tab alone, and leaves the address at once. */
export function takeToken() {
  const given = /^#token=([^&]+)(?:&(.*))?$/.exec(location.hash);
  if (!given) return;
  setToken(decodeURIComponent(given[1]));
  history.replaceState(null, "", location.pathname + "#" + (given[2] || "/"));
}

export const token = () => sessionStorage.getItem(KEY) || "";
export const setToken = (text) => sessionStorage.setItem(KEY, text);
export const forgetToken = () => sessionStorage.removeItem(KEY);

export async function call(method, path, { body, headers = {}, query = {} } = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  const search = given.length ? "?" + new URLSearchParams(given) : "";
  let answer;
  try {
    answer = await fetch(path + search, {
      method,
      headers: { authorization: `Bearer ${token()}`, ...headers },
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
      // Applying may prepare a model for minutes; nothing else takes so long and still comes.
      signal: AbortSignal.timeout(method === "GET" ? 30_000 : 600_000),
    });
  } catch {
    throw new Refused(0, { detail: "no answer from the controller", hint: "is it running?" });
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, found);
  return found;
}

export const get = (path, query) => call("GET", path, { query });

/** Path of a project, and of everything below it. */
export const at = (name, rest = "") => {
  const [tenant, project] = name.split("/");
  return `/v1/tenants/${encodeURIComponent(tenant)}/projects/${encodeURIComponent(project)}${rest}`;
};

/** Calls `heard` with how far things are when something is new, and `state` with whether the stream is there. */
export function follow(heard, state) {
  let stopped = false;
  const stopper = new AbortController();
  (async () => {
    let wait = 500;
    while (!stopped) {
      try {
        const answer = await fetch("/v1/news", {
          headers: { authorization: `Bearer ${token()}` },
          signal: stopper.signal,
        });
        if (answer.status === 401) return state("refused");
        if (!answer.ok) throw new Error(String(answer.status));
        state("live");
        wait = 500;
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let rest = ""; ; ) {
          const { value, done } = await reader.read();
          if (done) break;
          const parts = (rest + value).split("\n\n");
          rest = parts.pop();
          const news = parts.filter((part) => part.includes("event: news")).at(-1);
          if (news) heard(JSON.parse(/^data: (.*)$/m.exec(news)[1]));
        }
      } catch {
        if (stopped) return;
      }
      state("away");
      await new Promise((resolve) => setTimeout(resolve, wait));
      wait = Math.min(wait * 2, 5000);
    }
  })();
  return () => {
    stopped = true;
    stopper.abort();
  };
}
