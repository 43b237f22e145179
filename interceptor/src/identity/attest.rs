//! What a process is by what was seen of it: the *attested* agent.
//!
//! Environments and files can be copied, so a token alone says who wrote it, not who shows it. A rule says what processes
//! with certain evidence are called; then the token has to be that agent's own, or say that this agent may act.

use super::{evidence::Evidence, pattern};
use serde::Deserialize;
use std::collections::BTreeMap;

/// One `[[identity.attest]]`: processes of which all of this holds are the agent that it names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestRule {
    /// What such a process is called; `{name}` is what the pattern of the same name has matched.
    pub agent: String,
    /// Its cgroup, as `/proc/PID/cgroup` spells it: `*` stands for any characters but `/`, `**` for any, and `{name}`, as `*`,
    /// gives what it stands for a name.
    pub cgroup: Option<String>,
    /// Its user.
    pub uid: Option<u32>,
    /// Its program, with the same patterns.
    pub exe: Option<String>,
}

impl AttestRule {
    pub(super) fn mistake(&self) -> Option<String> {
        let patterns = self.cgroup.iter().chain(&self.exe);
        let known: Vec<_> = patterns.flat_map(|text| pattern::names(text)).collect();
        if self.cgroup.is_none() && self.uid.is_none() && self.exe.is_none() {
            return Some(format!("the [[identity.attest]] for `{}` names neither cgroup, uid nor exe", self.agent));
        }
        if self.agent.is_empty() {
            return Some("an [[identity.attest]] names no agent".to_owned());
        }
        let lost = pattern::names(&self.agent).into_iter().find(|name| !known.contains(name));
        lost.map(|name| format!("`{{{name}}}` in agent = `{}` is in no pattern of its [[identity.attest]]", self.agent))
    }

    fn name(&self, evidence: &Evidence) -> Option<String> {
        let mut found = BTreeMap::new();
        let fits = |text: &Option<String>, value: &str, found: &mut BTreeMap<String, String>| {
            text.as_ref().is_none_or(|text| pattern::matches(text, value, found))
        };
        let all = self.uid.is_none_or(|uid| uid == evidence.uid)
            && fits(&self.cgroup, &evidence.cgroup, &mut found)
            && fits(&self.exe, &evidence.exe, &mut found);
        all.then(|| pattern::fill(&self.agent, &found))
    }
}

/// What the first rule that fits calls a process.
pub(super) fn attest(rules: &[AttestRule], evidence: &Evidence) -> Option<String> {
    rules.iter().find_map(|rule| rule.name(evidence))
}

#[cfg(test)]
mod tests {
    use super::{AttestRule, attest};
    use crate::identity::tests::evidence_in;

    #[track_caller]
    fn check(rules: &str, cgroup: &str, expected: Option<&str>) {
        #[derive(serde::Deserialize)]
        struct File {
            attest: Vec<AttestRule>,
        }
        let rules: File = toml::from_str(rules).unwrap();
        assert_eq!(attest(&rules.attest, &evidence_in(cgroup)).as_deref(), expected, "{cgroup}");
    }

    #[test]
    fn the_first_rule_that_fits_names_the_process() {
        let rules = "[[attest]]\nagent = 'agent:{job}'\ncgroup = '/ci/{job}/**'\n\
                     [[attest]]\nagent = 'agent:{job}'\ncgroup = '/ci/{job}'\nuid = 1000\n\
                     [[attest]]\nagent = 'agent:nightly'\ncgroup = '/batch/*'\nexe = '/usr/bin/*'\n";
        check(rules, "/ci/build-7/step/1", Some("agent:build-7"));
        check(rules, "/ci/build-7", Some("agent:build-7"));
        check(rules, "/ci", None);
        check(rules, "/other/ci/build-7", None);
        check(rules, "/batch/x", Some("agent:nightly"));
        check(rules, "/batch/x/y", None);
        check("[[attest]]\nagent = 'a'\nuid = 7\n", "/ci", None);
    }
}
