const { Client } = require("pg");
(async () => {
  const client = new Client();
  await client.connect();
  for (const statement of JSON.parse(process.env.STATEMENTS)) {
    try {
      await client.query(statement);
      console.log(JSON.stringify({ sqlstate: null }));
    } catch (error) {
      console.log(JSON.stringify({ sqlstate: error.code, detail: error.detail, hint: error.hint }));
    }
  }
  for (const table of ["orders", "customers"]) {
    const { rows } = await client.query(`select count(*)::int as n from ${table} where id > $1`, [0]);
    console.log(JSON.stringify({ [table]: rows[0].n }));
  }
  await client.end();
})();
