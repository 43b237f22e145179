// node-postgres: simple without values, extended with, named statements, cursors by rows, notices, COPY by hand.
const { Client, Pool, Query } = require("pg");
const fs = require("fs");
const mode = process.env.MODE;
const ssl = mode === "disable" ? false : mode === "require" ? { rejectUnauthorized: false } : { ca: fs.readFileSync(process.env.CA), host: process.env.PGHOST };
const say = (...what) => console.log(...what.map((one) => (typeof one === "string" ? one : JSON.stringify(one))));
(async () => {
  const db = new Client({ ssl });
  await db.connect();
  say(db.connection.stream.encrypted ? "tls True" : "tls False");
  const heard = [];
  db.on("notice", (notice) => heard.push([notice.severity, notice.message]));
  const { rows, fields } = await db.query("select * from item where id = $1", [1]);
  say(rows[0], fields.map((field) => field.dataTypeID));
  say((await db.query("select 1 as a; select 'x' as b, null as c; delete from part where false")).map((one) => [one.command, one.rowCount, one.rows]));
  say((await db.query({ text: "select id, active from item order by id", rowMode: "array" })).rows);
  say((await db.query("select shout($1)", ["hey"])).rows, heard);
  for (const [text, values] of [["select 1 / $1::int", [0]], ["insert into item (name) values ($1)", [""]], ["selec 1"], ["select * from nowhere"], ["select secret from vault"], ["select secret from vault where secret <> $1", [""]]]) {
    try { await db.query(text, values); } catch (error) { say(error.code, error.message, "|", error.detail ?? "none", "|", error.constraint ?? "none"); }
  }
  for (let n = 0; n < 3; n++) say((await db.query({ name: "sum", text: "select $1::int + 1 as n", values: [n] })).rows);
  say((await db.query({ name: "bin", text: "select $1::bytea as raw, 7::int as n", values: [Buffer.from([0, 255])], binary: true })).rows[0].n);
  await db.query("begin");
  await db.query("insert into part values (1, 1, $1)", ["x"]);
  await db.query("savepoint a");
  await db.query("insert into part values (1, 1, 'y')").catch((error) => say(error.code, error.constraint));
  await db.query("rollback to savepoint a");
  say((await db.query("select count(*)::int as n from part")).rows);
  await db.query("rollback");
  say((await db.query("select count(*)::int as n from part")).rows);
  // Many at once: the client queues, the server answers in order.
  say((await Promise.all(Array.from({ length: 300 }, (_, n) => db.query("select $1::int as n", [n])))).reduce((sum, one) => sum + one.rows[0].n, 0));
  const news = new Promise((resolve) => db.on("notification", (note) => resolve([note.channel, note.payload])));
  await db.query("listen news");
  const pool = new Pool({ ssl, max: 3 });
  await pool.query("select pg_notify('news', 'fresh')");
  say(await news);
  say((await Promise.all([1, 2, 3, 4].map((n) => pool.query("select $1::int as n", [n])))).map((one) => one.rows[0].n));
  await pool.end();
  // Cancelled on a connection of its own, which the driver makes in clear text.
  const slow = new Query("select pg_sleep(30)");
  const ended = new Promise((resolve) => slow.on("error", (error) => resolve(error.code)));
  db.query(slow);
  await new Promise((resolve) => setTimeout(resolve, 300));
  new Client().cancel(db, slow);
  say("cancelled", await ended, (await db.query("select 1 as n")).rows);
  await db.end();
})().catch((error) => { console.log(error); process.exit(1); });
