//! Snapshots of databases, shared by all sessions: fetched over a connection of the daemon's own, with the credential
//! that agents' sessions have, so that it sees what they see.

use super::login::LoginError;
use super::upstream::{Credential, Server};
use crate::sql::{Catalog, CatalogBuilder, Function, RelationKind};
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A snapshot older than this is fetched anew when a session begins.
const STALE: Duration = Duration::from_secs(10);
/// Unknown names cause no more fetches than one in this time; within it the snapshot counts as fresh.
const FRESH: Duration = Duration::from_millis(200);

/// Which database, as whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) server: SocketAddr,
    pub(super) database: String,
    pub(super) user: String,
}

#[derive(Debug)]
struct Slot {
    snapshot: ArcSwapOption<Snapshot>,
    /// One fetch at a time.
    fetching: tokio::sync::Mutex<u64>,
    credential: Credential,
    /// Whether a statement has been judged by it since it was last looked after.
    used: AtomicBool,
}

#[derive(Debug)]
struct Snapshot {
    catalog: Arc<Catalog>,
    fetched: Instant,
}

/// The snapshots of all databases.
#[derive(Debug, Default)]
pub struct Catalogs {
    slots: Mutex<HashMap<Place, Arc<Slot>>>,
}

impl Catalogs {
    /// A snapshot for a session that begins.
    pub(super) async fn get(&self, place: &Place, credential: &Credential) -> Result<Arc<Catalog>, LoginError> {
        self.newer_than(place, credential, STALE).await
    }

    /// A snapshot that is fresh enough to say that something does not exist.
    pub(super) async fn refresh(&self, place: &Place, credential: &Credential) -> Result<Arc<Catalog>, LoginError> {
        self.newer_than(place, credential, FRESH).await
    }

    /// The latest snapshot, whatever its age.
    pub(super) fn latest(&self, place: &Place) -> Option<Arc<Catalog>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(place)?;
        slot.used.store(true, Ordering::Relaxed);
        slot.snapshot.load().as_ref().map(|snapshot| snapshot.catalog.clone())
    }

    /// Fetches anew, from time to time, what sessions judge by: somebody else may change a database under a session that
    /// lasts. Ends with the daemon.
    pub async fn keep_fresh(&self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(STALE) => {}
                _ = stop.changed() => return,
            }
            let slots: Vec<_> = {
                let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
                slots.iter().map(|(place, slot)| (place.clone(), slot.clone())).collect()
            };
            for (place, slot) in slots {
                if !slot.used.swap(false, Ordering::Relaxed) {
                    continue;
                }
                if let Err(error) = self.fetch(&place, &slot.credential).await {
                    tracing::warn!(%error, database = %place.database, "the catalogue could not be fetched; the old one is judged by");
                }
            }
        }
    }

    /// Something has changed: the next session or unknown name fetches anew.
    pub(super) async fn fetch(&self, place: &Place, credential: &Credential) -> Result<Arc<Catalog>, LoginError> {
        self.newer_than(place, credential, Duration::ZERO).await
    }

    fn slot(&self, place: &Place, credential: &Credential) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            Arc::new(Slot {
                snapshot: ArcSwapOption::empty(),
                fetching: tokio::sync::Mutex::new(0),
                credential: credential.clone(),
                used: AtomicBool::new(false),
            })
        };
        slots.entry(place.clone()).or_insert_with(new).clone()
    }

    async fn newer_than(
        &self,
        place: &Place,
        credential: &Credential,
        age: Duration,
    ) -> Result<Arc<Catalog>, LoginError> {
        let slot = self.slot(place, credential);
        let asked = Instant::now();
        let young = || {
            let snapshot = slot.snapshot.load();
            snapshot
                .as_ref()
                .filter(|snapshot| snapshot.fetched + age >= asked)
                .map(|snapshot| snapshot.catalog.clone())
        };
        if let Some(catalog) = young() {
            return Ok(catalog);
        }
        let mut epoch = slot.fetching.lock().await;
        if let Some(catalog) = young() {
            return Ok(catalog);
        }
        let fetched = Instant::now();
        let catalog = Arc::new(fetch(place, credential, *epoch + 1).await?);
        *epoch += 1;
        tracing::debug!(database = %place.database, relations = catalog.len(), took = ?fetched.elapsed(), "catalogue fetched");
        slot.snapshot.store(Some(Arc::new(Snapshot { catalog: catalog.clone(), fetched })));
        Ok(catalog)
    }
}

/// One transaction, so that all answers are of one moment. Behind the first question the search path is empty, so that the
/// server prints every name in full.
const QUESTIONS: &str = "
begin isolation level repeatable read read only;
select pg_catalog.unnest(pg_catalog.current_schemas(false));
set local search_path to '';
select nspname from pg_catalog.pg_namespace where nspname not like 'pg\\_toast%' and nspname not like 'pg\\_temp%';
select c.oid, n.nspname, c.relname, c.relkind,
       exists (select from pg_catalog.pg_rewrite r where r.ev_class = c.oid and r.rulename <> '_RETURN'),
       pg_catalog.obj_description(c.oid, 'pg_class')
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname not like 'pg\\_toast%' and n.nspname not like 'pg\\_temp%'
   and not (c.relkind in ('i', 'I') and n.nspname in ('pg_catalog', 'information_schema'));
select a.attrelid, a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
       case when n.nspname not in ('pg_catalog', 'information_schema') then pg_catalog.col_description(c.oid, a.attnum) end
  from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and n.nspname not like 'pg\\_toast%'
 order by a.attrelid, a.attnum;
select distinct r.ev_class, d.refobjid
  from pg_catalog.pg_rewrite r
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid
   and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid <> r.ev_class
 where r.rulename = '_RETURN';
select c.oid, pg_catalog.pg_get_viewdef(c.oid)
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('v', 'm') and n.nspname not in ('pg_catalog', 'information_schema')
   and n.nspname not like 'pg\\_toast%' and n.nspname not like 'pg\\_temp%';
select inhrelid, inhparent from pg_catalog.pg_inherits;
select t.tgrelid, n.nspname, p.proname
  from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where not t.tgisinternal and t.tgenabled <> 'D'
union
select e.relation, n.nspname, p.proname
  from (select 'pg_catalog.pg_attrdef'::pg_catalog.regclass, oid, adrelid from pg_catalog.pg_attrdef
        union all select 'pg_catalog.pg_constraint'::pg_catalog.regclass, oid, conrelid from pg_catalog.pg_constraint where conrelid <> 0
        union all select 'pg_catalog.pg_class'::pg_catalog.regclass, indexrelid, indrelid from pg_catalog.pg_index) e(class, id, relation)
  join pg_catalog.pg_depend d on d.classid = e.class and d.objid = e.id and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
  join pg_catalog.pg_proc p on p.oid = d.refobjid join pg_catalog.pg_namespace n on n.oid = p.pronamespace;
select a.attrelid, a.attname, b.attname
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
  join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = a.attrelid
   and (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = f.oid
        or d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = a.attrelid and d.objsubid = a.attnum)
  join pg_catalog.pg_attribute b on b.attrelid = a.attrelid and b.attnum = d.refobjsubid and b.attnum <> a.attnum
 where a.attgenerated <> '';
select n.nspname, p.proname,
       case pg_catalog.max(case p.provolatile when 'v' then 2 when 's' then 1 else 0 end) when 2 then 'volatile' when 1 then 'stable' else 'immutable' end,
       pg_catalog.bool_or(p.prosecdef),
       case when pg_catalog.count(distinct l.lanname) = 1 then pg_catalog.min(l.lanname::text) else 'several' end,
       case when pg_catalog.count(distinct w.width) = 1 and pg_catalog.bool_and(w.width is not null) then pg_catalog.min(w.width) end
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace join pg_catalog.pg_language l on l.oid = p.prolang
  join pg_catalog.pg_type t on t.oid = p.prorettype
  cross join lateral (select case
         when p.proargmodes && '{o,b,t}' then (select pg_catalog.count(*) from pg_catalog.unnest(p.proargmodes) m where m in ('o', 'b', 't'))
         when t.typtype in ('b', 'd', 'e', 'r', 'm') then 1 end) w(width)
 group by 1, 2;
select n.nspname, p.proname, l.lanname,
       case l.lanname when 'plpgsql' then pg_catalog.pg_get_functiondef(p.oid) else coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) end,
       (select pg_catalog.substr(c, 13) from pg_catalog.unnest(p.proconfig) c where c like 'search\\_path=%')
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace join pg_catalog.pg_language l on l.oid = p.prolang
 where l.lanname in ('sql', 'plpgsql') and p.prokind in ('f', 'p') and n.nspname not in ('pg_catalog', 'information_schema')
union all
select n.nspname, p.proname, 'sql', 'select ' || pg_catalog.pg_get_expr(p.proargdefaults, 0), null
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where p.pronargdefaults > 0 and n.nspname not in ('pg_catalog', 'information_schema');
select n.nspname, t.typname from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
 where n.nspname not like 'pg\\_toast%' and n.nspname not like 'pg\\_temp%';
select distinct o.oprname from pg_catalog.pg_operator o join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
  join pg_catalog.pg_proc p on p.oid = o.oprcode join pg_catalog.pg_language l on l.oid = p.prolang
 where n.nspname <> 'pg_catalog' and (l.lanname not in ('internal', 'c') or p.provolatile = 'v' or p.prosecdef);
select t.typname
  from pg_catalog.pg_cast c join pg_catalog.pg_proc p on p.oid = c.castfunc join pg_catalog.pg_language l on l.oid = p.prolang
  join pg_catalog.pg_type t on t.oid in (c.castsource, c.casttarget)
 where l.lanname not in ('internal', 'c') and t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace
union
select t.typname
  from pg_catalog.pg_cast c join pg_catalog.pg_proc p on p.oid = c.castfunc join pg_catalog.pg_language l on l.oid = p.prolang
  join pg_catalog.pg_type t on t.oid = c.casttarget
 where l.lanname not in ('internal', 'c')
union
select t.typname
  from pg_catalog.pg_type t join pg_catalog.pg_constraint c on c.contypid = t.oid
  join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass and d.objid = c.oid
   and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass;
commit";

async fn fetch(place: &Place, credential: &Credential, epoch: u64) -> Result<Catalog, LoginError> {
    let parameters = [
        ("database", place.database.as_str()),
        ("application_name", "interceptor catalogue"),
        ("client_encoding", "UTF8"),
        ("standard_conforming_strings", "on"),
        ("statement_timeout", "30000"),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut server = Server::connect(place.server, None, credential, &parameters).await?;
    let answers = server.ask(QUESTIONS).await?;
    if let Err(error) = server.bye().await {
        tracing::debug!(%error, "the server did not hear that the questions are over");
    }
    read(place, epoch, &answers)
        .ok_or_else(|| LoginError::Protocol("the catalogue's answers have an unknown shape".to_owned()))
}

type Row = Vec<Option<String>>;

fn read(place: &Place, epoch: u64, answers: &[Vec<Row>]) -> Option<Catalog> {
    let [
        path,
        schemas,
        relations,
        columns,
        bases,
        views,
        children,
        triggers,
        generated,
        functions,
        bodies,
        types,
        operators,
        coded_types,
    ] = answers
    else {
        return None;
    };
    let path: Vec<String> = path.iter().map(|row| text(row, 0).map(str::to_owned)).collect::<Option<_>>()?;
    let mut builder = CatalogBuilder::new(&place.database, epoch, &place.user, &path);
    for row in schemas {
        builder.schema(text(row, 0)?);
    }
    for row in relations {
        // A kind of relation that newer servers have is not known to us, and so is not there.
        if let Some(kind) = text(row, 3)?.chars().next().and_then(RelationKind::from_relkind) {
            builder.relation(oid(row, 0)?, text(row, 1)?, text(row, 2)?, kind, text(row, 4)? == "t");
        }
        if let Some(comment) = text(row, 5) {
            builder.comment(oid(row, 0)?, "", comment);
        }
    }
    for row in columns {
        builder.column(oid(row, 0)?, text(row, 1)?.parse().ok()?, text(row, 2)?, text(row, 3)?);
        if let Some(comment) = text(row, 4) {
            builder.comment(oid(row, 0)?, text(row, 2)?, comment);
        }
    }
    for row in bases {
        builder.view_rests_on(oid(row, 0)?, oid(row, 1)?);
    }
    for row in views {
        builder.view(oid(row, 0)?, text(row, 1)?);
    }
    for row in children {
        builder.inherits(oid(row, 0)?, oid(row, 1)?);
    }
    for row in triggers {
        builder.trigger(oid(row, 0)?, text(row, 1)?, text(row, 2)?);
    }
    for row in generated {
        builder.generated(oid(row, 0)?, text(row, 1)?, text(row, 2)?);
    }
    for row in functions {
        builder.function(Function {
            schema: text(row, 0)?.into(),
            name: text(row, 1)?.into(),
            volatility: text(row, 2)?.into(),
            security_definer: text(row, 3)? == "t",
            language: text(row, 4)?.into(),
            width: text(row, 5).map(str::parse).transpose().ok()?,
        });
    }
    for row in bodies {
        builder.body(text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?, text(row, 4));
    }
    for row in types {
        builder.type_name(text(row, 0)?, text(row, 1)?);
    }
    for row in operators {
        builder.user_operator(text(row, 0)?);
    }
    for row in coded_types {
        builder.coded_type(text(row, 0)?);
    }
    Some(builder.build())
}

fn text(row: &Row, at: usize) -> Option<&str> {
    row.get(at)?.as_deref()
}

fn oid(row: &Row, at: usize) -> Option<u32> {
    text(row, at)?.parse().ok()
}
