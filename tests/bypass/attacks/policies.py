"""Turns the words that the cases name their policies with into Cedar, for databases whose names say which they belong to."""
import re

# What "strict-agent" masks: column patterns of labels.toml.
MASKED = {
    "users.email": ["public.users.email"],
    "users.ssn": ["public.users.ssn"],
    "users.card": ["public.users.card"],
    "payments.card": ["payments.card"],
    '"UserProfiles"."Email"': ["UserProfiles.Email"],
    "hr.salaries.ssn": ["hr.salaries.ssn"],
    "hr.salaries.amount": ["hr.salaries.amount"],
    "hr.users.email": ["hr.users.email"],
    "user_domains.m_email": ["user_domains.m_email"],
}
STRICT = [name for name in MASKED if name != "hr.users.email"]


def labels():
    """labels.toml: one label for each column that some case masks."""
    lines = []
    for name, patterns in MASKED.items():
        # A label matches the column's name in either case; the quoted one has a lower-case neighbour in another relation.
        lines.append(f'[[label]]\nname = {name!r}\ncolumns = {patterns!r}\n'.replace("\\'", "'"))
    return "\n".join(lines)


class Writer:
    """Policies of one kind of case, on all databases whose name begins with `prefix`."""

    def __init__(self, prefix, databases):
        self.prefix, self.databases, self.lines = prefix, databases, []

    def add(self, effect, scope, annotations="", condition=""):
        condition = f" && ({condition})" if condition else ""
        self.lines.append(
            f'@id("{self.prefix}{len(self.lines)}") {annotations}\n{effect} ({scope})\n'
            f'when {{ context.database like "{self.prefix}*"{condition} }};\n'
        )

    def each(self, effect, scope, condition=""):
        """For resources whose ids hold the database's name."""
        condition = f"\nwhen {{ {condition} }}" if condition else ""
        for database in self.databases:
            text = f"{effect} ({scope}){condition};".replace("DB", database)
            self.lines.append(f'@id("{self.prefix}{len(self.lines)}")\n{text}\n')


ANY = "principal, action, resource"


def translate(text, prefix, databases):
    """The policies that a case's words mean."""
    out = Writer(prefix, databases)
    strict = text.startswith("strict-agent")
    reads_only = "read-only" in text or (strict and "+ writes" not in text)
    if reads_only or strict:
        out.add("permit", 'principal, action in [PG::Action::"read", PG::Action::"copy_out", PG::Action::"connect"], resource')
    else:
        out.add("permit", ANY)
    if strict and "+ writes" in text:
        out.add("permit", 'principal, action in [PG::Action::"insert", PG::Action::"update", PG::Action::"delete", PG::Action::"merge", PG::Action::"copy_in", PG::Action::"lock"], resource')
    masks = STRICT if strict else re.findall(r'mask ((?:"[^"]+"|[\w.])+(?:\."[^"]+")?(?:, (?:"[^"]+"|[\w.])+)*)', text)
    masks = [name.strip() for mask in masks for name in mask.split(",")]
    relaxed = '@filter("equality")' if "mask.predicates=equality" in text else ""
    for name in masks:
        quoted = name.replace('"', '\\"')
        out.add("forbid", 'principal, action == PG::Action::"select", resource is PG::Column', f'@mask("redact") {relaxed}',
                f'resource.labels.contains("{quoted}")')
    if "deny ddl" in text or strict:
        for action in ("ddl", "dcl"):
            out.add("forbid", f'principal, action in [PG::Action::"{action}"], resource')
        out.add("forbid", 'principal, action == PG::Action::"admin", resource')
    if strict:
        out.each("forbid", 'principal, action, resource in PG::Relation::"DB.public.secrets"')
        # What the schema calls harmless is listed.
        listed = 'resource == PG::Function::"DB.app.add_tax"'
        out.each("permit", f'principal, action == PG::Action::"execute", {listed}')
        out.each("forbid", 'principal, action == PG::Action::"execute", resource', f'context.database == "DB" && !({listed})')
        out.add("forbid", 'principal, action == PG::Action::"connect", resource', '@max_rows("10000")')
    for name in re.findall(r"deny table (\w+)", text):
        out.each("forbid", f'principal, action, resource in PG::Relation::"DB.public.{name}"')
    if "deny sensitive-catalogs" in text:
        for name in ("pg_stats", "pg_statistic", "pg_authid", "pg_stat_activity", "pg_hba_file_rules", "pg_shadow",
                     "pg_stats_ext", "pg_stats_ext_exprs", "pg_statistic_ext_data", "pg_user_mappings", "pg_user_mapping"):
            out.each("forbid", f'principal, action, resource in PG::Relation::"DB.pg_catalog.{name}"')
    if "deny admin-functions" in text:
        out.add("forbid", 'principal, action in [PG::Action::"execute", PG::Action::"admin"], resource')
    if "deny session-escalation" in text or text.startswith("limits"):
        out.add("forbid", 'principal, action in [PG::Action::"set", PG::Action::"set_role"], resource')
    if "deny session-escalation" in text:
        out.add("forbid", 'principal, action == PG::Action::"admin", resource')
    if "deny notify" in text:
        out.add("forbid", 'principal, action in [PG::Action::"listen", PG::Action::"notify", PG::Action::"execute"], resource')
    if "deny export" in text:
        out.add("forbid", 'principal, action == PG::Action::"copy_out", resource')
    if "deny unfiltered writes" in text:
        out.add("forbid", 'principal, action in [PG::Action::"write"], resource', "", "context has has_where && !context.has_where")
    if "approve writes" in text:
        out.add("forbid", 'principal, action in [PG::Action::"write"], resource', '@approve("dba")')
        out.add("forbid", 'principal, action in [PG::Action::"ddl"], resource', '@approve("dba")')
    if "row budget 200" in text:
        out.add("forbid", 'principal, action == PG::Action::"select", resource', "", "context.session_rows >= 200")
    connect = 'principal, action == PG::Action::"connect", resource'
    for pattern, annotation in (
        (r"max_rows (\d+)", '@max_rows("%s")'),
        (r"statement_timeout (\d+)s", '@timeout("%ss")'),
        # The one value that this is about has 62,791 bytes as text: what is meant is a limit that it exceeds.
        (r"max_result_bytes 64(k)", '@max_bytes("60000")'),
        (r"max_result_bytes 1(M)", '@max_bytes("1000000")'),
        (r"max_row_bytes 16(M)", '@max_bytes("16000000")'),
    ):
        found = re.search(pattern, text)
        if found:
            out.add("forbid", connect, annotation % found.group(1) if "%s" in annotation else annotation)
    return "\n".join(out.lines)
