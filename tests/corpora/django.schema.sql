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
-- Name: unaccent; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS unaccent WITH SCHEMA public;


--
-- Name: EXTENSION unaccent; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION unaccent IS 'text search dictionary that removes accents';


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
-- Name: audit_base; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.audit_base (
    changed_at timestamp with time zone DEFAULT now(),
    changed_by text DEFAULT CURRENT_USER
);


--
-- Name: auth_group; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_group (
    id integer NOT NULL,
    name character varying(150) NOT NULL
);


--
-- Name: auth_group_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.auth_group ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.auth_group_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: auth_group_permissions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_group_permissions (
    id bigint NOT NULL,
    group_id integer NOT NULL,
    permission_id integer NOT NULL
);


--
-- Name: auth_group_permissions_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.auth_group_permissions ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.auth_group_permissions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: auth_permission; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_permission (
    id integer NOT NULL,
    name character varying(255) NOT NULL,
    content_type_id integer NOT NULL,
    codename character varying(100) NOT NULL
);


--
-- Name: auth_permission_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.auth_permission ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.auth_permission_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: auth_user; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_user (
    id integer NOT NULL,
    password character varying(128) NOT NULL,
    last_login timestamp with time zone,
    is_superuser boolean NOT NULL,
    username character varying(150) NOT NULL,
    first_name character varying(150) NOT NULL,
    last_name character varying(150) NOT NULL,
    email character varying(254) NOT NULL,
    is_staff boolean NOT NULL,
    is_active boolean NOT NULL,
    date_joined timestamp with time zone NOT NULL
);


--
-- Name: auth_user_groups; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_user_groups (
    id bigint NOT NULL,
    user_id integer NOT NULL,
    group_id integer NOT NULL
);


--
-- Name: auth_user_groups_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.auth_user_groups ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.auth_user_groups_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: auth_user_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.auth_user ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.auth_user_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: auth_user_user_permissions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.auth_user_user_permissions (
    id bigint NOT NULL,
    user_id integer NOT NULL,
    permission_id integer NOT NULL
);


--
-- Name: auth_user_user_permissions_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.auth_user_user_permissions ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.auth_user_user_permissions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
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
-- Name: cache_entries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.cache_entries (
    cache_key character varying(255) NOT NULL,
    value text NOT NULL,
    expires timestamp with time zone NOT NULL
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
-- Name: shopapp_book; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shopapp_book (
    id uuid NOT NULL,
    title character varying(200) NOT NULL,
    price numeric(8,2) DEFAULT 1 NOT NULL,
    pages smallint NOT NULL,
    labels character varying(20)[] NOT NULL,
    data jsonb NOT NULL,
    extra public.hstore,
    on_sale daterange,
    search tsvector,
    rating double precision,
    created timestamp with time zone NOT NULL,
    seen timestamp with time zone DEFAULT statement_timestamp() NOT NULL,
    double numeric(9,2) GENERATED ALWAYS AS ((price * (2)::numeric)) STORED,
    cover bytea,
    publisher_id bigint NOT NULL,
    CONSTRAINT price_positive CHECK ((price >= (0)::numeric)),
    CONSTRAINT shopapp_book_pages_check CHECK ((pages >= 0))
);


--
-- Name: cheap_books; Type: VIEW; Schema: public; Owner: -
--

CREATE VIEW public.cheap_books AS
 SELECT shopapp_book.id,
    shopapp_book.title
   FROM public.shopapp_book
  WHERE (shopapp_book.price < (5)::numeric);


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
-- Name: django_admin_log; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.django_admin_log (
    id integer NOT NULL,
    action_time timestamp with time zone NOT NULL,
    object_id text,
    object_repr character varying(200) NOT NULL,
    action_flag smallint NOT NULL,
    change_message text NOT NULL,
    content_type_id integer,
    user_id integer NOT NULL,
    CONSTRAINT django_admin_log_action_flag_check CHECK ((action_flag >= 0))
);


--
-- Name: django_admin_log_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.django_admin_log ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.django_admin_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: django_content_type; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.django_content_type (
    id integer NOT NULL,
    app_label character varying(100) NOT NULL,
    model character varying(100) NOT NULL
);


--
-- Name: django_content_type_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.django_content_type ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.django_content_type_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: django_flatpage; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.django_flatpage (
    id integer NOT NULL,
    url character varying(100) NOT NULL,
    title character varying(200) NOT NULL,
    content text NOT NULL,
    enable_comments boolean NOT NULL,
    template_name character varying(70) NOT NULL,
    registration_required boolean NOT NULL
);


--
-- Name: django_flatpage_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.django_flatpage ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.django_flatpage_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: django_flatpage_sites; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.django_flatpage_sites (
    id bigint NOT NULL,
    flatpage_id integer NOT NULL,
    site_id integer NOT NULL
);


--
-- Name: django_flatpage_sites_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.django_flatpage_sites ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.django_flatpage_sites_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: django_migrations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.django_migrations (
    id bigint NOT NULL,
    app character varying(255) NOT NULL,
    name character varying(255) NOT NULL,
    applied timestamp with time zone NOT NULL
);


--
-- Name: django_migrations_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.django_migrations ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.django_migrations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: django_redirect; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.django_redirect (
    id integer NOT NULL,
    site_id integer NOT NULL,
    old_path character varying(200) NOT NULL,
    new_path character varying(200) NOT NULL
);


--
-- Name: django_redirect_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.django_redirect ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.django_redirect_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: django_session; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.django_session (
    session_key character varying(40) NOT NULL,
    session_data text NOT NULL,
    expire_date timestamp with time zone NOT NULL
);


--
-- Name: django_site; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.django_site (
    id integer NOT NULL,
    domain character varying(100) NOT NULL,
    name character varying(50) NOT NULL
);


--
-- Name: django_site_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.django_site ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.django_site_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


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
-- Name: shopapp_author; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shopapp_author (
    id bigint NOT NULL,
    name character varying(100) NOT NULL,
    email character varying(254),
    born date,
    user_id integer
);


--
-- Name: shopapp_author_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.shopapp_author ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.shopapp_author_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: shopapp_book_authors; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shopapp_book_authors (
    id bigint NOT NULL,
    book_id uuid NOT NULL,
    author_id bigint NOT NULL
);


--
-- Name: shopapp_book_authors_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.shopapp_book_authors ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.shopapp_book_authors_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: shopapp_booking; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shopapp_booking (
    id bigint NOT NULL,
    span daterange NOT NULL,
    shop_id bigint NOT NULL
);


--
-- Name: shopapp_booking_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.shopapp_booking ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.shopapp_booking_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: shopapp_note; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shopapp_note (
    id bigint NOT NULL,
    text text NOT NULL,
    object_id integer NOT NULL,
    content_type_id integer NOT NULL,
    CONSTRAINT shopapp_note_object_id_check CHECK ((object_id >= 0))
);


--
-- Name: shopapp_note_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.shopapp_note ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.shopapp_note_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: shopapp_place; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shopapp_place (
    id bigint NOT NULL,
    name character varying(50) NOT NULL
);


--
-- Name: shopapp_place_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.shopapp_place ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.shopapp_place_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: shopapp_publisher; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shopapp_publisher (
    id bigint NOT NULL,
    name text NOT NULL,
    founded interval
);


--
-- Name: shopapp_publisher_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.shopapp_publisher ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.shopapp_publisher_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: shopapp_shop; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shopapp_shop (
    place_ptr_id bigint NOT NULL,
    open boolean NOT NULL
);


--
-- Name: shopapp_tag; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shopapp_tag (
    id bigint NOT NULL,
    name character varying(50) NOT NULL
);


--
-- Name: shopapp_tag_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.shopapp_tag ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.shopapp_tag_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: shopapp_tagged; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.shopapp_tagged (
    id bigint NOT NULL,
    weight integer NOT NULL,
    book_id uuid NOT NULL,
    tag_id bigint NOT NULL
);


--
-- Name: shopapp_tagged_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.shopapp_tagged ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.shopapp_tagged_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
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
-- Name: price_changes changed_at; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.price_changes ALTER COLUMN changed_at SET DEFAULT now();


--
-- Name: price_changes changed_by; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.price_changes ALTER COLUMN changed_by SET DEFAULT CURRENT_USER;


--
-- Name: auth_group auth_group_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group
    ADD CONSTRAINT auth_group_name_key UNIQUE (name);


--
-- Name: auth_group_permissions auth_group_permissions_group_id_permission_id_0cd325b0_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group_permissions
    ADD CONSTRAINT auth_group_permissions_group_id_permission_id_0cd325b0_uniq UNIQUE (group_id, permission_id);


--
-- Name: auth_group_permissions auth_group_permissions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group_permissions
    ADD CONSTRAINT auth_group_permissions_pkey PRIMARY KEY (id);


--
-- Name: auth_group auth_group_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group
    ADD CONSTRAINT auth_group_pkey PRIMARY KEY (id);


--
-- Name: auth_permission auth_permission_content_type_id_codename_01ab375a_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_permission
    ADD CONSTRAINT auth_permission_content_type_id_codename_01ab375a_uniq UNIQUE (content_type_id, codename);


--
-- Name: auth_permission auth_permission_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_permission
    ADD CONSTRAINT auth_permission_pkey PRIMARY KEY (id);


--
-- Name: auth_user_groups auth_user_groups_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_groups
    ADD CONSTRAINT auth_user_groups_pkey PRIMARY KEY (id);


--
-- Name: auth_user_groups auth_user_groups_user_id_group_id_94350c0c_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_groups
    ADD CONSTRAINT auth_user_groups_user_id_group_id_94350c0c_uniq UNIQUE (user_id, group_id);


--
-- Name: auth_user auth_user_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user
    ADD CONSTRAINT auth_user_pkey PRIMARY KEY (id);


--
-- Name: auth_user_user_permissions auth_user_user_permissions_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_user_permissions
    ADD CONSTRAINT auth_user_user_permissions_pkey PRIMARY KEY (id);


--
-- Name: auth_user_user_permissions auth_user_user_permissions_user_id_permission_id_14a6b632_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_user_permissions
    ADD CONSTRAINT auth_user_user_permissions_user_id_permission_id_14a6b632_uniq UNIQUE (user_id, permission_id);


--
-- Name: auth_user auth_user_username_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user
    ADD CONSTRAINT auth_user_username_key UNIQUE (username);


--
-- Name: cache_entries cache_entries_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.cache_entries
    ADD CONSTRAINT cache_entries_pkey PRIMARY KEY (cache_key);


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
-- Name: django_admin_log django_admin_log_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_admin_log
    ADD CONSTRAINT django_admin_log_pkey PRIMARY KEY (id);


--
-- Name: django_content_type django_content_type_app_label_model_76bd3d3b_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_content_type
    ADD CONSTRAINT django_content_type_app_label_model_76bd3d3b_uniq UNIQUE (app_label, model);


--
-- Name: django_content_type django_content_type_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_content_type
    ADD CONSTRAINT django_content_type_pkey PRIMARY KEY (id);


--
-- Name: django_flatpage django_flatpage_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_flatpage
    ADD CONSTRAINT django_flatpage_pkey PRIMARY KEY (id);


--
-- Name: django_flatpage_sites django_flatpage_sites_flatpage_id_site_id_0d29d9d1_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_flatpage_sites
    ADD CONSTRAINT django_flatpage_sites_flatpage_id_site_id_0d29d9d1_uniq UNIQUE (flatpage_id, site_id);


--
-- Name: django_flatpage_sites django_flatpage_sites_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_flatpage_sites
    ADD CONSTRAINT django_flatpage_sites_pkey PRIMARY KEY (id);


--
-- Name: django_migrations django_migrations_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_migrations
    ADD CONSTRAINT django_migrations_pkey PRIMARY KEY (id);


--
-- Name: django_redirect django_redirect_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_redirect
    ADD CONSTRAINT django_redirect_pkey PRIMARY KEY (id);


--
-- Name: django_redirect django_redirect_site_id_old_path_ac5dd16b_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_redirect
    ADD CONSTRAINT django_redirect_site_id_old_path_ac5dd16b_uniq UNIQUE (site_id, old_path);


--
-- Name: django_session django_session_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_session
    ADD CONSTRAINT django_session_pkey PRIMARY KEY (session_key);


--
-- Name: django_site django_site_domain_a2e37b91_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_site
    ADD CONSTRAINT django_site_domain_a2e37b91_uniq UNIQUE (domain);


--
-- Name: django_site django_site_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_site
    ADD CONSTRAINT django_site_pkey PRIMARY KEY (id);


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
-- Name: shopapp_booking no_overlap; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_booking
    ADD CONSTRAINT no_overlap EXCLUDE USING spgist (span WITH &&);


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
-- Name: shopapp_author shopapp_author_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_author
    ADD CONSTRAINT shopapp_author_pkey PRIMARY KEY (id);


--
-- Name: shopapp_author shopapp_author_user_id_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_author
    ADD CONSTRAINT shopapp_author_user_id_key UNIQUE (user_id);


--
-- Name: shopapp_book_authors shopapp_book_authors_book_id_author_id_42fe94a9_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_book_authors
    ADD CONSTRAINT shopapp_book_authors_book_id_author_id_42fe94a9_uniq UNIQUE (book_id, author_id);


--
-- Name: shopapp_book_authors shopapp_book_authors_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_book_authors
    ADD CONSTRAINT shopapp_book_authors_pkey PRIMARY KEY (id);


--
-- Name: shopapp_book shopapp_book_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_book
    ADD CONSTRAINT shopapp_book_pkey PRIMARY KEY (id);


--
-- Name: shopapp_booking shopapp_booking_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_booking
    ADD CONSTRAINT shopapp_booking_pkey PRIMARY KEY (id);


--
-- Name: shopapp_note shopapp_note_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_note
    ADD CONSTRAINT shopapp_note_pkey PRIMARY KEY (id);


--
-- Name: shopapp_place shopapp_place_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_place
    ADD CONSTRAINT shopapp_place_pkey PRIMARY KEY (id);


--
-- Name: shopapp_publisher shopapp_publisher_name_1981853e_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_publisher
    ADD CONSTRAINT shopapp_publisher_name_1981853e_uniq UNIQUE (name);


--
-- Name: shopapp_publisher shopapp_publisher_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_publisher
    ADD CONSTRAINT shopapp_publisher_pkey PRIMARY KEY (id);


--
-- Name: shopapp_shop shopapp_shop_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_shop
    ADD CONSTRAINT shopapp_shop_pkey PRIMARY KEY (place_ptr_id);


--
-- Name: shopapp_tag shopapp_tag_name_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_tag
    ADD CONSTRAINT shopapp_tag_name_key UNIQUE (name);


--
-- Name: shopapp_tag shopapp_tag_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_tag
    ADD CONSTRAINT shopapp_tag_pkey PRIMARY KEY (id);


--
-- Name: shopapp_tagged shopapp_tagged_book_id_tag_id_0a05386c_uniq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_tagged
    ADD CONSTRAINT shopapp_tagged_book_id_tag_id_0a05386c_uniq UNIQUE (book_id, tag_id);


--
-- Name: shopapp_tagged shopapp_tagged_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_tagged
    ADD CONSTRAINT shopapp_tagged_pkey PRIMARY KEY (id);


--
-- Name: stock stock_pkey; Type: CONSTRAINT; Schema: warehouse; Owner: -
--

ALTER TABLE ONLY warehouse.stock
    ADD CONSTRAINT stock_pkey PRIMARY KEY (item_id);


--
-- Name: auth_group_name_a6ea08ec_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_group_name_a6ea08ec_like ON public.auth_group USING btree (name varchar_pattern_ops);


--
-- Name: auth_group_permissions_group_id_b120cbf9; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_group_permissions_group_id_b120cbf9 ON public.auth_group_permissions USING btree (group_id);


--
-- Name: auth_group_permissions_permission_id_84c5c92e; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_group_permissions_permission_id_84c5c92e ON public.auth_group_permissions USING btree (permission_id);


--
-- Name: auth_permission_content_type_id_2f476e4b; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_permission_content_type_id_2f476e4b ON public.auth_permission USING btree (content_type_id);


--
-- Name: auth_user_groups_group_id_97559544; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_user_groups_group_id_97559544 ON public.auth_user_groups USING btree (group_id);


--
-- Name: auth_user_groups_user_id_6a12ed8b; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_user_groups_user_id_6a12ed8b ON public.auth_user_groups USING btree (user_id);


--
-- Name: auth_user_user_permissions_permission_id_1fbb5f2c; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_user_user_permissions_permission_id_1fbb5f2c ON public.auth_user_user_permissions USING btree (permission_id);


--
-- Name: auth_user_user_permissions_user_id_a95ead1b; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_user_user_permissions_user_id_a95ead1b ON public.auth_user_user_permissions USING btree (user_id);


--
-- Name: auth_user_username_6821ab7c_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX auth_user_username_6821ab7c_like ON public.auth_user USING btree (username varchar_pattern_ops);


--
-- Name: author_lower; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX author_lower ON public.shopapp_author USING btree (lower((name)::text));


--
-- Name: best_sellers_item; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX best_sellers_item ON public.best_sellers USING btree (item_id);


--
-- Name: book_price; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX book_price ON public.shopapp_book USING btree (price DESC) INCLUDE (title) WHERE (pages > 0);


--
-- Name: cache_entries_expires; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX cache_entries_expires ON public.cache_entries USING btree (expires);


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
-- Name: django_admin_log_content_type_id_c4bce8eb; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_admin_log_content_type_id_c4bce8eb ON public.django_admin_log USING btree (content_type_id);


--
-- Name: django_admin_log_user_id_c564eba6; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_admin_log_user_id_c564eba6 ON public.django_admin_log USING btree (user_id);


--
-- Name: django_flatpage_sites_flatpage_id_078bbc8b; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_flatpage_sites_flatpage_id_078bbc8b ON public.django_flatpage_sites USING btree (flatpage_id);


--
-- Name: django_flatpage_sites_site_id_bfd8ea84; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_flatpage_sites_site_id_bfd8ea84 ON public.django_flatpage_sites USING btree (site_id);


--
-- Name: django_flatpage_url_41612362; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_flatpage_url_41612362 ON public.django_flatpage USING btree (url);


--
-- Name: django_flatpage_url_41612362_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_flatpage_url_41612362_like ON public.django_flatpage USING btree (url varchar_pattern_ops);


--
-- Name: django_redirect_old_path_c6cc94d3; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_redirect_old_path_c6cc94d3 ON public.django_redirect USING btree (old_path);


--
-- Name: django_redirect_old_path_c6cc94d3_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_redirect_old_path_c6cc94d3_like ON public.django_redirect USING btree (old_path varchar_pattern_ops);


--
-- Name: django_redirect_site_id_c3e37341; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_redirect_site_id_c3e37341 ON public.django_redirect USING btree (site_id);


--
-- Name: django_session_expire_date_a5c62663; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_session_expire_date_a5c62663 ON public.django_session USING btree (expire_date);


--
-- Name: django_session_session_key_c0390e0f_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_session_session_key_c0390e0f_like ON public.django_session USING btree (session_key varchar_pattern_ops);


--
-- Name: django_site_domain_a2e37b91_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX django_site_domain_a2e37b91_like ON public.django_site USING btree (domain varchar_pattern_ops);


--
-- Name: orders_customer; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX orders_customer ON public.orders USING btree (customer_id, placed_at DESC) INCLUDE (status);


--
-- Name: shopapp_author_name_7a50e0be; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_author_name_7a50e0be ON public.shopapp_author USING btree (name);


--
-- Name: shopapp_author_name_7a50e0be_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_author_name_7a50e0be_like ON public.shopapp_author USING btree (name varchar_pattern_ops);


--
-- Name: shopapp_boo_created_36d53b_brin; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_boo_created_36d53b_brin ON public.shopapp_book USING brin (created);


--
-- Name: shopapp_boo_labels_341cd5_gin; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_boo_labels_341cd5_gin ON public.shopapp_book USING gin (labels);


--
-- Name: shopapp_book_authors_author_id_814fbb91; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_book_authors_author_id_814fbb91 ON public.shopapp_book_authors USING btree (author_id);


--
-- Name: shopapp_book_authors_book_id_dea339da; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_book_authors_book_id_dea339da ON public.shopapp_book_authors USING btree (book_id);


--
-- Name: shopapp_book_publisher_id_36ab7bd9; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_book_publisher_id_36ab7bd9 ON public.shopapp_book USING btree (publisher_id);


--
-- Name: shopapp_booking_shop_id_af118fda; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_booking_shop_id_af118fda ON public.shopapp_booking USING btree (shop_id);


--
-- Name: shopapp_note_content_type_id_f20fccde; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_note_content_type_id_f20fccde ON public.shopapp_note USING btree (content_type_id);


--
-- Name: shopapp_publisher_name_1981853e_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_publisher_name_1981853e_like ON public.shopapp_publisher USING btree (name text_pattern_ops);


--
-- Name: shopapp_tag_name_85e0cf77_like; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_tag_name_85e0cf77_like ON public.shopapp_tag USING btree (name varchar_pattern_ops);


--
-- Name: shopapp_tagged_book_id_f6014fc4; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_tagged_book_id_f6014fc4 ON public.shopapp_tagged USING btree (book_id);


--
-- Name: shopapp_tagged_tag_id_ee9e390a; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX shopapp_tagged_tag_id_ee9e390a ON public.shopapp_tagged USING btree (tag_id);


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
-- Name: auth_group_permissions auth_group_permissio_permission_id_84c5c92e_fk_auth_perm; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group_permissions
    ADD CONSTRAINT auth_group_permissio_permission_id_84c5c92e_fk_auth_perm FOREIGN KEY (permission_id) REFERENCES public.auth_permission(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_group_permissions auth_group_permissions_group_id_b120cbf9_fk_auth_group_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_group_permissions
    ADD CONSTRAINT auth_group_permissions_group_id_b120cbf9_fk_auth_group_id FOREIGN KEY (group_id) REFERENCES public.auth_group(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_permission auth_permission_content_type_id_2f476e4b_fk_django_co; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_permission
    ADD CONSTRAINT auth_permission_content_type_id_2f476e4b_fk_django_co FOREIGN KEY (content_type_id) REFERENCES public.django_content_type(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_user_groups auth_user_groups_group_id_97559544_fk_auth_group_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_groups
    ADD CONSTRAINT auth_user_groups_group_id_97559544_fk_auth_group_id FOREIGN KEY (group_id) REFERENCES public.auth_group(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_user_groups auth_user_groups_user_id_6a12ed8b_fk_auth_user_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_groups
    ADD CONSTRAINT auth_user_groups_user_id_6a12ed8b_fk_auth_user_id FOREIGN KEY (user_id) REFERENCES public.auth_user(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_user_user_permissions auth_user_user_permi_permission_id_1fbb5f2c_fk_auth_perm; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_user_permissions
    ADD CONSTRAINT auth_user_user_permi_permission_id_1fbb5f2c_fk_auth_perm FOREIGN KEY (permission_id) REFERENCES public.auth_permission(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: auth_user_user_permissions auth_user_user_permissions_user_id_a95ead1b_fk_auth_user_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.auth_user_user_permissions
    ADD CONSTRAINT auth_user_user_permissions_user_id_a95ead1b_fk_auth_user_id FOREIGN KEY (user_id) REFERENCES public.auth_user(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: categories categories_parent_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.categories
    ADD CONSTRAINT categories_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES public.categories(id);


--
-- Name: django_admin_log django_admin_log_content_type_id_c4bce8eb_fk_django_co; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_admin_log
    ADD CONSTRAINT django_admin_log_content_type_id_c4bce8eb_fk_django_co FOREIGN KEY (content_type_id) REFERENCES public.django_content_type(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: django_admin_log django_admin_log_user_id_c564eba6_fk_auth_user_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_admin_log
    ADD CONSTRAINT django_admin_log_user_id_c564eba6_fk_auth_user_id FOREIGN KEY (user_id) REFERENCES public.auth_user(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: django_flatpage_sites django_flatpage_site_flatpage_id_078bbc8b_fk_django_fl; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_flatpage_sites
    ADD CONSTRAINT django_flatpage_site_flatpage_id_078bbc8b_fk_django_fl FOREIGN KEY (flatpage_id) REFERENCES public.django_flatpage(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: django_flatpage_sites django_flatpage_sites_site_id_bfd8ea84_fk_django_site_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_flatpage_sites
    ADD CONSTRAINT django_flatpage_sites_site_id_bfd8ea84_fk_django_site_id FOREIGN KEY (site_id) REFERENCES public.django_site(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: django_redirect django_redirect_site_id_c3e37341_fk_django_site_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.django_redirect
    ADD CONSTRAINT django_redirect_site_id_c3e37341_fk_django_site_id FOREIGN KEY (site_id) REFERENCES public.django_site(id) DEFERRABLE INITIALLY DEFERRED;


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
-- Name: shopapp_author shopapp_author_user_id_dc2bf365_fk_auth_user_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_author
    ADD CONSTRAINT shopapp_author_user_id_dc2bf365_fk_auth_user_id FOREIGN KEY (user_id) REFERENCES public.auth_user(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: shopapp_book_authors shopapp_book_authors_author_id_814fbb91_fk_shopapp_author_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_book_authors
    ADD CONSTRAINT shopapp_book_authors_author_id_814fbb91_fk_shopapp_author_id FOREIGN KEY (author_id) REFERENCES public.shopapp_author(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: shopapp_book_authors shopapp_book_authors_book_id_dea339da_fk_shopapp_book_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_book_authors
    ADD CONSTRAINT shopapp_book_authors_book_id_dea339da_fk_shopapp_book_id FOREIGN KEY (book_id) REFERENCES public.shopapp_book(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: shopapp_book shopapp_book_publisher_id_36ab7bd9_fk_shopapp_publisher_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_book
    ADD CONSTRAINT shopapp_book_publisher_id_36ab7bd9_fk_shopapp_publisher_id FOREIGN KEY (publisher_id) REFERENCES public.shopapp_publisher(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: shopapp_booking shopapp_booking_shop_id_af118fda_fk_shopapp_shop_place_ptr_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_booking
    ADD CONSTRAINT shopapp_booking_shop_id_af118fda_fk_shopapp_shop_place_ptr_id FOREIGN KEY (shop_id) REFERENCES public.shopapp_shop(place_ptr_id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: shopapp_note shopapp_note_content_type_id_f20fccde_fk_django_content_type_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_note
    ADD CONSTRAINT shopapp_note_content_type_id_f20fccde_fk_django_content_type_id FOREIGN KEY (content_type_id) REFERENCES public.django_content_type(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: shopapp_shop shopapp_shop_place_ptr_id_09f98e48_fk_shopapp_place_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_shop
    ADD CONSTRAINT shopapp_shop_place_ptr_id_09f98e48_fk_shopapp_place_id FOREIGN KEY (place_ptr_id) REFERENCES public.shopapp_place(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: shopapp_tagged shopapp_tagged_book_id_f6014fc4_fk_shopapp_book_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_tagged
    ADD CONSTRAINT shopapp_tagged_book_id_f6014fc4_fk_shopapp_book_id FOREIGN KEY (book_id) REFERENCES public.shopapp_book(id) DEFERRABLE INITIALLY DEFERRED;


--
-- Name: shopapp_tagged shopapp_tagged_tag_id_ee9e390a_fk_shopapp_tag_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.shopapp_tagged
    ADD CONSTRAINT shopapp_tagged_tag_id_ee9e390a_fk_shopapp_tag_id FOREIGN KEY (tag_id) REFERENCES public.shopapp_tag(id) DEFERRABLE INITIALLY DEFERRED;


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

