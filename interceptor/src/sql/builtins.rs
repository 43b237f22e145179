//! What is known about the server's own objects: three tables, each an allowlist or a list of what is closed.
//! `docs/builtins.md` explains them to policy authors.

use super::catalog::Function;
use std::collections::HashSet;
use std::sync::LazyLock;

/// Functions of `pg_catalog` that return something and do nothing: immutable and stable ones (PostgreSQL 15 to 18)
/// without those that read files, other sessions, statistics of other people's values or SQL in strings, and the few
/// volatile ones that only look volatile (`random`, `clock_timestamp`, the sizes of relations).
static HARMLESS: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("harmless_functions.txt").lines().collect());

/// The functions of the server that may be called freely.
pub fn server_functions() -> impl Iterator<Item = &'static str> {
    HARMLESS.iter().copied()
}

/// Whether calling a function needs no permit.
pub(super) fn is_harmless(schema: &str, name: &str) -> bool {
    match schema {
        "pg_catalog" => HARMLESS.contains(name),
        // Helpers of the standard's views, all of them immutable or stable; drivers call `_pg_expandarray`.
        "information_schema" => name.starts_with("_pg_"),
        _ => false,
    }
}

/// What is known about what a function does besides returning something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It reads and writes no relation: what goes in is all it knows.
    Nothing,
    /// Its body can be read.
    Body,
    /// Nothing is known: it may do anything.
    Anything,
}

/// Functions of `pg_catalog` off the allowlist, because they act on something, that read and write no relation.
const ACTS_ON_NO_RELATION: &[&str] = &[
    "currval",
    "gen_random_uuid",
    "lastval",
    "nextval",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_all",
    "pg_advisory_unlock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_cancel_backend",
    "pg_notify",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_terminate_backend",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    "set_config",
    "setseed",
    "setval",
];

/// The same in extensions that are in common use, in C and not declared immutable.
const EXTENSIONS_ACT_ON_NO_RELATION: &[&str] =
    &["crypt", "gen_random_bytes", "gen_salt", "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4"];

/// What can be said about a function.
pub(super) fn sight(function: &Function) -> Sight {
    let name = &*function.name;
    if &*function.schema == "pg_catalog" {
        let harmless = is_harmless("pg_catalog", name) || ACTS_ON_NO_RELATION.contains(&name);
        return if harmless { Sight::Nothing } else { Sight::Anything };
    }
    match &*function.language {
        // An aggregate's body is the functions that it is made of.
        "sql" | "plpgsql" | "aggregate" => Sight::Body,
        // Only a superuser can make one; one that is declared immutable is taken at its word.
        "c" if !function.security_definer
            && (&*function.volatility == "immutable" || EXTENSIONS_ACT_ON_NO_RELATION.contains(&name)) =>
        {
            Sight::Nothing
        }
        _ => Sight::Anything,
    }
}

/// Catalogues that hold values out of any column: statistics, and statements of other sessions.
pub(super) fn holds_values(schema: &str, name: &str) -> bool {
    schema == "pg_catalog"
        && matches!(
            name,
            "pg_statistic"
                | "pg_statistic_ext_data"
                | "pg_stats"
                | "pg_stats_ext"
                | "pg_stats_ext_exprs"
                | "pg_stat_activity"
        )
}

/// Whether a function is SET in disguise.
pub(super) fn sets_parameter(name: &str) -> bool {
    name == "set_config"
}

/// Whether a function moves a sequence, whose name is its first argument.
pub(super) fn moves_sequence(name: &str) -> bool {
    matches!(name, "nextval" | "setval")
}

/// Catalogues of the server that hold other people's values: statistics, statements, credentials.
const SENSITIVE: &[&str] = &[
    "pg_authid",
    "pg_backend_memory_contexts",
    "pg_config",
    "pg_db_role_setting",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_largeobject",
    "pg_largeobject_metadata",
    "pg_prepared_xacts",
    "pg_replication_origin_status",
    "pg_replication_slots",
    "pg_sequences",
    "pg_shadow",
    "pg_shmem_allocations",
    "pg_shmem_allocations_numa",
    "pg_stat_activity",
    "pg_stat_gssapi",
    "pg_stat_progress_analyze",
    "pg_stat_progress_basebackup",
    "pg_stat_progress_cluster",
    "pg_stat_progress_copy",
    "pg_stat_progress_create_index",
    "pg_stat_progress_vacuum",
    "pg_stat_replication",
    "pg_stat_replication_slots",
    "pg_stat_ssl",
    "pg_stat_subscription",
    "pg_stat_subscription_stats",
    "pg_stat_wal_receiver",
    "pg_statistic",
    "pg_statistic_ext_data",
    "pg_stats",
    "pg_stats_ext",
    "pg_stats_ext_exprs",
    "pg_subscription",
    "pg_user_mapping",
    "pg_user_mappings",
    // information_schema: options of foreign servers and user mappings hold hosts and passwords.
    "_pg_foreign_servers",
    "_pg_foreign_data_wrappers",
    "_pg_foreign_tables",
    "_pg_user_mappings",
    "foreign_server_options",
    "user_mapping_options",
];

/// Catalogues of which only some columns hold other people's values: the rest is what psql and other tools look at.
const CLOSED_COLUMNS: &[(&str, &[&str])] = &[
    ("pg_sequences", &["last_value"]),
    ("pg_stat_activity", &["application_name", "client_addr", "client_hostname", "client_port", "query"]),
    ("pg_subscription", &["subconninfo"]),
    ("pg_user_mapping", &["umoptions"]),
    ("pg_user_mappings", &["umoptions"]),
];

/// Whether nothing is read of a catalogue but what is open to everybody.
pub(super) fn is_open_but_for<'a>(schema: &str, name: &str, mut columns: impl Iterator<Item = &'a str>) -> bool {
    let closed = CLOSED_COLUMNS.iter().find(|(catalogue, _)| schema == "pg_catalog" && *catalogue == name);
    closed.is_some_and(|(_, closed)| columns.all(|column| !closed.contains(&column)))
}

/// Whether reading a catalogue of the server needs a permit like any other relation.
pub fn is_sensitive(schema: &str, name: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema") && SENSITIVE.contains(&name)
}

/// Settings that change how things look or how they are planned, and nothing that a later statement means.
const HARMLESS_PARAMETERS: &[&str] = &[
    "array_nulls",
    "bytea_output",
    "check_function_bodies",
    "client_min_messages",
    "constraint_exclusion",
    "cursor_tuple_fraction",
    "datestyle",
    "default_text_search_config",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "escape_string_warning",
    "extra_float_digits",
    "from_collapse_limit",
    "geqo",
    "icu_validation_level",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "join_collapse_limit",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "seed",
    "seq_page_cost",
    "statement_timeout",
    "timezone",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
    "xmlbinary",
    "xmloption",
];

/// Whether a setting may be changed without a permit; `enable_seqscan` and its kin are hints to the planner.
pub fn parameter_is_harmless(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    HARMLESS_PARAMETERS.contains(&name.as_str()) || name.starts_with("enable_")
}

/// Whether a setting chooses between plans: the order of rows that comes of one may be that of a masked column.
pub(super) fn chooses_plans(name: &str) -> bool {
    name.starts_with("enable_")
        || name.ends_with("_cost")
        || name.starts_with("geqo")
        || matches!(
            name,
            "cursor_tuple_fraction" | "from_collapse_limit" | "join_collapse_limit" | "constraint_exclusion"
        )
}

/// Whether a setting may be changed at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// Policy decides.
    Free,
    /// It is pinned, and this leaves it as it is.
    Kept,
    /// It is pinned, and this would change it.
    Refused(&'static str),
}

/// Settings that change what the next statement means or who it is attributed to. `value` is `None` where it is only
/// known when the statement runs.
pub fn pinned(name: &str, value: Option<&str>) -> Pinned {
    let value = value.map(str::to_ascii_lowercase);
    match name.to_ascii_lowercase().as_str() {
        // The server looks at letters and digits only (`clean_encoding_name`); asyncpg says `'utf-8'`, quotes and all.
        "client_encoding" | "names" => {
            match value.map(|value| value.replace(|c: char| !c.is_ascii_alphanumeric(), "")).as_deref() {
                Some("utf8" | "unicode") => Pinned::Kept,
                _ => Pinned::Refused("client_encoding is pinned to UTF8"),
            }
        }
        "standard_conforming_strings" => match value.as_deref() {
            Some("on" | "true" | "yes" | "1") => Pinned::Kept,
            _ => Pinned::Refused("standard_conforming_strings is pinned to on"),
        },
        // Followed where it is set by a statement of its own; anywhere else nobody knows whether it runs.
        "search_path" => {
            Pinned::Refused("search_path is set in a way that cannot be followed; use SET search_path = ... by itself")
        }
        "role" => Pinned::Refused("the role is pinned"),
        "session_authorization" => Pinned::Refused("the role is pinned"),
        "application_name" => Pinned::Refused("application_name names the agent and is pinned"),
        "backslash_quote" => Pinned::Refused("backslash_quote is pinned"),
        "session_replication_role" => Pinned::Refused("session_replication_role is pinned"),
        name if name.starts_with("interceptor.") => {
            Pinned::Refused("settings under `interceptor.` are the daemon's own")
        }
        _ => Pinned::Free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions() {
        for harmless in ["count", "lower", "now", "format_type", "pg_get_expr", "jsonb_path_query", "min", "row_number"]
        {
            assert!(is_harmless("pg_catalog", harmless), "{harmless}");
        }
        for harmful in [
            "pg_read_file",
            "pg_ls_dir",
            "lo_from_bytea",
            "lo_get",
            "dblink",
            "query_to_xml",
            "table_to_xml",
            "schema_to_xml",
            "database_to_xml",
            "cursor_to_xml",
            "ts_stat",
            "ts_rewrite",
            "pg_sleep",
            "nextval",
            "setval",
            "pg_terminate_backend",
            "pg_notify",
            "pg_advisory_lock",
            "pg_stat_get_activity",
            "pg_mcv_list_items",
            "pg_logical_slot_peek_changes",
            "pg_export_snapshot",
            "pg_stat_get_backend_activity",
            "pg_reload_conf",
            "pg_hba_file_rules",
            "pg_promote",
            "pg_switch_wal",
            "pg_stat_reset",
            "pg_create_restore_point",
            "binary_upgrade_set_next_pg_authid_oid",
            "pg_stat_get_wal_receiver",
            "pg_config",
        ] {
            assert!(!is_harmless("pg_catalog", harmful), "{harmful}");
        }
        assert!(!is_harmless("public", "count"));
        assert!(is_harmless("information_schema", "_pg_expandarray"));
    }

    #[test]
    fn catalogues() {
        assert!(is_sensitive("pg_catalog", "pg_authid"));
        assert!(is_sensitive("pg_catalog", "pg_stat_activity"));
        assert!(is_sensitive("information_schema", "user_mapping_options"));
        assert!(!is_sensitive("pg_catalog", "pg_class"));
        assert!(!is_sensitive("public", "pg_authid"));
    }

    #[test]
    fn settings() {
        assert_eq!(pinned("client_encoding", Some("UTF8")), Pinned::Kept);
        assert_eq!(pinned("client_encoding", Some("'utf-8'")), Pinned::Kept);
        assert!(matches!(pinned("client_encoding", Some("SJIS")), Pinned::Refused(_)));
        assert!(matches!(pinned("CLIENT_ENCODING", None), Pinned::Refused(_)));
        assert!(matches!(pinned("standard_conforming_strings", Some("off")), Pinned::Refused(_)));
        assert!(matches!(pinned("search_path", Some("hr")), Pinned::Refused(_)));
        assert!(matches!(pinned("interceptor.agent", Some("x")), Pinned::Refused(_)));
        assert_eq!(pinned("work_mem", Some("1GB")), Pinned::Free);
        assert!(parameter_is_harmless("TimeZone"));
        assert!(parameter_is_harmless("enable_seqscan"));
        assert!(!parameter_is_harmless("work_mem"));
    }
}
