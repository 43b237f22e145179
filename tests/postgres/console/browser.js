// A human at a real browser. Says one line for each thing that is so; screenshots go to a folder.
const { chromium } = require("playwright-core");
const { spawn, execFileSync } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");

const [pictures, token] = process.argv.slice(2);
const interceptor = process.env.INTERCEPTOR;
const say = (words) => console.log(words);
const sleep = (time) => new Promise((done) => setTimeout(done, time));

function psql(sql, more = []) {
  const child = spawn("psql", ["-XAtq", ...more, "-c", sql]);
  const said = { out: "" };
  child.stdout.on("data", (data) => { said.out += data; });
  child.stderr.on("data", (data) => { said.out += data; });
  said.ended = new Promise((done) => child.on("close", () => done(said.out)));
  return said;
}

function link(environment) {
  const out = execFileSync(interceptor, ["console"], { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "ignore"] });
  return out.toString().trim();
}

// A request as no page of ours would send it.
function raw(url, method, path, headers, body) {
  return new Promise((done, fail) => {
    const { hostname, port } = new URL(url);
    const request = http.request({ hostname, port, path, method, headers }, (answer) => {
      let text = "";
      answer.on("data", (data) => { text += data; });
      answer.on("end", () => done({ status: answer.statusCode, headers: answer.headers, text }));
    });
    request.on("error", fail);
    // Node frames no body of a GET: it would be the beginning of the next request on the connection.
    request.end(method === "GET" ? undefined : body);
  });
}

async function main() {
  fs.mkdirSync(pictures, { recursive: true });
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light" });
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type()) && !/40[013]|409|502/.test(message.text())) wrong.push(message.text()); });
  page.on("pageerror", (error) => wrong.push(String(error)));
  let asked = null;
  page.on("dialog", (dialog) => {
    if (asked !== null && dialog.message().includes(asked)) { asked = null; dialog.accept(); return; }
    wrong.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => { if (!request.url().startsWith("http://127.0.0.1:")) wrong.push(`asks ${request.url()}`); });
  const picture = (name, options = {}) => page.screenshot({ path: `${pictures}/${name}.png`, ...options });
  const detail = page.locator(".detail");

  // Nobody is in without a link, and a link is good once.
  const first = link({ INTERCEPTOR_APPROVER_TOKEN: token });
  const base = first.split("#")[0];
  await page.goto(base);
  await page.waitForSelector(".door");
  await picture("door");
  await page.goto("about:blank");
  await page.goto(first);
  await page.waitForSelector("nav a");
  say(`in as ${await page.textContent(".who")}`);
  const other = await browser.newContext();
  const late = await other.newPage();
  await late.goto(first);
  await late.waitForSelector(".door");
  say(`the link again: ${(await late.textContent(".toast")).split(";")[0]}`);
  await other.close();

  // Held in psql, approved in the page, rows in psql.
  const update = psql("update people set note = 'shipped on Friday', name = 'Ada Byron' where id in (1, 2, 3) returning id, note");
  await detail.waitFor();
  await page.waitForSelector(".preview table");
  say(`it changes ${await page.textContent(".preview .big")}: ${(await page.locator(".preview tbody tr").first().innerText()).replace(/\s+/g, " ")}`);
  await picture("approval");
  await page.keyboard.press("a");
  await page.waitForSelector("dialog[open]");
  await page.keyboard.press("Enter");
  say(`psql: ${(await update.ended).split("\n").filter((line) => line && !line.includes("NOTICE")).join(" ")}`);

  // Denied, with words.
  const remove = psql("delete from kept where id = 1");
  await page.waitForFunction(() => document.querySelector(".detail")?.textContent.includes("delete from kept"));
  await page.keyboard.press("c");
  await page.keyboard.type("archive it instead");
  await page.click(".word .no");
  say(`psql: ${(await remove.ended).split("\n").filter((line) => /ERROR|DETAIL/.test(line)).join(" ").replace(/request [0-9a-f]{8}/, "request ID")}`);

  // What an agent writes is text, wherever it stands.
  const evil = `<img src=x onerror="window.pwned=1"></pre></script><script>window.pwned=1</script>{{7*7}}javascript:alert(1)`;
  const attack = psql(`update people set note = '${evil.replaceAll("'", "''")}\u202e\u200b' where id = 4 /* ${evil} */ -- \u001b[2J`);
  await page.waitForFunction(() => document.querySelector(".detail")?.textContent.includes("onerror"));
  const shown = await page.locator(".detail pre.code").first().textContent();
  say(`shown as it is: ${shown.includes(`note = '${evil}\\u{202e}\\u{200b}'`) && shown.includes("\\u{1b}[2J")}`);
  say(`preview too: ${(await page.locator(".preview").textContent()).includes(evil)}`);
  await page.click(".word .yes");
  await attack.ended;
  // A session comes and goes on the page by itself, and is ended there.
  await page.goto(`${base}#sessions`);
  await page.waitForSelector("main .empty");
  const asleep = psql("select pg_sleep(60)");
  await page.waitForSelector("main [data-session]");
  await sleep(300);
  await picture("sessions");
  asked = "End the session of agent:demo?";
  await page.click("main [data-session]");
  say(`psql: ${(await asleep.ended).split("\n").find((line) => /FATAL|ERROR/.test(line))}`);
  await page.waitForSelector("main .empty");
  for (const name of ["audit", "policies", "coverage", "plots"]) {
    await page.goto(`${base}#${name}`);
    await page.waitForFunction((name) => document.querySelector("nav a[aria-current]")?.getAttribute("href") === `#${name}` && document.querySelector("main .panel"), name);
    await sleep(300);
    await picture(name);
  }
  // What has been decided so far is all counted, whatever the span.
  for (const span of ["hour", "all"]) {
    await page.goto(`${base}#plots?span=${span}`);
    await page.waitForFunction((span) => document.querySelector(".choice a[aria-current]")?.getAttribute("href").endsWith(span), span);
    say(`counted: ${(await page.locator(".legend span").allTextContents()).join(", ")}; ${(await page.locator(".cards .panel:nth-child(3) text").allTextContents()).join(" ")}`);
  }
  await page.goto(`${base}#audit?text=onerror`);
  await page.waitForFunction(() => document.querySelector("main td a"));
  await page.locator("main td a").first().click();
  await page.waitForSelector(".step");
  await picture("replay");
  say(`the replay shows it: ${(await page.textContent("main")).includes(evil)}`);
  say(`scripts of theirs ran: ${await page.evaluate(() => window.pwned !== undefined)}; images of theirs: ${await page.locator("main img").count()}`);

  // Explained.
  await page.goto(`${base}#policies`);
  await page.waitForSelector("#e-statement");
  await page.fill("#e-statement", "delete from people where id = 1");
  await page.click("main form button");
  await page.waitForSelector("main form + div table");
  say(`explained: ${(await page.locator("main form + div .tag").allTextContents()).join(", ")}`);

  // Nobody decides in time.
  await page.goto(`${base}#approvals`);
  const slow = psql("update people set note = 'late' where id = 5");
  await page.waitForFunction(() => document.querySelector(".detail")?.textContent.includes("'late'"));
  await page.waitForFunction(() => document.querySelector(".detail .tag")?.textContent === "expired", null, { timeout: 30000 });
  say(`expired: ${await page.locator(".detail .word").count()} buttons; psql: ${(await slow.ended).split("\n").find((line) => line.includes("ERROR"))}`);

  // The other look, and the small one.
  const held = psql("insert into people values (200, 'Grace Hopper', 'new here')");
  await page.waitForFunction(() => document.querySelector(".detail")?.textContent.includes("Grace"));
  await page.emulateMedia({ colorScheme: "dark" });
  await sleep(400);
  await picture("approval-dark");
  await page.setViewportSize({ width: 390, height: 844 });
  await sleep(200);
  await picture("approval-phone", { fullPage: true });
  const wide = [];
  for (const name of ["approvals", "sessions", "audit", "policies", "coverage", "plots"]) {
    await page.goto(`${base}#${name}`);
    await page.waitForFunction((name) => document.querySelector("nav a[aria-current]")?.getAttribute("href") === `#${name}` && document.querySelector("main .panel"), name);
    await sleep(200);
    // Neither the page nor the menu has anything out of sight.
    const parts = ["html", "nav"].map((part) => page.locator(part).first().evaluate((it) => it.scrollWidth > it.clientWidth));
    if ((await Promise.all(parts)).some(Boolean)) wide.push(name);
    await picture(`${name}-phone`);
  }
  await page.goto(`${base}#approvals`);
  say(`wider than a phone: ${wide.join(", ") || "nothing"}`);

  // Everything that is not the page itself is refused.
  const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  const [{ httpOnly, sameSite }] = await context.cookies();
  say(`the cookie: ${httpOnly} ${sameSite}`);
  const host = new URL(base).host;
  const id = await page.evaluate(() => state.chosen);
  const json = { "content-type": "application/json" };
  const path = `/api/approvals/${id}/approve`;
  const csrf = await page.evaluate(() => localStorage.getItem("interceptor page"));
  for (const [what, method, headers] of [
    ["a GET", "GET", { host, cookie }],
    ["another site's page", "POST", { host, cookie, origin: "http://evil.example", "x-interceptor-csrf": csrf, ...json }],
    ["no origin", "POST", { host, cookie, "x-interceptor-csrf": csrf, ...json }],
    ["no token", "POST", { host, cookie, origin: `http://${host}`, ...json }],
    ["a form", "POST", { host, cookie, origin: `http://${host}`, "x-interceptor-csrf": csrf, "content-type": "text/plain" }],
    ["another host's name", "POST", { host: "evil.example", cookie, origin: "http://evil.example", "x-interceptor-csrf": csrf, ...json }],
    ["nobody", "POST", { host, origin: `http://${host}`, "x-interceptor-csrf": csrf, ...json }],
  ]) {
    say(`${what}: ${(await raw(base, method, path, headers, "{}")).status}`);
  }
  const { headers } = await raw(base, "GET", "/", { host });
  say(`frames: ${headers["x-frame-options"]}, ${headers["content-security-policy"].includes("default-src 'none'") && headers["content-security-policy"].includes("frame-ancestors 'none'")}`);
  // Whoever is nobody's approver sees nothing of it, and the agent is not its own.
  const { status, text } = await raw(base, "POST", path, { host, cookie, origin: `http://${host}`, "x-interceptor-csrf": csrf, ...json }, JSON.stringify({ comment: "by hand" }));
  say(`the page's own way: ${status} ${JSON.parse(text).state}`);
  await held.ended;
  say(`again: ${(await raw(base, "POST", path, { host, cookie, origin: `http://${host}`, "x-interceptor-csrf": csrf, ...json }, "{}")).status}`);
  for (const words of wrong) say(`WRONG ${words}`);
  await browser.close();
}

main().catch((error) => { console.log(`FAILED ${error.stack}`); process.exit(1); });
