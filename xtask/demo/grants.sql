-- The account that agents' statements run under is one that can do far too much, as such accounts are: it may read and
-- write everything, and change and drop what the owner has. What stands between an agent and all this is interceptor.
GRANT shop_owner TO interceptor;
GRANT pg_read_all_data, pg_write_all_data, pg_monitor TO shop_owner;

DO $$
DECLARE
    place text;
BEGIN
    FOR place IN
        SELECT quote_ident(nspname) FROM pg_namespace
        WHERE nspname <> 'information_schema' AND nspname !~ '^pg_'
    LOOP
        EXECUTE format('GRANT ALL ON SCHEMA %s TO interceptor, shop_owner', place);
        EXECUTE format('GRANT ALL ON ALL TABLES IN SCHEMA %s TO interceptor, shop_owner', place);
        EXECUTE format('GRANT ALL ON ALL SEQUENCES IN SCHEMA %s TO interceptor, shop_owner', place);
        EXECUTE format('GRANT ALL ON ALL ROUTINES IN SCHEMA %s TO interceptor, shop_owner', place);
    END LOOP;
END
$$;
