# Prisma's client without engines. Its schema engine is a binary that is fetched from a place of its own, and so migrate,
# db push and db pull are not captured: the tables are made here as its migrations write them.
PGAPPNAME=corpora psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
CREATE TYPE "State" AS ENUM ('draft', 'published');
CREATE TABLE "pr_author" ("id" SERIAL NOT NULL, "name" VARCHAR(100) NOT NULL, "born" DATE, CONSTRAINT "pr_author_pkey" PRIMARY KEY ("id"));
CREATE TABLE "pr_book" ("id" UUID NOT NULL DEFAULT gen_random_uuid(), "title" TEXT NOT NULL, "price" DECIMAL(8,2) NOT NULL DEFAULT 0,
  "data" JSONB, "labels" TEXT[], "state" "State" NOT NULL DEFAULT 'draft', "made" TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "cover" BYTEA, "author_id" INTEGER, CONSTRAINT "pr_book_pkey" PRIMARY KEY ("id"));
CREATE TABLE "pr_tag" ("id" SERIAL NOT NULL, "name" TEXT NOT NULL, CONSTRAINT "pr_tag_pkey" PRIMARY KEY ("id"));
CREATE TABLE "_BookToTag" ("A" UUID NOT NULL, "B" INTEGER NOT NULL, CONSTRAINT "_BookToTag_AB_pkey" PRIMARY KEY ("A","B"));
CREATE UNIQUE INDEX "pr_author_name_key" ON "pr_author"("name");
CREATE UNIQUE INDEX "pr_book_author_id_title_key" ON "pr_book"("author_id", "title");
CREATE INDEX "_BookToTag_B_index" ON "_BookToTag"("B");
ALTER TABLE "pr_book" ADD CONSTRAINT "pr_book_author_id_fkey" FOREIGN KEY ("author_id") REFERENCES "pr_author"("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "_BookToTag" ADD CONSTRAINT "_BookToTag_A_fkey" FOREIGN KEY ("A") REFERENCES "pr_book"("id") ON DELETE CASCADE ON UPDATE CASCADE;
ALTER TABLE "_BookToTag" ADD CONSTRAINT "_BookToTag_B_fkey" FOREIGN KEY ("B") REFERENCES "pr_tag"("id") ON DELETE CASCADE ON UPDATE CASCADE;
SQL
cp prisma.schema schema.prisma
cat > prisma.config.ts <<'TS'
import { defineConfig } from "prisma/config";
export default defineConfig({ schema: "schema.prisma", datasource: { url: process.env.DATABASE_URL! } });
TS
# The generator looks whether the engine is there, and does not run it.
export PRISMA_SCHEMA_ENGINE_BINARY=/bin/true PRISMA_HIDE_UPDATE_MESSAGE=1 CHECKPOINT_DISABLE=1
prisma generate > generate.txt 2>&1 || cat generate.txt
tsx prisma.mts
