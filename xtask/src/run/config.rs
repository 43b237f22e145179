//! The daemon's configuration for a run.

use super::{database::Database, dsn::Dsn, state::State};
use crate::issuer::{AUDIENCE, DATABASES};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the daemon puts things, and what it captures.
pub(super) struct Places {
    pub(super) instance: String,
    pub(super) agents: PathBuf,
    pub(super) daemon: PathBuf,
    pub(super) audit: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) policies: PathBuf,
}

/// Writes it; returns its path.
pub(super) fn write(
    state: &State,
    places: &Places,
    database: &Database,
    issuer: &str,
    further: Option<&Path>,
) -> Result<PathBuf> {
    let password = state.write("gateway-password", &database.gateway.password)?;
    let mut config = json!({
        "capture": {
            "instance": places.instance,
            "ports": [database.gateway.port],
            "cgroups": [places.agents],
            "daemon_cgroup": places.daemon,
            "listen_port": 0,
        },
        "identity": {
            "sources": ["enrolled", "environment"],
            "environment_variables": ["AGENT_ID_TOKEN"],
            "issuers": [{"url": issuer, "audience": AUDIENCE, "algorithms": ["ES256", "EdDSA"], "allow_http": true}],
            "exchange": {"issuer": issuer, "audience": DATABASES},
        },
        "upstream": upstreams(&database.gateway, &password)?,
        "policy": {"dir": places.policies, "mode": "enforce"},
        "audit": {"dir": places.audit},
        // The command is the agent, and in scripts its operator too.
        "admin": {"socket": places.socket, "agents_operate": true},
        // Whoever runs this is root, and the only human around.
        "approval": {"local_root": true},
    });
    if let Some(file) = further {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let further: Value = toml::from_str(&text).with_context(|| format!("`{}` is not TOML", file.display()))?;
        for (section, member) in [("capture", None), ("audit", Some("dir")), ("admin", Some("socket"))] {
            let Some(found) = further.get(section) else { continue };
            if member.is_none_or(|member| found.get(member).is_some()) {
                let name = member.map_or_else(|| format!("[{section}]"), |member| format!("`{member}` in [{section}]"));
                bail!("`{}` sets {name}, which belongs to the run: leave it out", file.display());
            }
        }
        lay_over(&mut config, further);
    }
    state.write("interceptor.toml", &toml::to_string(&config)?)
}

/// One for each address, and for any of its databases: which of them an agent may connect to is policy. Without TLS,
/// which has to be said, for nothing is less than verified by itself.
fn upstreams(gateway: &Dsn, password: &Path) -> Result<Vec<Value>> {
    let upstream = |address| {
        json!({
            "server": address,
            "database": "*",
            "user": gateway.user,
            "password_file": password,
            "tls": "disable",
        })
    };
    Ok(gateway.addresses()?.into_iter().map(upstream).collect())
}

/// Tables are merged, everything else is replaced.
fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                lay_over(below.entry(name).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

#[cfg(test)]
mod tests {
    use super::lay_over;
    use serde_json::json;

    #[test]
    fn further_configuration_goes_before_ours() {
        let mut config = json!({"policy": {"dir": "/a", "mode": "enforce"}, "upstream": [1, 2]});
        lay_over(&mut config, json!({"policy": {"mode": "observe"}, "limits": {"login_timeout": 1}, "upstream": [3]}));
        assert_eq!(
            config,
            json!({"policy": {"dir": "/a", "mode": "observe"}, "limits": {"login_timeout": 1}, "upstream": [3]})
        );
    }
}
