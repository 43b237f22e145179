//! Agents, relations, columns and the rest as Cedar's entities.

use super::labels::Labels;
use crate::identity::Identity;
use crate::sql::{Catalog, Object, Relation, RelationRef, quoted};
use cedar_policy::{Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Why something has no entity; denies whatever was asked.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` cannot be made an entity")]
pub(super) struct NoEntity(String);

/// Collects entities, each once.
#[derive(Debug)]
pub(super) struct Gathered<'l> {
    labels: &'l Labels,
    known: HashSet<EntityUid>,
    pub(super) entities: Vec<Entity>,
}

type Attributes = Vec<(String, RestrictedExpression)>;

impl<'l> Gathered<'l> {
    pub(super) fn new(labels: &'l Labels) -> Self {
        Self { labels, known: HashSet::new(), entities: Vec::new() }
    }

    pub(super) fn agent(&mut self, identity: &Identity) -> Result<EntityUid, NoEntity> {
        let groups = identity.groups.iter().map(|group| uid("Group", group)).collect::<Result<Vec<_>, _>>()?;
        for group in &groups {
            self.add(group.clone(), Vec::new(), Vec::new())?;
        }
        let agent = uid("Agent", &identity.subject)?;
        let mut attributes =
            vec![("subject".to_owned(), text(&identity.subject)), ("issuer".to_owned(), text(&identity.issuer))];
        attributes.push(("on_behalf_of_groups".to_owned(), set(&identity.on_behalf_of_groups)));
        attributes.push(("delegation".to_owned(), set(&identity.delegation)));
        attributes.extend(identity.on_behalf_of.as_deref().map(|who| ("on_behalf_of".to_owned(), text(who))));
        let tags = identity.claims.iter().map(|(name, values)| (name.clone(), set(values)));
        let entity = Entity::new_with_tags(agent.clone(), attributes, groups, tags)
            .map_err(|error| NoEntity(error.to_string()))?;
        self.known.insert(agent.clone());
        self.entities.push(entity);
        Ok(agent)
    }

    /// What something is done to, with everything above it.
    pub(super) fn object(&mut self, server: &str, catalog: &Catalog, object: &Object) -> Result<EntityUid, NoEntity> {
        let database = self.database(server, &catalog.database)?;
        match object {
            Object::Database => Ok(database),
            Object::Schema(schema) => self.schema(database, catalog, schema),
            Object::Relation(id) => self.relation(database, catalog, id),
            Object::Column(id, column) => {
                let relation = self.relation(database, catalog, id)?;
                let found = catalog.get(id);
                let column_type = found.and_then(|relation| column_type(relation, column)).unwrap_or_default();
                let labels = found.map(|found| self.labels.of_column(catalog, found, column)).unwrap_or_default();
                let attributes = vec![("labels".to_owned(), set(labels)), ("type".to_owned(), text(&column_type))];
                let name = path(&[&catalog.database, &id.schema, &id.name, column]);
                self.add(uid("Column", &name)?, attributes, vec![relation])
            }
            Object::Function(function) => {
                let schema = self.schema(database, catalog, &function.schema)?;
                let attributes = vec![
                    ("volatility".to_owned(), text(&function.volatility)),
                    ("security_definer".to_owned(), RestrictedExpression::new_bool(function.security_definer)),
                    ("language".to_owned(), text(&function.language)),
                ];
                let name = path(&[&catalog.database, &function.schema, &function.name]);
                self.add(uid("Function", &name)?, attributes, vec![schema])
            }
            Object::Parameter(name) => {
                let name = path(&[&catalog.database, name]);
                self.add(uid("Parameter", &name)?, Vec::new(), vec![database])
            }
        }
    }

    pub(super) fn database(&mut self, server: &str, database: &str) -> Result<EntityUid, NoEntity> {
        let server = self.add(uid("Server", server)?, Vec::new(), Vec::new())?;
        self.add(uid("Database", &quoted(database))?, Vec::new(), vec![server])
    }

    fn schema(&mut self, database: EntityUid, catalog: &Catalog, schema: &str) -> Result<EntityUid, NoEntity> {
        self.add(uid("Schema", &path(&[&catalog.database, schema]))?, Vec::new(), vec![database])
    }

    fn relation(&mut self, database: EntityUid, catalog: &Catalog, id: &RelationRef) -> Result<EntityUid, NoEntity> {
        let schema = self.schema(database, catalog, &id.schema)?;
        let kind = catalog.get(id).map_or("table", |relation| relation.kind.name());
        let labels = catalog.get(id).map(|found| self.labels.of_relation(found)).unwrap_or_default();
        let attributes = vec![("kind".to_owned(), text(kind)), ("labels".to_owned(), set(labels))];
        self.add(uid("Relation", &path(&[&catalog.database, &id.schema, &id.name]))?, attributes, vec![schema])
    }

    fn add(&mut self, uid: EntityUid, attributes: Attributes, parents: Vec<EntityUid>) -> Result<EntityUid, NoEntity> {
        if self.known.insert(uid.clone()) {
            let attributes: HashMap<_, _> = attributes.into_iter().collect();
            let entity = Entity::new(uid.clone(), attributes, parents.into_iter().collect())
                .map_err(|error| NoEntity(error.to_string()))?;
            self.entities.push(entity);
        }
        Ok(uid)
    }
}

/// An agent with its groups, itself first.
pub(super) fn agent_chain(identity: &Identity) -> Result<Vec<EntityUid>, NoEntity> {
    let groups = identity.groups.iter().map(|group| uid("Group", group));
    std::iter::once(uid("Agent", &identity.subject)).chain(groups).collect()
}

/// A database with what is above it, itself first.
pub(super) fn database_chain(server: &str, database: &str) -> Result<Vec<EntityUid>, NoEntity> {
    Ok(vec![uid("Database", &quoted(database))?, uid("Server", server)?])
}

/// What something is done to, with everything above it, itself first.
pub(super) fn object_chain(server: &str, catalog: &Catalog, object: &Object) -> Result<Vec<EntityUid>, NoEntity> {
    let database = quoted(&catalog.database);
    let schema = |schema: &str| format!("{database}.{}", quoted(schema));
    let relation = |id: &RelationRef| format!("{}.{}", schema(&id.schema), quoted(&id.name));
    let mut chain = match object {
        Object::Database => Vec::new(),
        Object::Schema(name) => vec![uid("Schema", &schema(name))?],
        Object::Relation(id) => vec![uid("Relation", &relation(id))?, uid("Schema", &schema(&id.schema))?],
        Object::Column(id, column) => vec![
            uid("Column", &format!("{}.{}", relation(id), quoted(column)))?,
            uid("Relation", &relation(id))?,
            uid("Schema", &schema(&id.schema))?,
        ],
        Object::Function(function) => vec![
            uid("Function", &format!("{}.{}", schema(&function.schema), quoted(&function.name)))?,
            uid("Schema", &schema(&function.schema))?,
        ],
        Object::Parameter(name) => vec![uid("Parameter", &format!("{database}.{}", quoted(name)))?],
    };
    chain.extend(database_chain(server, &catalog.database)?);
    Ok(chain)
}

/// `db.schema.relation`, each part as PostgreSQL quotes it.
pub(super) fn path(parts: &[&str]) -> String {
    parts.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".")
}

fn column_type(relation: &Relation, column: &str) -> Option<String> {
    relation.columns.iter().find(|candidate| *candidate.name == *column).map(|column| column.type_name.to_string())
}

pub(super) fn uid(kind: &str, id: &str) -> Result<EntityUid, NoEntity> {
    static KINDS: LazyLock<HashMap<&str, EntityTypeName>> = LazyLock::new(|| {
        let kinds = ["Agent", "Column", "Database", "Function", "Group", "Parameter", "Relation", "Schema", "Server"];
        kinds.into_iter().filter_map(|kind| Some((kind, format!("PG::{kind}").parse().ok()?))).collect()
    });
    let name = KINDS.get(kind).ok_or_else(|| NoEntity(kind.to_owned()))?;
    Ok(EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id)))
}

pub(super) fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn set<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> RestrictedExpression {
    RestrictedExpression::new_set(values.into_iter().map(|value| text(value.as_ref())))
}
