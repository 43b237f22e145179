//! Policies from files: parsed, validated against the schema, their annotations checked. All mistakes at once.

use super::annotation::{self, Annotations, Obligation};
use super::labels;
use super::labels::Labels;
use super::memo::Memo;
use super::scope::Scoped;
use cedar_policy::{
    Authorizer, Effect, Entity, EntityUid, Policy, PolicyId, PolicySet as CedarSet, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The schema that every set is validated against: `policies/schema.cedarschema`.
const SCHEMA: &str = include_str!("../../../policies/schema.cedarschema");

/// A set of policies that has passed every check.
pub struct PolicySet {
    /// Policies that read nothing of the context: what they decide is remembered.
    pub(super) still: Part,
    /// Policies that do.
    pub(super) moving: Part,
    pub(super) annotations: HashMap<PolicyId, Annotations>,
    pub(super) labels: Labels,
    /// Each action with the groups that it is in, itself first.
    pub(super) actions: HashMap<String, Vec<EntityUid>>,
    /// The same as entities.
    pub(super) action_entities: HashMap<EntityUid, Entity>,
    pub(super) schema: Schema,
    pub(super) authorizer: Authorizer,
    pub(super) memo: Memo,
    /// Whether a policy masks anything.
    pub(super) masks: bool,
    /// Whether one lets statements wait for somebody's yes.
    keeps_values: bool,
    /// For people to read.
    rules: Vec<Rule>,
    digest: String,
}

/// A policy as it stands in its file.
#[derive(Debug, Clone, Serialize)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Whether it is only observed.
    pub observed: bool,
    /// What has to be met where it matches.
    pub obligations: Vec<String>,
    /// Its text.
    pub text: String,
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySet")
            .field("policies", &self.annotations.len())
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// Policies by how they count.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Whether some of them read the context.
    pub(super) reads_context: bool,
    /// Permits, and forbids without obligations.
    pub(super) plain: Scoped,
    /// Forbids that are lifted by meeting their obligations.
    pub(super) obliging: Scoped,
    /// Forbids that are only observed.
    pub(super) watching: Scoped,
}

impl Part {
    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.obliging.is_empty() && self.watching.is_empty()
    }
}

/// One thing that is wrong with a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file it stands in.
    pub file: PathBuf,
    /// Line and column, counted from 1, where the parser knows them.
    pub place: Option<(usize, usize)>,
    /// What is wrong and what to try.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.text)
    }
}

/// Why a folder is no policy set.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("policy folder `{path}` cannot be read; check that it exists and who owns it")]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error(
        "policy folder `{0}` holds no `*.cedar` file; without policies everything is denied, so this is taken for a mistake"
    )]
    Empty(PathBuf),
    /// Something in it is wrong.
    #[error("{}", show(.0))]
    Mistakes(Vec<Mistake>),
    /// The built-in schema does not fit this build of Cedar.
    #[error("the built-in schema is unusable: {0}")]
    Schema(String),
}

fn show(mistakes: &[Mistake]) -> String {
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    format!("{} mistake(s) in the policies:\n  {}", mistakes.len(), lines.join("\n  "))
}

impl PolicySet {
    /// Loads every `*.cedar` file of a folder, and its `labels.toml` if there is one.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        Self::from_texts(&texts_of(dir)?)
    }

    /// The digest of what [`PolicySet::load`] would load, without reading it as policies.
    pub fn digest_of(dir: &Path) -> Result<String, LoadError> {
        Ok(digest(&texts_of(dir)?))
    }

    /// A set from texts that are already here, each with the name of its file.
    pub fn from_texts(texts: &[(PathBuf, String)]) -> Result<Self, LoadError> {
        let (schema, _warnings) =
            Schema::from_cedarschema_str(SCHEMA).map_err(|error| LoadError::Schema(error.to_string()))?;
        let entities = schema.action_entities().map_err(|error| LoadError::Schema(error.to_string()))?;
        let chain = |action: &Entity| {
            let above = entities.ancestors(&action.uid()).into_iter().flatten().cloned();
            (action.uid().id().unescaped().to_owned(), std::iter::once(action.uid()).chain(above).collect())
        };
        let actions = entities.iter().map(chain).collect();
        let action_entities = entities.iter().map(|action| (action.uid(), action.clone())).collect();
        let mut set = Self {
            still: Part::default(),
            moving: Part { reads_context: true, ..Part::default() },
            annotations: HashMap::new(),
            labels: Labels::default(),
            actions,
            action_entities,
            schema,
            authorizer: Authorizer::new(),
            memo: Memo::default(),
            masks: false,
            keeps_values: false,
            rules: Vec::new(),
            digest: digest(texts),
        };
        let mut mistakes = Vec::new();
        let mut origin: HashMap<PolicyId, (&Path, &str)> = HashMap::new();
        let mut whole = CedarSet::new();
        for (file, text) in texts {
            if file.file_name().is_some_and(|name| name == labels::FILE) {
                match Labels::read(text) {
                    Ok(labels) => set.labels = labels,
                    Err(wrong) => mistakes.extend(wrong.into_iter().map(|(offset, text_of_mistake)| Mistake {
                        file: file.clone(),
                        place: offset.map(|offset| line_and_column(text, offset)),
                        text: text_of_mistake,
                    })),
                }
                continue;
            }
            let parsed = match text.parse::<CedarSet>() {
                Ok(parsed) => parsed,
                Err(errors) => {
                    mistakes.extend(errors.iter().map(|error| mistake(file, text, error)));
                    continue;
                }
            };
            for template in parsed.templates() {
                let text = format!("template `{}` has no values for its slots; write it as a policy", template.id());
                mistakes.push(Mistake { file: file.clone(), place: None, text });
            }
            for policy in parsed.policies() {
                let plain =
                    |text: String| Mistake { file: file.clone(), place: place_of(text_of(policy), texts, file), text };
                let Some(id) = policy.annotation("id").filter(|id| !id.is_empty()) else {
                    mistakes.push(plain(
                        "a policy without `@id(\"...\")`; denials and the audit name policies by it".to_owned(),
                    ));
                    continue;
                };
                let policy = policy.new_id(PolicyId::new(id));
                match annotation::read(&policy) {
                    Ok(annotations) => {
                        if let Some((first, _)) = origin.insert(policy.id().clone(), (file, text)) {
                            mistakes
                                .push(plain(format!("policy `{id}` is also in `{}`; ids are unique", first.display())));
                            continue;
                        }
                        mistakes.extend(set.add(policy.clone(), annotations, &mut whole).err().map(plain));
                    }
                    Err(texts) => {
                        mistakes.extend(texts.into_iter().map(|text| plain(format!("policy `{id}`: {text}"))))
                    }
                }
            }
        }
        let result = Validator::new(set.schema.clone()).validate(&whole, ValidationMode::Strict);
        for error in result.validation_errors() {
            if let Some((file, text)) = origin.get(error.policy_id()) {
                mistakes.push(mistake(file, text, error));
            }
        }
        for warning in result.validation_warnings() {
            // An impossible condition is a forbid that never forbids.
            if let Some((file, text)) = origin.get(warning.policy_id()) {
                mistakes.push(mistake(file, text, warning));
            }
        }
        // One wrong word is wrong for every action that it could be about: say it once for each place.
        mistakes.sort_by(|a, b| (&a.file, a.place, &a.text).cmp(&(&b.file, b.place, &b.text)));
        mistakes.dedup_by(|next, first| next.place.is_some() && (&next.file, next.place) == (&first.file, first.place));
        if mistakes.is_empty() { Ok(set) } else { Err(LoadError::Mistakes(mistakes)) }
    }

    fn add(&mut self, policy: Policy, annotations: Annotations, whole: &mut CedarSet) -> Result<(), String> {
        let id = policy.id().clone();
        let obliges = policy.effect() == Effect::Forbid && !annotations.obligations.is_empty();
        // The word anywhere, in a string too, is taken for a policy that reads it: slower, never wrong.
        let reads_context = policy.to_cedar().is_none_or(|text| text.contains("context"));
        let part = if reads_context { &mut self.moving } else { &mut self.still };
        let part = match (annotations.observes, obliges) {
            (true, _) => &mut part.watching,
            (false, true) => &mut part.obliging,
            (false, false) => &mut part.plain,
        };
        self.rules.push(Rule {
            id: id.to_string(),
            effect: if policy.effect() == Effect::Forbid { "forbid" } else { "permit" },
            observed: annotations.observes,
            obligations: annotations.obligations.iter().map(Obligation::show).collect(),
            text: policy.to_cedar().unwrap_or_else(|| policy.to_string()),
        });
        self.masks |= annotations.mask().is_some();
        let holds = |obligation: &Obligation| matches!(obligation, Obligation::Approve(_));
        self.keeps_values |= annotations.obligations.iter().any(holds) || annotations.records.binds;
        part.add(policy.clone());
        whole.add(policy).map_err(|error| error.to_string())?;
        self.annotations.insert(id, annotations);
        Ok(())
    }

    /// Whether values of parameters are worth keeping: a statement may have to wait for somebody's yes, which is bound to
    /// them, or they go on record.
    pub fn keeps_values(&self) -> bool {
        self.keeps_values
    }

    /// All policies, for people to read.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.annotations.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.annotations.is_empty()
    }

    /// Names this very set: SHA-256 over files and texts, shortened.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Every `*.cedar` file of a folder, and its `labels.toml` if there is one.
fn texts_of(dir: &Path) -> Result<Vec<(PathBuf, String)>, LoadError> {
    let mut files = files(dir)?;
    files.sort();
    if files.is_empty() {
        return Err(LoadError::Empty(dir.to_owned()));
    }
    let mut texts = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|source| LoadError::Folder { path: file.clone(), source })?;
        texts.push((file, text));
    }
    let labels = dir.join(labels::FILE);
    match std::fs::read_to_string(&labels) {
        Ok(text) => texts.push((labels, text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(LoadError::Folder { path: labels, source }),
    }
    Ok(texts)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let unreadable = |source| LoadError::Folder { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            files.push(path);
        }
    }
    Ok(files)
}

fn digest(texts: &[(PathBuf, String)]) -> String {
    let mut hash = Sha256::new();
    for (file, text) in texts {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(text);
        hash.update([0]);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn text_of(policy: &Policy) -> String {
    policy.to_cedar().unwrap_or_default()
}

/// A policy's own text, found again in its file.
fn place_of(policy: String, texts: &[(PathBuf, String)], file: &Path) -> Option<(usize, usize)> {
    let (_, text) = texts.iter().find(|(name, _)| name == file)?;
    text.find(policy.trim()).map(|offset| line_and_column(text, offset))
}

fn mistake(file: &Path, text: &str, error: &(impl Diagnostic + fmt::Display)) -> Mistake {
    let offset = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    let mut said = error.to_string();
    if let Some(help) = error.help() {
        said = format!("{said}; {help}");
    }
    Mistake { file: file.to_owned(), place: offset.map(|offset| line_and_column(text, offset)), text: said }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let said = match PolicySet::from_texts(&[("x.cedar".into(), text.to_owned())]) {
            Ok(set) => format!("{} policies, {} with obligations", set.len(), set.still.obliging.len()),
            Err(LoadError::Mistakes(mistakes)) => {
                mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn sets_load_or_say_everything_that_is_wrong() {
        check(
            "@id(\"a\") permit (principal is PG::Agent, action in [PG::Action::\"read\"], resource in PG::Schema::\"shop.public\");",
            "1 policies, 0 with obligations",
        );
        check(
            "@id(\"a\") @mask(\"null\") forbid (principal, action == PG::Action::\"select\", resource is PG::Column);",
            "1 policies, 1 with obligations",
        );
        check(
            "permit (principal, action, resource);",
            "x.cedar:1:1: a policy without `@id(\"...\")`; denials and the audit name policies by it",
        );
        check(
            "@id(\"a\")\npermit (principal, action, resource)\nwhen { context.hourz > 1 };",
            "x.cedar:3:8: for policy `a`, attribute `hourz` in context for PG::Action::\"admin\" not found; did you mean `now`?",
        );
        check(
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);",
            "x.cedar:2:1: policy `a` is also in `x.cedar`; ids are unique",
        );
        check("@id(\"a\") permit (principal, action, resource", "x.cedar:1:45: unexpected end of input");
        check(
            "@id(\"a\") permit (principal == ?principal, action, resource);",
            "x.cedar: template `policy0` has no values for its slots; write it as a policy",
        );
    }
}
