--
-- PostgreSQL database dump
--

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: warehouse; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA warehouse;


--
-- Name: SCHEMA warehouse; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON SCHEMA warehouse IS 'what is where';


--
-- Name: citext; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;


--
-- Name: EXTENSION citext; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION citext IS 'data type for case-insensitive character strings';


--
-- Name: hstore; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;


--
-- Name: EXTENSION hstore; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION hstore IS 'data type for storing sets of (key, value) pairs';


--
-- Name: pg_trgm; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;


--
-- Name: EXTENSION pg_trgm; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION pg_trgm IS 'text similarity measurement and index searching based on trigrams';


--
-- Name: pgcrypto; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS pgcrypto WITH SCHEMA public;


--
-- Name: EXTENSION pgcrypto; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION pgcrypto IS 'cryptographic functions';


--
-- Name: money_amount; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.money_amount AS (
	currency character(3),
	cents bigint
);


--
-- Name: order_status; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.order_status AS ENUM (
    'new',
    'paid',
    'shipped',
    'cancelled'
);


--
-- Name: positive; Type: DOMAIN; Schema: public; Owner: -
--

CREATE DOMAIN public.positive AS integer
	CONSTRAINT positive_check CHECK ((VALUE > 0));


--
-- Name: cents(public.money_amount); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.cents(public.money_amount) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    AS $_$SELECT ($1).cents$_$;


--
-- Name: CAST (public.money_amount AS bigint); Type: CAST; Schema: -; Owner: -
--

CREATE CAST (public.money_amount AS bigint) WITH FUNCTION public.cents(public.money_amount);


--
-- Name: note_price(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.note_price() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
  IF NEW.price <> OLD.price THEN
    INSERT INTO price_changes (item_id, was, became) VALUES (NEW.id, OLD.price, NEW.price);
  END IF;
  RETURN NEW;
END $$;


--
-- Name: order_total(bigint); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.order_total(which bigint) RETURNS numeric
    LANGUAGE sql STABLE
    AS $$SELECT sum(quantity * price) FROM order_items WHERE order_id = which$$;


--
-- Name: restock(integer, integer); Type: PROCEDURE; Schema: public; Owner: -
--

CREATE PROCEDURE public.restock(IN which integer, IN many integer)
    LANGUAGE sql
    AS $$INSERT INTO warehouse.stock (item_id, quantity) VALUES (which, many)
   ON CONFLICT (item_id) DO UPDATE SET quantity = stock.quantity + excluded.quantity$$;


--
-- Name: product(numeric); Type: AGGREGATE; Schema: public; Owner: -
--

CREATE AGGREGATE public.product(numeric) (
    SFUNC = numeric_mul,
    STYPE = numeric,
    INITCOND = '1'
);


--
-- Name: ===; Type: OPERATOR; Schema: public; Owner: -
--

CREATE OPERATOR public.=== (
    FUNCTION = texteq,
    LEFTARG = text,
    RIGHTARG = text
);


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: customers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.customers (
    id bigint NOT NULL,
    email public.citext NOT NULL,
    name character varying(200) NOT NULL,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    profile jsonb DEFAULT '{}'::jsonb NOT NULL,
    search tsvector GENERATED ALWAYS AS (to_tsvector('simple'::regconfig, (name)::text)) STORED,
    active boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);


--
-- Name: TABLE customers; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.customers IS 'who buys';


--
-- Name: COLUMN customers.email; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.customers.email IS 'where invoices go';


--
-- Name: active_customers; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.active_customers AS
 SELECT customers.id,
    customers.email,
    customers.name,
    customers.tags
   FROM public.customers
  WHERE customers.active
  WITH CASCADED CHECK OPTION;


--
-- Name: ar_internal_metadata; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.ar_internal_metadata (
    key character varying NOT NULL,
    value character varying,
    created_at timestamp(6) without time zone NOT NULL,
    updated_at timestamp(6) without time zone NOT NULL
);


--
-- Name: audit_base; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.audit_base (
    changed_at timestamp with time zone DEFAULT now(),
    changed_by text DEFAULT CURRENT_USER
);


--
-- Name: authors; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.authors (
    id bigint NOT NULL,
    name character varying(200) NOT NULL,
    email public.citext,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp(6) without time zone NOT NULL,
    updated_at timestamp(6) without time zone NOT NULL,
    birthday date
);


--
-- Name: TABLE authors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.authors IS 'who writes';


--
-- Name: COLUMN authors.birthday; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.authors.birthday IS 'day';


--
-- Name: authors_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.authors_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: authors_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.authors_id_seq OWNED BY public.authors.id;


--
-- Name: order_items; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.order_items (
    order_id bigint NOT NULL,
    item_id integer NOT NULL,
    quantity public.positive DEFAULT 1 NOT NULL,
    price numeric(10,2) NOT NULL
);


--
-- Name: best_sellers; Type: MATERIALIZED VIEW; Schema: public; Owner: -
--

CREATE MATERIALIZED VIEW public.best_sellers AS
 SELECT order_items.item_id,
    sum((order_items.quantity)::integer) AS sold
   FROM public.order_items
  GROUP BY order_items.item_id
  WITH NO DATA;


--
-- Name: books; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.books (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    author_id bigint NOT NULL,
    title text NOT NULL,
    price numeric(8,2) DEFAULT 1.0 NOT NULL,
    labels character varying[] DEFAULT '{}'::character varying[],
    extra public.hstore,
    on_sale daterange,
    cover bytea,
    state integer DEFAULT 0,
    lock_version integer DEFAULT 0,
    created_at timestamp(6) without time zone NOT NULL,
    updated_at timestamp(6) without time zone NOT NULL,
    CONSTRAINT price_check CHECK ((price >= (0)::numeric))
);


--
-- Name: books_tags; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.books_tags (
    book_id character varying NOT NULL,
    tag_id character varying NOT NULL
);


--
-- Name: categories; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.categories (
    id integer NOT NULL,
    parent_id integer,
    name text NOT NULL,
    slug character varying(80) NOT NULL
);


--
-- Name: categories_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.categories_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: categories_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.categories_id_seq OWNED BY public.categories.id;


--
-- Name: cheap; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.cheap AS
 SELECT books.id,
    books.title
   FROM public.books
  WHERE (books.price < (5)::numeric);


--
-- Name: comments; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.comments (
    id bigint NOT NULL,
    subject_type character varying,
    subject_id character varying,
    body text,
    type character varying,
    created_at timestamp(6) without time zone NOT NULL,
    updated_at timestamp(6) without time zone NOT NULL
);


--
-- Name: comments_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.comments_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: comments_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.comments_id_seq OWNED BY public.comments.id;


--
-- Name: customers_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.customers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: customers_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.customers_id_seq OWNED BY public.customers.id;


--
-- Name: events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.events (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    payload jsonb
)
PARTITION BY RANGE (at);


--
-- Name: events_2025; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.events_2025 (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    payload jsonb
);


--
-- Name: events_2026; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.events_2026 (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    payload jsonb
);


--
-- Name: events_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: events_other; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.events_other (
    id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    kind text NOT NULL,
    payload jsonb
);


--
-- Name: invoice_number; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.invoice_number
    START WITH 1000
    INCREMENT BY 5
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: items; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.items (
    id integer NOT NULL,
    category_id integer NOT NULL,
    sku uuid DEFAULT gen_random_uuid() NOT NULL,
    title text NOT NULL,
    price numeric(10,2) NOT NULL,
    price_gross numeric GENERATED ALWAYS AS ((price * 1.19)) STORED,
    weight double precision,
    attributes jsonb,
    available daterange,
    picture bytea,
    CONSTRAINT items_price_check CHECK ((price >= (0)::numeric))
);


--
-- Name: items_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.items ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.items_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: order_totals; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.order_totals AS
SELECT
    NULL::bigint AS id,
    NULL::bigint AS customer_id,
    NULL::public.order_status AS status,
    NULL::numeric AS total;


--
-- Name: orders; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.orders (
    id bigint NOT NULL,
    customer_id bigint NOT NULL,
    status public.order_status DEFAULT 'new'::public.order_status NOT NULL,
    invoice bigint DEFAULT nextval('public.invoice_number'::regclass),
    note text,
    placed_at timestamp with time zone DEFAULT now() NOT NULL,
    ship_by interval
);


--
-- Name: orders_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.orders ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.orders_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: price_changes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.price_changes (
    item_id integer,
    was numeric,
    became numeric
)
INHERITS (public.audit_base);


--
-- Name: schema_migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.schema_migrations (
    version character varying NOT NULL
);


--
-- Name: tags; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.tags (
    id bigint NOT NULL,
    name character varying,
    books_count integer DEFAULT 0
);


--
-- Name: tags_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.tags_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: tags_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.tags_id_seq OWNED BY public.tags.id;


--
-- Name: stock; Type: TABLE; Schema: warehouse; Owner: -
--

CREATE TABLE warehouse.stock (
    item_id integer NOT NULL,
    place inet,
    quantity integer DEFAULT 0 NOT NULL,
    counted date
);


--
-- Name: events_2025; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events ATTACH PARTITION public.events_2025 FOR VALUES FROM ('2025-01-01 00:00:00+00') TO ('2026-01-01 00:00:00+00');


--
-- Name: events_2026; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events ATTACH PARTITION public.events_2026 FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2027-01-01 00:00:00+00');


--
-- Name: events_other; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events ATTACH PARTITION public.events_other DEFAULT;


--
-- Name: authors id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.authors ALTER COLUMN id SET DEFAULT nextval('public.authors_id_seq'::regclass);


--
-- Name: categories id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.categories ALTER COLUMN id SET DEFAULT nextval('public.categories_id_seq'::regclass);


--
-- Name: comments id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.comments ALTER COLUMN id SET DEFAULT nextval('public.comments_id_seq'::regclass);


--
-- Name: customers id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.customers ALTER COLUMN id SET DEFAULT nextval('public.customers_id_seq'::regclass);


--
-- Name: price_changes changed_at; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.price_changes ALTER COLUMN changed_at SET DEFAULT now();


--
-- Name: price_changes changed_by; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.price_changes ALTER COLUMN changed_by SET DEFAULT CURRENT_USER;


--
-- Name: tags id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tags ALTER COLUMN id SET DEFAULT nextval('public.tags_id_seq'::regclass);


--
-- Name: ar_internal_metadata ar_internal_metadata_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.ar_internal_metadata
    ADD CONSTRAINT ar_internal_metadata_pkey PRIMARY KEY (key);


--
-- Name: authors authors_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.authors
    ADD CONSTRAINT authors_pkey PRIMARY KEY (id);


--
-- Name: books books_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.books
    ADD CONSTRAINT books_pkey PRIMARY KEY (id);


--
-- Name: categories categories_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.categories
    ADD CONSTRAINT categories_pkey PRIMARY KEY (id);


--
-- Name: categories categories_slug_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.categories
    ADD CONSTRAINT categories_slug_key UNIQUE (slug);


--
-- Name: comments comments_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.comments
    ADD CONSTRAINT comments_pkey PRIMARY KEY (id);


--
-- Name: customers customers_email_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.customers
    ADD CONSTRAINT customers_email_key UNIQUE (email);


--
-- Name: customers customers_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (id);


--
-- Name: events events_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id, at);


--
-- Name: events_2025 events_2025_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events_2025
    ADD CONSTRAINT events_2025_pkey PRIMARY KEY (id, at);


--
-- Name: events_2026 events_2026_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events_2026
    ADD CONSTRAINT events_2026_pkey PRIMARY KEY (id, at);


--
-- Name: events_other events_other_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.events_other
    ADD CONSTRAINT events_other_pkey PRIMARY KEY (id, at);


--
-- Name: items items_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.items
    ADD CONSTRAINT items_pkey PRIMARY KEY (id);


--
-- Name: items items_sku_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.items
    ADD CONSTRAINT items_sku_key UNIQUE (sku);


--
-- Name: order_items order_items_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.order_items
    ADD CONSTRAINT order_items_pkey PRIMARY KEY (order_id, item_id);


--
-- Name: orders orders_invoice_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_invoice_key UNIQUE (invoice) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: orders orders_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);


--
-- Name: schema_migrations schema_migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);


--
-- Name: tags tags_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tags
    ADD CONSTRAINT tags_pkey PRIMARY KEY (id);


--
-- Name: stock stock_pkey; Type: CONSTRAINT; Schema: warehouse; Owner: -
--

ALTER TABLE ONLY warehouse.stock
    ADD CONSTRAINT stock_pkey PRIMARY KEY (item_id);


--
-- Name: best_sellers_item; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX best_sellers_item ON public.best_sellers USING btree (item_id);


--
-- Name: books_lower_title; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX books_lower_title ON public.books USING btree (lower(title)) WHERE (price > (0)::numeric);


--
-- Name: books_price; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX books_price ON public.books USING btree (price);


--
-- Name: customers_lower_name; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX customers_lower_name ON public.customers USING btree (lower((name)::text)) WHERE active;


--
-- Name: customers_name_trgm; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX customers_name_trgm ON public.customers USING gin (name public.gin_trgm_ops);


--
-- Name: customers_profile; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX customers_profile ON public.customers USING gin (profile jsonb_path_ops);


--
-- Name: customers_search; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX customers_search ON public.customers USING gin (search);


--
-- Name: index_authors_on_name; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX index_authors_on_name ON public.authors USING btree (name);


--
-- Name: index_books_on_author_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX index_books_on_author_id ON public.books USING btree (author_id);


--
-- Name: index_books_on_author_id_and_title; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX index_books_on_author_id_and_title ON public.books USING btree (author_id, title DESC);


--
-- Name: index_books_on_labels; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX index_books_on_labels ON public.books USING gin (labels);


--
-- Name: index_books_tags_on_tag_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX index_books_tags_on_tag_id ON public.books_tags USING btree (tag_id);


--
-- Name: index_comments_on_subject; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX index_comments_on_subject ON public.comments USING btree (subject_type, subject_id);


--
-- Name: orders_customer; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX orders_customer ON public.orders USING btree (customer_id, placed_at DESC) INCLUDE (status);


--
-- Name: events_2025_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.events_pkey ATTACH PARTITION public.events_2025_pkey;


--
-- Name: events_2026_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.events_pkey ATTACH PARTITION public.events_2026_pkey;


--
-- Name: events_other_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.events_pkey ATTACH PARTITION public.events_other_pkey;


--
-- Name: customers_stats; Type: STATISTICS; Schema: public; Owner: -
--

CREATE STATISTICS public.customers_stats (dependencies) ON active, created_at FROM public.customers;


--
-- Name: order_totals _RETURN; Type: RULE; Schema: public; Owner: -
--

CREATE OR REPLACE VIEW public.order_totals AS
 SELECT o.id,
    o.customer_id,
    o.status,
    sum(((i.quantity)::numeric * i.price)) AS total
   FROM (public.orders o
     JOIN public.order_items i ON ((i.order_id = o.id)))
  GROUP BY o.id;


--
-- Name: price_changes audit_nothing; Type: RULE; Schema: public; Owner: -
--

CREATE RULE audit_nothing AS
    ON DELETE TO public.price_changes DO INSTEAD NOTHING;


--
-- Name: items items_price; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER items_price AFTER UPDATE OF price ON public.items FOR EACH ROW EXECUTE FUNCTION public.note_price();


--
-- Name: categories categories_parent_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.categories
    ADD CONSTRAINT categories_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES public.categories(id);


--
-- Name: books fk_rails_53d51ce16a; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.books
    ADD CONSTRAINT fk_rails_53d51ce16a FOREIGN KEY (author_id) REFERENCES public.authors(id) ON DELETE CASCADE;


--
-- Name: items items_category_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.items
    ADD CONSTRAINT items_category_id_fkey FOREIGN KEY (category_id) REFERENCES public.categories(id) ON DELETE RESTRICT;


--
-- Name: order_items order_items_item_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.order_items
    ADD CONSTRAINT order_items_item_id_fkey FOREIGN KEY (item_id) REFERENCES public.items(id);


--
-- Name: order_items order_items_order_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.order_items
    ADD CONSTRAINT order_items_order_id_fkey FOREIGN KEY (order_id) REFERENCES public.orders(id) ON DELETE CASCADE;


--
-- Name: orders orders_customer_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES public.customers(id) ON DELETE CASCADE;


--
-- Name: stock stock_item_id_fkey; Type: FK CONSTRAINT; Schema: warehouse; Owner: -
--

ALTER TABLE ONLY warehouse.stock
    ADD CONSTRAINT stock_item_id_fkey FOREIGN KEY (item_id) REFERENCES public.items(id);


--
-- Name: customers; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.customers ENABLE ROW LEVEL SECURITY;

--
-- Name: customers everyone; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY everyone ON public.customers USING (true);


--
-- Name: shop_changes; Type: PUBLICATION; Schema: -; Owner: -
--

CREATE PUBLICATION shop_changes WITH (publish = 'insert, update, delete, truncate');


--
-- Name: shop_changes order_items; Type: PUBLICATION TABLE; Schema: public; Owner: -
--

ALTER PUBLICATION shop_changes ADD TABLE ONLY public.order_items;


--
-- Name: shop_changes orders; Type: PUBLICATION TABLE; Schema: public; Owner: -
--

ALTER PUBLICATION shop_changes ADD TABLE ONLY public.orders;


--
-- Name: TABLE order_totals; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT ON TABLE public.order_totals TO PUBLIC;


--
-- Name: DEFAULT PRIVILEGES FOR TABLES; Type: DEFAULT ACL; Schema: warehouse; Owner: -
--

ALTER DEFAULT PRIVILEGES IN SCHEMA warehouse GRANT SELECT ON TABLES  TO PUBLIC;


--
-- PostgreSQL database dump complete
--

