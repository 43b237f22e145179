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
-- Name: pg_trgm; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;


--
-- Name: EXTENSION pg_trgm; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION pg_trgm IS 'text similarity measurement and index searching based on trigrams';


--
-- Name: uuid-ossp; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public;


--
-- Name: EXTENSION "uuid-ossp"; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION "uuid-ossp" IS 'generate universally unique identifiers (UUIDs)';


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
-- Name: to_book_state_enum; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.to_book_state_enum AS ENUM (
    'draft',
    'published'
);


--
-- Name: to_last_e_enum; Type: TYPE; Schema: public; Owner: -
--

CREATE TYPE public.to_last_e_enum AS ENUM (
    'a',
    'b'
);


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
-- Name: audit_base; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.audit_base (
    changed_at timestamp with time zone DEFAULT now(),
    changed_by text DEFAULT CURRENT_USER
);


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
-- Name: migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.migrations (
    id integer NOT NULL,
    "timestamp" bigint NOT NULL,
    name character varying NOT NULL
);


--
-- Name: migrations_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.migrations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: migrations_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.migrations_id_seq OWNED BY public.migrations.id;


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
-- Name: to_author; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.to_author (
    id integer NOT NULL,
    name character varying NOT NULL,
    born date
);


--
-- Name: COLUMN to_author.name; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.to_author.name IS 'as printed';


--
-- Name: to_author_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.to_author_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: to_author_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.to_author_id_seq OWNED BY public.to_author.id;


--
-- Name: to_book; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.to_book (
    id uuid DEFAULT public.uuid_generate_v4() NOT NULL,
    title character varying(200) NOT NULL,
    price numeric(8,2) DEFAULT '0'::numeric NOT NULL,
    labels text[] DEFAULT '{}'::text[] NOT NULL,
    data jsonb,
    state public.to_book_state_enum DEFAULT 'draft'::public.to_book_state_enum NOT NULL,
    sale daterange,
    cover bytea,
    made timestamp with time zone DEFAULT now() NOT NULL,
    changed timestamp with time zone DEFAULT now() NOT NULL,
    gone timestamp with time zone,
    version integer NOT NULL,
    twice numeric GENERATED ALWAYS AS ((price * (2)::numeric)) STORED,
    "authorId" integer,
    CONSTRAINT "CHK_23bb2356ef8f4a0b211722dc0d" CHECK ((price >= (0)::numeric))
);


--
-- Name: to_book_tag; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.to_book_tag (
    "toBookId" uuid NOT NULL,
    "toTagId" integer NOT NULL
);


--
-- Name: to_category; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.to_category (
    id integer NOT NULL,
    name character varying NOT NULL,
    "parentId" integer
);


--
-- Name: to_category_closure; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.to_category_closure (
    id_ancestor integer NOT NULL,
    id_descendant integer NOT NULL
);


--
-- Name: to_category_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.to_category_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: to_category_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.to_category_id_seq OWNED BY public.to_category.id;


--
-- Name: to_cheap; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.to_cheap AS
 SELECT to_book.id,
    to_book.title
   FROM public.to_book
  WHERE (to_book.price < (5)::numeric);


--
-- Name: to_last; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.to_last (
    id integer NOT NULL,
    e public.to_last_e_enum NOT NULL,
    author_id integer,
    c text,
    CONSTRAINT "CHK_f09d291ba3e0f6a71a8cdce844" CHECK ((id > 0))
);


--
-- Name: to_last_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.to_last_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: to_last_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.to_last_id_seq OWNED BY public.to_last.id;


--
-- Name: to_tag; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.to_tag (
    id integer NOT NULL,
    name character varying NOT NULL
);


--
-- Name: to_tag_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.to_tag_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: to_tag_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.to_tag_id_seq OWNED BY public.to_tag.id;


--
-- Name: typeorm_metadata; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.typeorm_metadata (
    type character varying NOT NULL,
    database character varying,
    schema character varying,
    "table" character varying,
    name character varying,
    value text
);


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
-- Name: categories id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.categories ALTER COLUMN id SET DEFAULT nextval('public.categories_id_seq'::regclass);


--
-- Name: customers id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.customers ALTER COLUMN id SET DEFAULT nextval('public.customers_id_seq'::regclass);


--
-- Name: migrations id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.migrations ALTER COLUMN id SET DEFAULT nextval('public.migrations_id_seq'::regclass);


--
-- Name: price_changes changed_at; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.price_changes ALTER COLUMN changed_at SET DEFAULT now();


--
-- Name: price_changes changed_by; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.price_changes ALTER COLUMN changed_by SET DEFAULT CURRENT_USER;


--
-- Name: to_author id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_author ALTER COLUMN id SET DEFAULT nextval('public.to_author_id_seq'::regclass);


--
-- Name: to_category id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_category ALTER COLUMN id SET DEFAULT nextval('public.to_category_id_seq'::regclass);


--
-- Name: to_last id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_last ALTER COLUMN id SET DEFAULT nextval('public.to_last_id_seq'::regclass);


--
-- Name: to_tag id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_tag ALTER COLUMN id SET DEFAULT nextval('public.to_tag_id_seq'::regclass);


--
-- Name: to_last PK_352cbea70c063ec20a7a0761a9f; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_last
    ADD CONSTRAINT "PK_352cbea70c063ec20a7a0761a9f" PRIMARY KEY (id);


--
-- Name: to_book PK_44bbfde9af9ed310b10636062cd; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_book
    ADD CONSTRAINT "PK_44bbfde9af9ed310b10636062cd" PRIMARY KEY (id);


--
-- Name: to_category PK_4d7c639a7553688898073fcbf51; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_category
    ADD CONSTRAINT "PK_4d7c639a7553688898073fcbf51" PRIMARY KEY (id);


--
-- Name: to_category_closure PK_517513a4fdb7b27c2e178433dcc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_category_closure
    ADD CONSTRAINT "PK_517513a4fdb7b27c2e178433dcc" PRIMARY KEY (id_ancestor, id_descendant);


--
-- Name: to_book_tag PK_55eb7eba27703d7edd09a2d59df; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_book_tag
    ADD CONSTRAINT "PK_55eb7eba27703d7edd09a2d59df" PRIMARY KEY ("toBookId", "toTagId");


--
-- Name: migrations PK_8c82d7f526340ab734260ea46be; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.migrations
    ADD CONSTRAINT "PK_8c82d7f526340ab734260ea46be" PRIMARY KEY (id);


--
-- Name: to_tag PK_95c4bbe92511c1a529f5bab299c; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_tag
    ADD CONSTRAINT "PK_95c4bbe92511c1a529f5bab299c" PRIMARY KEY (id);


--
-- Name: to_author PK_9e7cb5282593b24100bbf0f8ac3; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_author
    ADD CONSTRAINT "PK_9e7cb5282593b24100bbf0f8ac3" PRIMARY KEY (id);


--
-- Name: to_author UQ_397c1cdc31d50ff85fc351db63e; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_author
    ADD CONSTRAINT "UQ_397c1cdc31d50ff85fc351db63e" UNIQUE (name);


--
-- Name: to_book UQ_ce541309a9aa4c2fda664f6ecfd; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_book
    ADD CONSTRAINT "UQ_ce541309a9aa4c2fda664f6ecfd" UNIQUE ("authorId", title);


--
-- Name: to_last UQ_eea328561ae13c62b6d630c596b; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_last
    ADD CONSTRAINT "UQ_eea328561ae13c62b6d630c596b" UNIQUE (c, author_id);


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
-- Name: stock stock_pkey; Type: CONSTRAINT; Schema: warehouse; Owner: -
--

ALTER TABLE ONLY warehouse.stock
    ADD CONSTRAINT stock_pkey PRIMARY KEY (item_id);


--
-- Name: IDX_3202a53d8981aa51581b267cb9; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "IDX_3202a53d8981aa51581b267cb9" ON public.to_category_closure USING btree (id_descendant);


--
-- Name: IDX_50b3bcf8e9aeb7bc045822bf24; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "IDX_50b3bcf8e9aeb7bc045822bf24" ON public.to_book_tag USING btree ("toTagId");


--
-- Name: IDX_7a8542d7159a76ae5d71557f12; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "IDX_7a8542d7159a76ae5d71557f12" ON public.to_book USING btree (title);


--
-- Name: IDX_b7827de93ec9f3853e583016a3; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "IDX_b7827de93ec9f3853e583016a3" ON public.to_category_closure USING btree (id_ancestor);


--
-- Name: IDX_c3b127afe86bc6a297d4c690db; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX "IDX_c3b127afe86bc6a297d4c690db" ON public.to_last USING btree (c);


--
-- Name: IDX_c70d5d64ea6ce3152e4bd428c0; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "IDX_c70d5d64ea6ce3152e4bd428c0" ON public.to_book_tag USING btree ("toBookId");


--
-- Name: IDX_f5d1df3d3ede2bb54b9b1ad4bf; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX "IDX_f5d1df3d3ede2bb54b9b1ad4bf" ON public.to_book USING btree (price) WHERE (price > (1)::numeric);


--
-- Name: best_sellers_item; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX best_sellers_item ON public.best_sellers USING btree (item_id);


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
-- Name: to_category_closure FK_3202a53d8981aa51581b267cb95; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_category_closure
    ADD CONSTRAINT "FK_3202a53d8981aa51581b267cb95" FOREIGN KEY (id_descendant) REFERENCES public.to_category(id) ON DELETE CASCADE;


--
-- Name: to_category FK_3a5816615b0c4a1ad10c8a35992; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_category
    ADD CONSTRAINT "FK_3a5816615b0c4a1ad10c8a35992" FOREIGN KEY ("parentId") REFERENCES public.to_category(id);


--
-- Name: to_book_tag FK_50b3bcf8e9aeb7bc045822bf248; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_book_tag
    ADD CONSTRAINT "FK_50b3bcf8e9aeb7bc045822bf248" FOREIGN KEY ("toTagId") REFERENCES public.to_tag(id) ON UPDATE CASCADE ON DELETE CASCADE;


--
-- Name: to_book FK_5ffbb18d431d66f0b0aa6da3f74; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_book
    ADD CONSTRAINT "FK_5ffbb18d431d66f0b0aa6da3f74" FOREIGN KEY ("authorId") REFERENCES public.to_author(id) ON DELETE CASCADE;


--
-- Name: to_category_closure FK_b7827de93ec9f3853e583016a38; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_category_closure
    ADD CONSTRAINT "FK_b7827de93ec9f3853e583016a38" FOREIGN KEY (id_ancestor) REFERENCES public.to_category(id) ON DELETE CASCADE;


--
-- Name: to_book_tag FK_c70d5d64ea6ce3152e4bd428c0a; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_book_tag
    ADD CONSTRAINT "FK_c70d5d64ea6ce3152e4bd428c0a" FOREIGN KEY ("toBookId") REFERENCES public.to_book(id) ON UPDATE CASCADE ON DELETE CASCADE;


--
-- Name: to_last FK_d27046d72925a16ca49a7ed3869; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.to_last
    ADD CONSTRAINT "FK_d27046d72925a16ca49a7ed3869" FOREIGN KEY (author_id) REFERENCES public.to_author(id) ON DELETE SET NULL;


--
-- Name: categories categories_parent_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.categories
    ADD CONSTRAINT categories_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES public.categories(id);


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

