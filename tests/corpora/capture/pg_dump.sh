# pg_dump and its family, as back-ups, cron jobs and developers call them.
pg_dump > all.sql
pg_dump --schema-only > schema.sql
pg_dump --data-only --disable-triggers > data.sql
pg_dump --inserts --column-inserts --rows-per-insert=50 > inserts.sql
pg_dump -t orders -t 'order_*' --no-owner --no-privileges > some.sql
pg_dump -n warehouse --clean --if-exists > warehouse.sql
pg_dump --create > whole.sql
pg_dump -T 'events*' --exclude-table-data=items --serializable-deferrable > without.sql
pg_dump -Fc -Z0 -f shop.custom
pg_dump -Fd -j2 -f shop.folder
pg_dump --section=pre-data --section=post-data --load-via-partition-root --quote-all-identifiers > sections.sql
pg_dump --enable-row-security --strict-names -t public.customers > rows.sql
pg_dumpall --globals-only > globals.sql
pg_dumpall > cluster.sql
pg_dumpall --roles-only --no-role-passwords > roles.sql

createdb restored
pg_restore -d restored -j2 shop.custom
pg_restore -d restored --clean --if-exists -t order_items --disable-triggers shop.custom
psql -X -q -d restored -c 'drop schema warehouse cascade' -f warehouse.sql > restored.txt 2>&1
psql -X -q -d restored -f some.sql >> restored.txt 2>&1
dropdb --if-exists --force restored
psql -X -q -d template1 -c 'drop database if exists nothing'

vacuumdb shop
vacuumdb --analyze-in-stages -t orders shop
vacuumdb --full --freeze -t 'order_items(order_id)' --analyze shop
vacuumdb --all --jobs=2 --skip-locked --min-xid-age=1
reindexdb shop
reindexdb --concurrently -t orders -i customers_search shop
reindexdb --schema warehouse --verbose shop
clusterdb --verbose shop
createuser --login --no-createdb visitor
dropuser visitor
pg_isready
pg_amcheck --install-missing --heapallindexed --table orders shop
vacuumlo --dry-run shop
oid2name -d shop

pgbench -i -s 1 --foreign-keys
pgbench -i -I dtGvpf -s 1 --partitions=3
pgbench -t 20 -c 2
pgbench -t 20 -c 2 -M prepared -S
pgbench -t 20 -c 1 -M extended -N
echo 'select order_total(:id); \gset x_' > own.pgbench
pgbench -n -t 5 -D id=3 -f own.pgbench
# So that the statements of both initialisations find what they name.
pgbench -i -q -s 1
exit 0
