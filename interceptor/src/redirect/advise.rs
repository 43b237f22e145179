//! What makes the capture closer, or may get in its way, where the host is otherwise fit for it.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::Path,
};

use aya::programs::loaded_programs;
use interceptor_ebpf::program;

use super::{
    Finding, Settings,
    attach::{Loaded, load, tags},
    connections::can_destroy,
    kernel::{Attachments, attachments, clock_is_kept},
    mounts::{bpf_mount, cgroup_mount},
    pins::{entries, instance_folder},
    unix_guard,
};

/// Looks at everything that the daemon can do without, or that only hinders it; changes nothing.
#[must_use]
pub fn advise(settings: Option<&Settings>) -> Vec<Finding> {
    let loaded = load(None).ok();
    let mut findings = vec![
        Finding::advice(
            "agents that move",
            loaded.as_ref().ok_or_else(not_loaded).and_then(follows),
            "without these programs (tp_btf), root can leave a captured cgroup: use a kernel that allows tracing programs",
        ),
        Finding::advice(
            "Unix sockets",
            loaded.as_ref().ok_or_else(not_loaded).and_then(unix_hook),
            "use a kernel 6.7 or later, or keep agents from the socket (docs/capture.md)",
        ),
        Finding::advice(
            "earlier connections",
            can_destroy().map(|()| "can be ended".to_owned()).map_err(|error| error.to_string()),
            "use a kernel with CONFIG_INET_DIAG_DESTROY; connections that agents have when they become agents go on otherwise",
        ),
        Finding::advice(
            "guards (BPF LSM)",
            loaded.as_ref().ok_or_else(not_loaded).and_then(guarded),
            "use a kernel with CONFIG_BPF_LSM, booted with `bpf` in `lsm=`; what is open without is listed in docs/capture.md",
        ),
        Finding::advice(
            "clock",
            clock().map_err(|error| error.to_string()),
            "run chrony or systemd-timesyncd: tokens are good by the clock, and so are the record's times",
        ),
        Finding::advice("cgroup layout", layout(), "boot with systemd.unified_cgroup_hierarchy=1"),
        Finding::advice(
            "other programs",
            conflicts(),
            "see `bpftool cgroup show` on the mount of cgroup v2; a program that runs after ours may send connections elsewhere",
        ),
        Finding::advice("pins", pins(), "`chmod 0700` the folder: whoever can write there can end the enforcement"),
        Finding::advice(
            "exposed Unix sockets",
            exposure(),
            "set `unix_socket_permissions = 0770` with a group without agents, or `unix_socket_directories` to a folder that they \
             cannot enter",
        ),
    ];
    if let Some(settings) = settings {
        findings.push(Finding::advice(
            "listening port",
            port(settings),
            "name another `listen_port` in [capture], or 0 for any that is free",
        ));
    }
    findings
}

fn not_loaded() -> String {
    "the programs cannot be loaded at all".to_owned()
}

fn follows(loaded: &Loaded) -> Result<String, String> {
    let missing: Vec<_> = loaded.absent.iter().filter(|(name, _)| !program::GUARDS.contains(name)).collect();
    match missing.first() {
        None => Ok("stay captured".to_owned()),
        Some((_, why)) => Err(format!("the kernel does not allow {}: {}", names(&missing), first_line(why))),
    }
}

fn guarded(loaded: &Loaded) -> Result<String, String> {
    let missing: Vec<_> = loaded.absent.iter().filter(|(name, _)| program::GUARDS.contains(name)).collect();
    match missing.first() {
        None => Ok(format!("the kernel asks all {}", program::GUARDS.len())),
        Some((_, why)) => Err(format!("the kernel does not ask {}: {}", names(&missing), first_line(why))),
    }
}

fn names(programs: &[&(&'static str, String)]) -> String {
    programs.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn unix_hook(loaded: &Loaded) -> Result<String, String> {
    let tags = tags(&loaded.object).map_err(|error| error.to_string())?;
    unix_guard::probe(tags)
        .map(|()| "agents are refused those of PostgreSQL, by name".to_owned())
        .map_err(|error| format!("the kernel has no hook for them: {error}"))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn clock() -> io::Result<String> {
    match clock_is_kept()? {
        true => Ok("kept in step by a time service".to_owned()),
        false => Err(io::Error::other("no time service keeps it in step")),
    }
}

fn layout() -> Result<String, String> {
    let mount = cgroup_mount().map_err(|error| error.to_string())?;
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
    let older = mounts.lines().filter(|line| line.split(' ').nth(2) == Some("cgroup")).count();
    // Controllers on v1 do not matter to the hooks; processes that only v1 tells apart are one to them.
    match older {
        0 => Ok(format!("unified, at {}", mount.display())),
        _ => Ok(format!("hybrid: v2 at {} beside {older} hierarchies of v1; only v2's cgroups count", mount.display())),
    }
}

/// The hooks that others may be at as well, as `linux/bpf.h` numbers their attach types.
const HOOKS: [(&str, u32); 7] = [
    ("egress", 1),
    ("sock_create", 2),
    ("sock_ops", 3),
    ("bind4", 8),
    ("bind6", 9),
    ("connect4", 10),
    ("connect6", 11),
];

fn conflicts() -> Result<String, String> {
    let mount = cgroup_mount().map_err(|error| error.to_string())?;
    let root = fs::File::open(mount).map_err(|error| error.to_string())?;
    let known: Vec<(u32, String)> = loaded_programs()
        .flatten()
        .map(|info| (info.id(), info.name_as_str().unwrap_or_default().to_owned()))
        .collect();
    let mut found = Vec::new();
    for (hook, kind) in HOOKS {
        let Attachments { programs, shared } =
            attachments(root.as_fd(), kind).map_err(|error| format!("cannot look at `{hook}`: {error}"))?;
        for id in programs {
            let name = known.iter().find(|(known, _)| *known == id).map_or("", |(_, name)| name.as_str());
            if !program::ALL.contains(&name) {
                let alone = if shared { "" } else { ", and lets nobody beside it" };
                found.push(format!("program {id} `{name}` is at `{hook}`{alone}"));
            }
        }
    }
    if found.is_empty() { Ok("none at the hooks that we use".to_owned()) } else { Err(found.join("; ")) }
}

fn pins() -> Result<String, String> {
    let folder = bpf_mount().map_err(|error| error.to_string())?.join("interceptor");
    let mut open = Vec::new();
    let instances = entries(&folder).map_err(|error| error.to_string())?;
    for instance in &instances {
        for version in entries(instance).map_err(|error| error.to_string())? {
            for folder in entries(&version).map_err(|error| error.to_string())? {
                let mode = fs::metadata(&folder).map_err(|error| error.to_string())?.permissions().mode();
                if mode & 0o077 != 0 {
                    open.push(folder.display().to_string());
                }
            }
        }
    }
    if open.is_empty() {
        Ok(format!("{} instance(s), root's alone", instances.len()))
    } else {
        Err(format!("others may enter {}", open.join(", ")))
    }
}

/// PostgreSQL's sockets in the file system that anybody may open.
fn exposure() -> Result<String, String> {
    let table = fs::read_to_string("/proc/net/unix").map_err(|error| error.to_string())?;
    let paths = table.lines().filter_map(|line| line.split_whitespace().nth(7));
    let mut sockets: Vec<&str> = paths.filter(|path| path.contains(".s.PGSQL.")).collect();
    sockets.sort_unstable();
    sockets.dedup();
    let is_open = |path: &&&str| is_open_to_all(Path::new(path)).unwrap_or(path.starts_with('@'));
    let open: Vec<_> = sockets.iter().filter(is_open).map(|path| (*path).to_owned()).collect();
    match (sockets.len(), open.is_empty()) {
        (0, _) => Ok("none of PostgreSQL on this host".to_owned()),
        (count, true) => Ok(format!("{count} of PostgreSQL, none open to everybody")),
        _ => Err(format!("anybody may open {}: a link of another name leads past the hook", open.join(", "))),
    }
}

/// Whether everybody may connect: the socket can be written to, and each folder on the way entered.
fn is_open_to_all(path: &Path) -> io::Result<bool> {
    if fs::metadata(path)?.mode() & 0o002 == 0 {
        return Ok(false);
    }
    for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        if fs::metadata(folder)?.mode() & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn port(settings: &Settings) -> Result<String, String> {
    if settings.listen_port == 0 {
        return Ok("any that is free".to_owned());
    }
    let port = settings.listen_port;
    let runs = instance_folder(&settings.instance).is_ok_and(|folder| folder.exists());
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(format!("{port} is free")),
        Err(_) if runs => Ok(format!("{port} is kept for the daemon")),
        Err(error) => Err(format!("{port}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_socket_is_open_to_all_if_everybody_gets_there() {
        let folder = Scratch::about("exposed");
        let path = folder.join(".s.PGSQL.1");
        let _socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        for (mode, inside, expected) in [(0o777, 0o755, true), (0o770, 0o755, false), (0o777, 0o700, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
            fs::set_permissions(&folder, fs::Permissions::from_mode(inside)).expect("its folder's");
            assert_eq!(is_open_to_all(&path).expect("it is there"), expected, "{mode:o} in {inside:o}");
        }
    }
}
