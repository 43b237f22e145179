// Prisma's client without engines, over its adapter for pg.
import { PrismaPg } from "@prisma/adapter-pg";
import { PrismaClient } from "./generated/client.ts";
import fs from "node:fs";

const mode = process.env.MODE;
const ssl = mode === "disable" ? false : mode === "require" ? { rejectUnauthorized: false } : { ca: fs.readFileSync(process.env.CA!), host: process.env.PGHOST };
const db = new PrismaClient({ adapter: new PrismaPg({ host: process.env.PGHOST, port: 5432, database: "shop", user: "agent", password: "wrong", ssl }) });
const say = (what: unknown) => console.log(JSON.stringify(what, (_, value) => (typeof value === "bigint" ? `${value}n` : value)));
say(await db.item.findMany({ where: { name: { contains: "GR", mode: "insensitive" } }, select: { id: true, name: true, price: true, tags: true, data: true, made: true, active: true, uid: true, amount: true } }));
say(await db.item.create({ data: { id: 50, name: "fifty", price: "1.25", parts: { create: [{ id: 1, note: "x" }, { id: 2 }] } }, include: { parts: { orderBy: { id: "asc" } } } }).then((made) => [made.id, made.price, made.parts]));
say(await db.item.create({ data: { name: "fifty" } }).catch((error) => error.code));
say(await db.part.groupBy({ by: ["itemId"], _count: { _all: true }, _max: { id: true } }));
say(await db.$transaction([db.part.count(), db.part.updateMany({ where: { id: { gt: 1 } }, data: { note: "y" } })]));
say(await db.$transaction(async (t) => { await t.part.delete({ where: { id: 1 } }); throw new Error("back"); }).catch((error) => [error.message, "rolled back"]));
say(await db.item.upsert({ where: { name: "fifty" }, create: { name: "fifty" }, update: { amount: 5n }, select: { amount: true } }));
say(await db.$queryRaw`select id, note from part where id > ${0} order by id`);
say(await db.$queryRawUnsafe("select secret from vault").catch((error) => [error.code, /the vault is not for agents|forbids/.test(error.message)]));
say(await db.item.delete({ where: { id: 50 } }).then((gone) => gone.name));
say(await db.part.count());
await db.$disconnect();
