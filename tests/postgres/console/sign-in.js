// People who sign in at somebody else's provider, and what their groups are good for.
const { chromium } = require("playwright-core");
const { spawn } = require("node:child_process");

const [console_] = process.argv.slice(2);
const say = (words) => process.stdout.write(`${words}\n`);

async function signed(browser, name) {
  const page = await (await browser.newContext()).newPage();
  await page.goto(console_);
  await page.click(".door button");
  await page.fill("input[name=login]", name);
  await page.fill("input[name=password]", "x");
  await page.click("button[type=submit]");
  await page.waitForURL(/interaction/);
  await page.click("button[type=submit]");
  await page.waitForSelector("nav a");
  return page;
}

async function main() {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  const page = await signed(browser, "dba-bob");
  say(`${await page.textContent(".who")}, ${JSON.stringify(await page.evaluate(() => [state.me.groups, state.me.operator]))}`);
  say(`pages: ${await page.locator("nav a").count()}`);
  const sales = await signed(browser, "carol");
  const psql = spawn("psql", ["-XAtq", "-c", "update orders set customer_id = 7 where id = 1 returning customer_id"]);
  let out = "";
  psql.stdout.on("data", (data) => { out += data; });
  const ended = new Promise((done) => psql.on("close", done));
  await page.waitForSelector(".detail .yes");
  say(`carol sees: ${(await sales.textContent("main")).trim()}`);
  const id = await page.evaluate(() => state.chosen);
  const refused = await sales.evaluate(async (id) => {
    try { await ask(`/api/approvals/${id}/approve`, {}); return "approved"; } catch (error) { return error.message; }
  }, id);
  say(`carol says: ${refused}`);
  await page.click(".detail .yes");
  await ended;
  say(`psql: ${out.trim()}`);
  // An answer that this browser has not begun, or that is for another sign-in.
  const other = await (await browser.newContext()).newPage();
  const bare = await other.goto(`${console_}sign-in/back?code=x&state=y`);
  say(`made up: ${bare.status()} ${(await bare.text()).trim()}`);
  await other.goto(console_);
  await other.evaluate(() => ask("/sign-in", {}));
  const crossed = await other.goto(`${console_}sign-in/back?code=x&state=y`);
  say(`crossed: ${crossed.status()} ${(await crossed.text()).trim()}`);
  page.on("dialog", (dialog) => dialog.accept());
  await page.click(".who");
  await page.waitForSelector(".door");
  say("signed out");
  await browser.close();
}

main().catch((error) => { say(`FAILED ${error.stack}`); process.exit(1); });
