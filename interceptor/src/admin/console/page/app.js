"use strict";
// INVARIANT: what comes from the daemon becomes text nodes (`textContent`, `append` of strings) and nothing else.

const $ = (selector) => document.querySelector(selector);
const state = { me: null, requests: [], waiting: 0, chosen: null, page: "approvals", drafts: {}, live: null };

// ---- making nodes

// Characters that draw, turn text around or cannot be seen: shown as what they are.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|[\u{e0000}-\u{e0fff}]|[\ud800-\udfff](?![\udc00-\udfff])/gu;

function text(value) {
  const parts = [];
  let at = 0;
  for (const found of String(value).matchAll(UNSEEN)) {
    parts.push(value.slice(at, found.index));
    parts.push(el("span", { class: "esc", title: "a character that cannot be seen" }, `\\u{${found[0].codePointAt(0).toString(16)}}`));
    at = found.index + found[0].length;
  }
  parts.push(String(value).slice(at));
  return parts.filter((part) => part !== "");
}

function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const t = (value) => el("span", {}, ...text(value ?? ""));
const tag = (word, kind) => el("span", { class: `tag ${kind ?? ""}` }, ...text(word));

const WORDS = new Set(("add all alter analyze and any as asc begin between by call cascade case cast check column comment commit " +
  "conflict constraint copy create cross cube current database default delete desc distinct do drop else end except execute exists " +
  "explain fetch filter for foreign from full function grant group having if ilike in index inner insert intersect into is join key " +
  "lateral left like limit listen lock matched merge natural not notify null nulls of offset on only or order outer over partition " +
  "prepare primary references returning revoke right rollback row rows schema select sequence set some table temp then to trigger " +
  "true false truncate union unique update using vacuum values view when where window with").split(" "));
const TOKENS = /(--[^\n]*|\/\*[\s\S]*?\*\/)|(\$([A-Za-z_]\w*)?\$[\s\S]*?\$\3\$|[eEbBxX]?'(?:[^'\\]|''|\\[\s\S])*')|("(?:[^"]|"")*")|(\$\d+|\b\d[\w.]*)|([A-Za-z_]\w*)/g;

function sql(source) {
  const code = el("pre", { class: "code", tabindex: "0" });
  let at = 0;
  for (const found of source.matchAll(TOKENS)) {
    code.append(...text(source.slice(at, found.index)));
    const [all, comment, string, , quoted, number, word] = found;
    const kind = comment ? "c" : string ? "s" : number ? "n" : word && WORDS.has(word.toLowerCase()) ? "k" : null;
    code.append(...(kind ? [el("span", { class: kind }, ...text(all))] : text(all)));
    at = found.index + all.length;
  }
  code.append(...text(source.slice(at)));
  return code;
}

function facts(pairs) {
  const list = el("dl", { class: "facts" });
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    list.append(el("dt", {}, name), el("dd", {}, typeof value === "string" || typeof value === "number" ? text(String(value)) : value));
  }
  return list;
}

function table(head, rows) {
  // On a phone a row is a card, whose values stand beside their names.
  for (const row of [rows].flat(9)) [...row.children].forEach((cell, at) => { if (head[at]) cell.setAttribute("data-name", head[at]); });
  return el("div", { class: "scroll", tabindex: "0" }, el("table", {},
    el("thead", {}, el("tr", {}, head.map((name) => el("th", { scope: "col" }, ...text(name))))),
    el("tbody", {}, rows)));
}

const cell = (value, attributes) => el("td", { class: "mono", ...attributes }, value === null ? el("span", { class: "null" }, "NULL") : text(value));
const empty = (words) => el("div", { class: "panel empty" }, el("div", {}, el("span", { class: "mark", "aria-hidden": "true" })), words);

function toast(words) {
  const node = $(".toast");
  node.replaceChildren(...text(words));
  node.hidden = false;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { node.hidden = true; }, 5000);
}

const duration = (seconds) => seconds < 90 ? `${Math.max(0, Math.round(seconds))} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
const now = () => Date.now() / 1000;

// ---- talking to the daemon

// Cookies go to every port of this host; what is kept here is for pages of this one only.
const KEPT = "interceptor page";
const kept = () => localStorage.getItem(KEPT) ?? "";

async function ask(path, said) {
  const headers = { "x-interceptor-csrf": kept() };
  const options = said === undefined ? { headers } : {
    method: "POST", body: JSON.stringify(said), headers: { "content-type": "application/json", ...headers },
  };
  const answer = await fetch(path, { cache: "no-store", ...options });
  if (answer.status === 401 && state.me?.name) { location.reload(); }
  if (!answer.ok) throw new Error(await answer.text() || `the daemon answers ${answer.status}`);
  return answer.json();
}

// ---- approvals

const OVER = new Set(["used", "denied", "expired", "withdrawn"]);
const KIND = { open: "warn", approved: "good", used: "good", denied: "bad", expired: "", withdrawn: "" };

function needs(request) {
  return Object.entries(request.needs).map(([group, most]) => {
    const said = request.voices.filter((voice) => voice.groups.includes(group)).length;
    return most === 1 ? group : `${said}/${most} of ${group}`;
  }).join(", ");
}

function ordered() {
  const open = state.requests.filter((request) => !OVER.has(request.state));
  const over = state.requests.filter((request) => OVER.has(request.state)).reverse();
  return [...open, ...over];
}

function item(request) {
  const effect = request.preview?.effect;
  return el("button", {
    class: "item", type: "button", "data-id": request.id, "aria-current": request.id === state.chosen ? "true" : null,
    onclick: () => choose(request.id),
  },
    el("span", { class: "line" }, el("span", { class: "agent" }, ...text(request.agent)), tag(request.state, KIND[request.state])),
    el("span", { class: "sql" }, ...text(request.statement.slice(0, 300))),
    el("span", { class: "line small dim" },
      el("span", {}, ...text(`${request.database} · ${needs(request)}${effect?.affected != null ? ` · ${effect.affected} row${effect.affected === 1 ? "" : "s"}` : ""}${request.repeats ? ` · asked before: ${request.repeats}` : ""}`)),
      OVER.has(request.state) ? null : el("span", { class: "left", "data-until": request.expires_at }, duration(request.expires_at - now()))));
}

function choose(id) {
  state.chosen = state.pinned = id;
  approvals();
  document.querySelector(`.item[data-id="${CSS.escape(id)}"]`)?.scrollIntoView({ block: "nearest" });
}

// Rows before and after side by side, where their first value says which belong together.
function effect(shown) {
  const key = (row) => JSON.stringify(row[0]);
  const after = new Map(shown.after.map((row) => [key(row), row]));
  const unique = after.size === shown.after.length && new Set(shown.before.map(key)).size === shown.before.length;
  const rows = [];
  if (unique) {
    const seen = new Set();
    for (const row of shown.before) {
      const other = after.get(key(row));
      seen.add(key(row));
      if (!other) { rows.push(el("tr", { class: "gone" }, el("td", {}, "goes"), row.map((value) => cell(value)))); continue; }
      rows.push(el("tr", {}, el("td", {}, "changes"), row.map((value, at) => value === other[at] ? cell(value) :
        el("td", { class: "mono changed" }, el("span", { class: "was" }, ...text(value ?? "NULL")), " → ", el("span", { class: "is" }, ...text(other[at] ?? "NULL"))))));
    }
    for (const row of shown.after) if (!seen.has(key(row))) rows.push(el("tr", { class: "made" }, el("td", {}, "comes"), row.map((value) => cell(value))));
  } else {
    for (const row of shown.before) rows.push(el("tr", { class: "gone" }, el("td", {}, "as it is"), row.map((value) => cell(value))));
    for (const row of shown.after) rows.push(el("tr", { class: "made" }, el("td", {}, "as it would be"), row.map((value) => cell(value))));
  }
  const [before, would] = shown.counts;
  const all = before <= shown.before.length && would <= shown.after.length;
  return [
    el("p", { class: "small" }, el("strong", { class: "mono" }, ...text(shown.relation)),
      ` ${before} before, ${would} after${all || shown.hidden ? "" : `; the first ${Math.max(shown.before.length, shown.after.length)} are shown`}`),
    shown.hidden ? el("p", { class: "note" }, ...text(shown.hidden)) : null,
    rows.length ? table(["", ...shown.columns], rows) : null,
  ];
}

function preview(request) {
  const known = request.preview;
  if (!known) return null;
  const what = known.effect;
  const head = !what ? null : what.error ? el("p", { class: "note bad" }, "It fails: ", ...text(what.error)) :
    el("p", {}, el("span", { class: "big" }, String(what.affected)), el("span", { class: "dim" }, ` row${what.affected === 1 ? "" : "s"} would change · `),
      el("span", { class: "mono small dim" }, `sha256 ${what.digest.slice(0, 16)}… [cut]`));
  return el("section", { class: "preview", "aria-label": "What it changes" }, el("h3", {}, "What it changes"), head,
    known.notes.map((note) => el("p", { class: "note" }, ...text(note))), known.tables.map(effect));
}

function detail(request) {
  const open = request.state === "open";
  const body = el("article", { class: "panel detail", "aria-label": `Request ${request.id}` },
    el("div", { class: "title" }, el("h1", {}, "Request ", el("span", { class: "mono" }, request.id)), tag(request.state, KIND[request.state]),
      el("span", { class: "push dim small" }, OVER.has(request.state) ? "" : ["open for ", el("span", { class: "left", "data-until": request.expires_at }, duration(request.expires_at - now()))])),
    el("h3", {}, "Statement"), sql(request.statement),
    request.runs.map((run) => [el("h3", {}, "Which runs"), sql(run)]),
    request.values.length ? [el("h3", {}, "Values"), table(["", "value"], request.values.map((value, at) => el("tr", {}, el("td", { class: "mono" }, `$${at + 1}`), cell(value))))] : null,
    preview(request),
    facts([
      ["does", request.relations.join(", ")],
      ["needs", needs(request)],
      ["agent", request.agent],
      ["acts for", request.on_behalf_of ?? "nobody else"],
      ["let by", request.delegation.join(" ← ")],
      ["groups", request.groups.join(", ")],
      ["vouched for by", request.issuer],
      ["process", request.process.join(" ← ")],
      ["cgroup", request.cgroup],
      ["database", `${request.database} on ${request.server} as ${request.role}`],
      ["policies", el("span", {}, request.policies.map((id) => [tag(id), " "]))],
      ["asked", `${new Date(request.asked_at * 1000).toLocaleString()}${request.repeats ? `; ${request.repeats} times before` : ""}; ${request.waiting} connection${request.waiting === 1 ? " waits" : "s wait"}`],
      ["session", state.me.operator ? el("a", { href: `#replay/${encodeURIComponent(request.session)}` }, ...text(request.session)) : request.session],
      ["sha256", el("span", { class: "mono small" }, request.digest)],
      ...request.voices.map((voice) => ["approved by", `${voice.by} (for ${voice.groups.join(", ")})${voice.comment ? `: ${voice.comment}` : ""}`]),
      ["outcome", request.outcome],
    ]));
  if (open) {
    const comment = el("input", { id: "comment", maxlength: "2000", autocomplete: "off", placeholder: "A word for the agent and the record", "aria-label": "Comment", oninput: () => { state.drafts[request.id] = comment.value; } });
    comment.value = state.drafts[request.id] ?? "";
    body.append(el("form", { class: "word", onsubmit: (event) => event.preventDefault() }, comment,
      el("button", { class: "yes", type: "button", onclick: () => word(request.id, "approve") }, "Approve", el("kbd", {}, "a")),
      el("button", { class: "no", type: "button", onclick: () => word(request.id, "deny") }, "Deny", el("kbd", {}, "d"))));
  }
  return body;
}

async function word(id, what) {
  const comment = $("#comment")?.value.trim() || null;
  document.querySelectorAll(".word button").forEach((button) => { button.disabled = true; });
  try {
    const request = await ask(`/api/approvals/${encodeURIComponent(id)}/${what}`, { comment });
    delete state.drafts[id];
    toast(request.state === "open" ? `request ${id}: ${needs(request)} still needed` : `request ${id} is ${request.state}`);
  } catch (error) {
    toast(error.message);
    document.querySelectorAll(".word button").forEach((button) => { button.disabled = false; });
  }
}

function approvals() {
  const list = ordered();
  if (!list.length) return show(empty("Nothing waits. What agents ask for appears here by itself."));
  // Whoever has decided goes on with the next; whoever looks at what is over is left alone.
  const known = list.find((request) => request.id === state.chosen);
  if (!known || (OVER.has(known.state) && state.pinned !== known.id)) state.chosen = list[0].id;
  if (state.pinned && !OVER.has(list.find((request) => request.id === state.pinned)?.state)) state.pinned = null;
  const focused = document.activeElement?.id === "comment" ? $("#comment").selectionStart : null;
  const chosen = list.find((request) => request.id === state.chosen);
  const open = list.filter((request) => !OVER.has(request.state));
  const over = list.filter((request) => OVER.has(request.state));
  const scroll = $(".list")?.scrollTop ?? 0;
  show(el("div", { class: "split" },
    el("div", { class: "panel list", role: "group", "aria-label": "Requests" },
      el("div", { class: "group" }, `Waiting (${state.waiting})`), open.map(item),
      state.waiting > open.length ? el("div", { class: "group" }, `${state.waiting - open.length} more are not listed`) : null,
      over.length ? [el("div", { class: "group" }, "Over"), over.map(item)] : null),
    detail(chosen)));
  $(".list").scrollTop = scroll;
  if (focused !== null && $("#comment")) { $("#comment").focus(); $("#comment").setSelectionRange(focused, focused); }
}

// ---- the other pages

// As they are; again only where they have changed, and with the focus where it was.
async function sessions(again) {
  const list = await ask("/api/sessions");
  if (state.page !== "sessions") return;
  const said = JSON.stringify(list);
  if (again === true && said === sessions.said) return;
  sessions.said = said;
  const focused = document.activeElement?.dataset.session;
  if (!list.length) return show(empty("No session is open."));
  show(el("div", { class: "panel" }, el("div", { class: "title" }, el("h1", {}, "Live sessions"), tag(String(list.length))),
    table(["agent", "acts for", "program", "database", "claims to be", "since", ""], list.map((session) => el("tr", {},
      el("td", {}, ...text(session.agent)), el("td", {}, ...text(session.on_behalf_of ?? "—")),
      cell(`${session.exe} (${session.pid})`), cell(`${session.database} on ${session.server}`), cell(session.claimed_role), el("td", {}, ...text(session.since.replace("T", " ").slice(0, 19))),
      el("td", {}, el("a", { href: `#replay/${encodeURIComponent(session.session)}` }, "replay"), " ",
        el("button", { class: "no", type: "button", "data-session": session.session, onclick: async () => {
          if (!confirm(`End the session of ${session.agent}?`)) return;
          try { await ask("/api/sessions/kill", { session: session.session }); toast("the session is ended"); sessions(); } catch (error) { toast(error.message); }
        } }, "End")))))));
  if (focused) [...document.querySelectorAll("[data-session]")].find((button) => button.dataset.session === focused)?.focus();
}

const decided = (record) => record.decision ? tag(record.decision, { permit: "good", deny: "bad", hold: "warn" }[record.decision]) : tag(record.event);
const outcome = (record) => record.outcome ? [record.outcome.status, record.outcome.sqlstate, record.outcome.affected != null ? `${record.outcome.affected} changed` : null, record.outcome.rows ? `${record.outcome.rows} rows` : null, record.outcome.reason].filter(Boolean).join(" · ") : "";

async function audit(query) {
  const wanted = new URLSearchParams(query ?? "");
  const field = (name, label, attributes) => { const input = el("input", { id: `f-${name}`, name, autocomplete: "off", ...attributes }); input.value = wanted.get(name) ?? ""; return el("label", {}, label, input); };
  const pick = (name, label, options) => { const select = el("select", { name }, options.map((option) => el("option", { value: option, selected: option === (wanted.get(name) ?? "") }, option || "any"))); return el("label", {}, label, select); };
  const form = el("form", { class: "form", onsubmit: (event) => { event.preventDefault(); location.hash = `audit?${new URLSearchParams([...new FormData(form)].filter(([, value]) => value))}`; } },
    field("text", "Text", { placeholder: "part of the statement" }), field("agent", "Agent or human"), field("relation", "Relation"),
    pick("verb", "Verb", ["", "select", "insert", "update", "delete", "merge", "truncate", "create", "alter", "drop", "grant", "execute", "set"]),
    pick("decision", "Decision", ["", "permit", "deny", "hold"]),
    pick("event", "Event", ["", "statement", "outcome", "approval", "connect", "disconnect", "refusal", "admin"]),
    field("since", "Since", { placeholder: "2026-01-31T08" }), field("until", "Until"), el("button", { class: "main" }, "Search"));
  const found = await ask(`/api/audit?${wanted}`);
  if (state.page !== "audit") return;
  show(el("div", { class: "panel" }, el("div", { class: "title" }, el("h1", {}, "Record"), tag(`${found.records.length}${found.more ? "+" : ""} found`)), form,
    found.changed.length ? el("p", { class: "note" }, `${found.changed.length} records that would fit are not what was written: \`interceptor audit verify\` says more.`) : null,
    found.more ? el("p", { class: "note" }, "More was found than is listed.") : null,
    table(["time", "who", "decision", "statement or outcome", "session"], found.records.map((record) => el("tr", {},
      cell((record.time ?? "").slice(0, 19).replace("T", " "), { class: "mono fix" }), el("td", { class: "fix" }, ...text(record.agent?.subject ?? "—"), record.agent?.on_behalf_of ? [" for ", ...text(record.agent.on_behalf_of)] : null),
      el("td", {}, decided(record)), el("td", { class: "mono" }, ...text(cut(record.statement ?? outcome(record), 400))),
      el("td", {}, record.session ? el("a", { href: `#replay/${encodeURIComponent(record.session)}`, class: "mono fix" }, ...text(record.session)) : "—"))))));
}

const cut = (value, most) => value.length > most ? `${value.slice(0, most)} [cut: ${value.length} characters in all]` : value;

async function replay(session) {
  const found = await ask(`/api/replay/${encodeURIComponent(session)}`);
  if (state.page !== "replay") return;
  const first = found.records.find((record) => record.agent) ?? {};
  const begun = found.records.length ? Date.parse(found.records[0].time) : 0;
  show(el("div", { class: "panel" }, el("div", { class: "title" }, el("h1", {}, "Session ", el("span", { class: "mono" }, ...text(session)))),
    facts([["agent", first.agent?.subject], ["acts for", first.agent?.on_behalf_of], ["process", first.process ? `${first.process.exe} (${first.process.pid})` : null], ["cgroup", first.process?.cgroup], ["database", first.database ? `${first.database} on ${first.server} as ${first.role}` : null]]),
    found.more ? el("p", { class: "note" }, "Only the end of the session is shown.") : null,
    found.records.map((record) => el("div", { class: "step" },
      el("div", { class: "small dim mono" }, `+${((Date.parse(record.time) - begun) / 1000).toFixed(3)} s`, el("div", {}, decided(record))),
      el("div", {}, record.event === "statement" && record.statement ? sql(cut(record.statement, 4000)) : record.statement ? el("p", {}, ...text(cut(record.statement, 2000))) : null,
        outcome(record) ? el("p", { class: "small dim" }, ...text(outcome(record))) : null,
        record.policies?.length ? el("p", {}, record.policies.map((id) => [tag(id), " "])) : null)))));
}

async function policies() {
  const [set, figures] = await Promise.all([ask("/api/policies"), ask("/api/figures")]);
  if (state.page !== "policies") return;
  const databases = el("select", { id: "e-database" }, set.databases.map(([, name]) => el("option", { value: name }, ...text(name))));
  const agent = el("input", { id: "e-agent", value: "agent:demo", autocomplete: "off" }), groups = el("input", { id: "e-groups", value: "agents", autocomplete: "off" });
  const statement = el("textarea", { id: "e-statement", spellcheck: "false", placeholder: "select ..." });
  const answer = el("div", { "aria-live": "polite" });
  const explain = async (event) => {
    event.preventDefault();
    try {
      const explained = await ask("/api/explain", { agent: agent.value, groups: groups.value.split(",").map((group) => group.trim()).filter(Boolean), database: databases.value, statement: statement.value });
      answer.replaceChildren(...explained.map((one) => el("div", {},
        el("p", {}, tag(one.decision, { permit: "good", deny: "bad", hold: "warn" }[one.decision]), " ", one.obligations.map((name) => [tag(name), " "])),
        one.told ? el("p", { class: "note bad" }, ...text(one.told.filter(Boolean).join(" — "))) : null,
        table(["asks to", "permitted by", "forbidden by", "lifted by meeting", "observed"], one.requests.map((asked) => el("tr", {}, el("td", {}, ...text(asked.what)),
          [asked.permits, asked.forbids, asked.obliging, asked.watching].map((ids) => cell(ids.join(", ") || "—"))))))));
    } catch (error) { answer.replaceChildren(el("p", { class: "note bad" }, ...text(error.message))); }
  };
  show(el("div", {},
    el("div", { class: "panel" }, el("div", { class: "title" }, el("h1", {}, "Explain a statement")),
      el("form", { class: "form", onsubmit: explain }, el("label", {}, "Agent", agent), el("label", {}, "Groups", groups), el("label", {}, "Database", databases), el("label", { class: "wide" }, "Statement", statement), el("button", { class: "main" }, "Explain")), answer),
    el("div", { class: "panel" }, el("div", { class: "title" }, el("h1", {}, "Policies"), tag(`set ${set.digest}`), el("span", { class: "push dim small" }, `how often they decided: over all ${figures.records} records`)),
      set.rules.map((rule) => {
        const fired = figures.policies[rule.id] ?? { permit: 0, deny: 0, hold: 0, observed: 0 };
        return el("details", {}, el("summary", {}, el("strong", { class: "mono" }, ...text(rule.id)), " ", tag(rule.effect, rule.effect === "permit" ? "good" : "bad"), " ", rule.observed ? tag("observed", "warn") : null, " ",
          rule.obligations.map((name) => [tag(name), " "]),
          el("span", { class: "small dim" }, [["permitted", fired.permit], ["denied", fired.deny], ["held", fired.hold], ["would have denied", fired.observed]].filter(([, count]) => count).map(([name, count]) => `${name} ${count}`).join(" · ") || "has not fired")),
          el("pre", { class: "code" }, ...text(rule.text)));
      }))));
}

async function coverage() {
  const [status, accounts] = await Promise.all([ask("/api/status"), ask("/api/coverage")]);
  if (state.page !== "coverage") return;
  const column = (account, names) => names.map((name) => el("td", { class: "num" }, String(account[name])));
  show(el("div", { class: "cards" },
    el("div", { class: "panel wide nums" }, el("h2", {}, "By cgroup"), table(["cgroup", "connections", "to PostgreSQL", "mediated", "refused", "dropped", "around us", "stopped"],
      accounts.sort((a, b) => b.postgres - a.postgres).slice(0, 200).map((account) => el("tr", {}, el("td", { class: "mono" }, ...text(account.cgroup ?? `${account.cgroup_id}`), account.ended ? [" ", tag("gone")] : null),
        column(account, ["connects", "postgres", "mediated", "refused", "dropped"]), el("td", { class: "num" }, account.around ? tag(String(account.around), "bad") : "0"), column(account, ["stopped"])))),
      accounts.length > 200 ? el("p", { class: "note" }, `${accounts.length - 200} more are not listed`) : null),
    el("div", { class: "panel" }, el("div", { class: "title" }, el("h1", {}, "Coverage")), facts([["captures", status.capture], ["sessions", status.sessions], ["policies", `${status.policies} (set ${status.policy_digest})`], ["audit records", status.audit_seq], ["statements", `${status.decided[0]} permitted, ${status.decided[1]} denied, ${status.decided[2]} held since the start`], ["health", el("span", {}, tag(status.health, status.health === "ok" ? "good" : "bad"), " ", ...text((status.reasons ?? []).join("; ")))], ["not in place", (status.missing ?? []).join(", ")], ["not allowed by this kernel", (status.absent ?? []).join(", ")], ["left alone", (status.exempt ?? []).join(", ")], ["version", status.version], ["since", status.since]])),
    el("div", { class: "panel nums" }, el("h2", {}, "Counted in the kernel"), table(["what", "count"], status.kernel.map(([name, count]) => el("tr", {}, el("td", {}, ...text(name)), el("td", { class: "num" }, String(count)))))),
    el("div", { class: "panel" }, el("h2", {}, "Issuers of tokens"), table(["issuer", "state", "keys"], status.issuers.map((issuer) => el("tr", {}, el("td", {}, ...text(issuer.url), issuer.failure ? el("p", { class: "note bad" }, ...text(issuer.failure)) : null), el("td", {}, tag(issuer.state, issuer.state === "ready" ? "good" : "bad")), el("td", { class: "num" }, String(issuer.keys))))))));
}

function svg(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function when(time, date) {
  const day = date ? { day: "2-digit", month: "short" } : {};
  return new Date(time * 1000).toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit" });
}

function stacked(figures) {
  // As wide as there is room: text keeps its size.
  const width = Math.max(280, Math.min(1240, $("#main").clientWidth - 70)), height = width < 600 ? 150 : 240, bars = figures.permit.length || 1, step = width / bars;
  const most = Math.max(1, ...figures.permit.map((count, at) => count + figures.deny[at] + figures.hold[at]));
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height + 22}`, role: "img", "aria-label": "Statements by decision over time" });
  figures.permit.forEach((_, at) => {
    let y = height;
    for (const kind of ["permit", "hold", "deny"]) {
      const size = figures[kind][at] / most * (height - 12);
      y -= size;
      if (size > 0) chart.append(svg("rect", { x: at * step + 1, y, width: Math.max(1, step - 2), height: Math.max(1, size), class: `bar-${kind}`, rx: 1.5 }, svg("title", {}, `${figures[kind][at]} ${kind}, ${when(figures.from + at * figures.width, true)} and ${duration(figures.width)} on`)));
    }
  });
  const clock = (time) => when(time, figures.until - figures.from >= 86400);
  chart.append(svg("text", { x: 0, y: height + 18 }, clock(figures.from)), svg("text", { x: width, y: height + 18, "text-anchor": "end" }, clock(figures.until)), svg("text", { x: 0, y: 13 }, String(most)));
  return chart;
}

function bars(rows, label) {
  const most = Math.max(1, ...rows.map(([, count]) => count)), line = 42, width = 440;
  const chart = svg("svg", { viewBox: `0 0 ${width} ${Math.max(1, rows.length) * line}`, role: "img", class: "bars", "aria-label": label });
  rows.forEach(([name, count], at) => {
    const size = count / most * (width - 50);
    chart.append(svg("text", { x: 0, y: at * line + 14 }, cut(name, 50)), svg("text", { x: size + (size ? 8 : 0), y: at * line + 31 }, String(count)));
    if (count) chart.append(svg("rect", { x: 0, y: at * line + 21, width: Math.max(2, size), height: 10, rx: 3, class: "bar" }));
  });
  return chart;
}

const SPANS = [["hour", "Last hour"], ["day", "Last day"], ["week", "Last 7 days"], ["month", "Last 30 days"], ["all", "All of the record"]];

async function plots(query) {
  const span = new URLSearchParams(query).get("span") ?? "day";
  const figures = await ask(`/api/figures?span=${encodeURIComponent(span)}`);
  if (state.page !== "plots") return;
  const steps = [10, 30, 60, 120, 300, 600, Infinity];
  const waits = steps.map((most, at) => [`${at ? duration(steps[at - 1]) : "0 s"} – ${most === Infinity ? "longer" : duration(most)}`, figures.waits.filter((wait) => wait <= most && (at === 0 || wait > steps[at - 1])).length]);
  const total = (list) => list.reduce((sum, count) => sum + count, 0);
  show(el("div", { class: "cards two" },
    el("div", { class: "panel wide spans" }, el("div", { class: "title" },
      el("nav", { class: "choice", "aria-label": "Over which time" }, SPANS.map(([name, label]) => el("a", { href: `#plots?span=${name}`, "aria-current": name === span ? "true" : null }, label))),
      el("span", { class: "push dim small" }, `${when(figures.from, true)} – ${when(figures.until, true)}: all ${figures.records} records`)),
      figures.changed.length ? el("p", { class: "note bad" }, `${figures.changed.length} records are not what was written and are not counted: run interceptor audit verify`) : null),
    el("div", { class: "panel wide" }, el("div", { class: "title" }, el("h2", {}, "Statements by decision"), el("span", { class: "push legend" }, ["permit", "hold", "deny"].map((kind) => el("span", {}, el("i", { class: kind }), `${kind} ${total(figures[kind])}`)))), stacked(figures)),
    el("div", { class: "panel" }, el("div", { class: "title" }, el("h2", {}, "Denied most"), figures.denied_otherwise ? el("span", { class: "push dim small" }, `and ${figures.denied_otherwise} times something else`) : null), figures.denied.length ? bars(figures.denied, "Denied most") : el("p", { class: "dim" }, "Nothing has been denied.")),
    el("div", { class: "panel" }, el("div", { class: "title" }, el("h2", {}, "How long people take")), figures.waits.length ? bars(waits, "Time from asking to the word") : el("p", { class: "dim" }, "Nothing has been decided."))));
}

// ---- pages and keys

const PAGES = [["approvals", "Approvals", approvals], ["sessions", "Sessions", sessions], ["audit", "Record", audit], ["policies", "Policies", policies], ["coverage", "Coverage", coverage], ["plots", "Plots", plots]];

function show(node) { $("#main").replaceChildren(node); tick(); }

function navigation() {
  const open = state.requests.filter((request) => request.state === "open").length;
  $("nav").replaceChildren(...PAGES.filter(([name]) => name === "approvals" || state.me.operator).map(([name, label]) =>
    el("a", { href: `#${name}`, "aria-current": name === state.page ? "page" : null }, label, name === "approvals" && open ? el("span", { class: "count" }, String(open)) : null)));
  $("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  document.title = open ? `(${open}) interceptor` : "interceptor";
}

async function route() {
  const [path, query] = location.hash.slice(1).split("?");
  const [name, rest] = path.split("/");
  state.page = name === "replay" || PAGES.some(([page]) => page === name) ? name : "approvals";
  navigation();
  try {
    if (state.page === "replay") return await replay(decodeURIComponent(rest ?? ""));
    await PAGES.find(([page]) => page === state.page)[2](query);
  } catch (error) { show(el("div", { class: "panel note bad" }, ...text(error.message))); }
}

function tick() {
  for (const node of document.querySelectorAll(".left")) node.textContent = duration(Number(node.dataset.until) - now());
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !state.me?.name) return;
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
  if (event.key === "Escape") { document.activeElement?.blur(); $("dialog").close(); return; }
  if (typing) return;
  const list = ordered();
  const at = list.findIndex((request) => request.id === state.chosen);
  const page = PAGES[Number(event.key) - 1];
  if (page) { location.hash = page[0]; return; }
  switch (event.key) {
    case "?": $("dialog").showModal(); break;
    case "/": location.hash = "audit"; setTimeout(() => $("#f-text")?.focus(), 300); event.preventDefault(); break;
    case "j": case "ArrowDown": if (state.page === "approvals" && list[at + 1]) { choose(list[at + 1].id); event.preventDefault(); } break;
    case "k": case "ArrowUp": if (state.page === "approvals" && list[at - 1]) { choose(list[at - 1].id); event.preventDefault(); } break;
    case "c": if ($("#comment")) { $("#comment").focus(); event.preventDefault(); } break;
    case "a": case "d": if (state.page === "approvals" && list[at]?.state === "open") confirmWord(list[at], event.key === "a" ? "approve" : "deny"); break;
    default:
  }
}

// One key alone decides nothing.
function confirmWord(request, what) {
  const dialog = $("dialog");
  dialog.replaceChildren(el("h2", {}, `${what === "approve" ? "Approve" : "Deny"} request ${request.id}?`), sql(cut(request.statement, 600)),
    el("div", { class: "title" }, el("button", { class: what === "approve" ? "yes" : "no", type: "button", autofocus: true, onclick: () => { dialog.close(); word(request.id, what); } }, what === "approve" ? "Approve" : "Deny", el("kbd", {}, "Enter")), el("button", { type: "button", onclick: () => dialog.close() }, "Not yet", el("kbd", {}, "Esc"))));
  dialog.addEventListener("close", help, { once: true });
  dialog.showModal();
}

function help() {
  $("dialog").replaceChildren(el("h2", {}, "Keys"), facts([["j k", "next and previous request"], ["a d", "approve, deny (asks again)"], ["c", "comment"], ["1 – 6", "pages"], ["/", "search the record"], ["Esc", "leave"]]));
}

function watch() {
  const events = new EventSource(`/api/events?page=${encodeURIComponent(kept())}`);
  events.addEventListener("open", () => $(".live").classList.add("on"));
  events.addEventListener("error", async () => {
    $(".live").classList.remove("on");
    if (events.readyState !== EventSource.CLOSED) return;
    // Whoever is not in any more is asked who they are.
    try { if (!(await ask("/api/me")).name) location.reload(); } catch { /* the daemon is away; it may come back */ }
    setTimeout(watch, 2000);
  });
  events.addEventListener("approvals", (event) => {
    ({ requests: state.requests, waiting: state.waiting } = JSON.parse(event.data));
    navigation();
    if (state.page === "approvals") approvals();
  });
}

function door() {
  const sign = el("button", { class: "main", type: "button", onclick: async () => { try { location.href = (await ask("/sign-in", {})).url; } catch (error) { toast(error.message); } } }, "Sign in");
  show(el("div", { class: "panel door" }, el("span", { class: "mark", "aria-hidden": "true" }), el("h1", {}, "interceptor"),
    el("p", { class: "dim" }, "Who are you? ", state.me.sign_in ? "Sign in, or open" : "Open", " the link that ", el("code", {}, "interceptor console"), " prints."), state.me.sign_in ? sign : null));
}

async function start() {
  const page = location.hash.match(/^#page=(.+)$/);
  if (page) {
    history.replaceState(null, "", "/");
    localStorage.setItem(KEPT, page[1]);
  }
  const link = location.hash.match(/^#enter=(.+)$/);
  if (link) {
    history.replaceState(null, "", "/");
    try { localStorage.setItem(KEPT, (await ask("/enter", { link: link[1] })).page); } catch (error) { toast(error.message); }
  }
  state.me = await ask("/api/me");
  if (!state.me.name) return door();
  $(".top").hidden = false;
  const who = $(".who");
  who.replaceChildren(...text(state.me.name));
  who.addEventListener("click", async () => { if (confirm("Sign out?")) { await ask("/sign-out", {}); localStorage.removeItem(KEPT); location.reload(); } });
  help();
  addEventListener("hashchange", route);
  document.addEventListener("keydown", keys);
  setInterval(tick, 1000);
  setInterval(() => { if (state.page === "sessions" && !document.hidden) sessions(true).catch(() => { /* the daemon is away; it may come back */ }); }, 2000);
  ({ requests: state.requests, waiting: state.waiting } = await ask("/api/approvals"));
  watch();
  route();
}

addEventListener("DOMContentLoaded", start);
