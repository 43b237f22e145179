//! `cargo xtask test vm` and `cargo xtask test systemd`: tests on Debian's stock kernel, which asks guards at its security decisions (BPF
//! LSM) as not every kernel does, and under systemd. It is booted by qemu without KVM, so anywhere, with this machine's own file
//! system to read from.

use crate::{
    progress::{name, quietly, step},
    setup::Missing,
    workspace::{cargo, root, tools},
};
use anyhow::{Context, Result, bail};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What the machine has of memory, in MiB, and of processors.
const MEMORY: &str = "3072";
const PROCESSORS: &str = "2";

/// The kernel, a qemu with what it needs and is not here, and a busybox for the first steps; `$1` is the folder. Nothing is installed.
const FETCH: &str = r#"
rm -rf "$1"; mkdir -p "$1/packages" "$1/root"; cd "$1/packages"
apt-get -q update
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: *\(linux-image-[0-9]\S*\)$/\1/p' | head -n 1)
names=$(apt-get install --print-uris --yes --no-install-recommends qemu-system-x86 | sed -n "s/^'[^']*' \([^_]*\)_.*/\1/p")
apt-get -q download $names $kernel busybox-static
for package in *.deb; do dpkg-deb --extract "$package" ../root; done
cd ..; rm -rf packages
root/bin/busybox depmod -b root "$(ls root/lib/modules)"
"#;

/// The first process: from the kernel's own file system to this machine's, which is read, with what is written kept in memory.
const INIT: &str = r#"#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t proc proc /proc; $bb mount -t sysfs sysfs /sys; $bb mount -t devtmpfs dev /dev
while read module; do $bb insmod /modules/$module; done < /modules/order
$bb mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose host /host || $bb poweroff -f
$bb mount -t tmpfs tmpfs /written; $bb mkdir /written/upper /written/work
$bb mount -t overlay -o lowerdir=/host,upperdir=/written/upper,workdir=/written/work overlay /new || $bb poweroff -f
$bb mount --move /dev /new/dev; $bb umount /proc; $bb umount /sys
exec $bb switch_root /new "$@"
"#;

/// The second, on this machine's file system: `%TOOLS%` is where the kernel's modules are, `%COMMAND%` what is to be run.
const GUEST: &str = r#"#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t cgroup2 cgroup2 /sys/fs/cgroup; mount -t bpf bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
mkdir -p /dev/pts /dev/shm /lib/modules; mount -t devpts devpts /dev/pts
for folder in /dev/shm /tmp /run; do mount -t tmpfs -o mode=1777 tmpfs $folder; done
mount --bind %TOOLS%/root/lib/modules /lib/modules
ln -s %TOOLS%/root/bin/busybox /run/modprobe; echo /run/modprobe > /proc/sys/kernel/modprobe
ip link set lo up
cat > /run/command <<'COMMAND'
echo "booted: Linux $(uname -r), lsm=$(cat /sys/kernel/security/lsm)"
%COMMAND%
echo "ended with status $?"
echo o > /proc/sysrq-trigger; while :; do :; done
COMMAND
%INIT%
"#;

/// Who starts the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Init {
    /// Nobody else is there.
    Alone,
    /// systemd, when it has come as far as it does before it starts services.
    Systemd,
}

impl Init {
    /// How [`GUEST`] goes on.
    fn script(self) -> &'static str {
        match self {
            Self::Alone => "exec /bin/bash /run/command",
            Self::Systemd => {
                r#"mkdir -p /run/systemd/system
cat > /run/systemd/system/command.service <<'UNIT'
[Unit]
Requires=basic.target
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /run/command
StandardOutput=tty
TTYPath=/dev/ttyS0
UNIT
exec /lib/systemd/systemd --unit=command.service --show-status=no"#
            }
        }
    }

    fn ensure(self) -> Result<()> {
        if self == Self::Systemd && !Path::new("/lib/systemd/systemd").exists() {
            // It is only installed, not started.
            crate::setup::packages::install("systemd", &["systemd"])?;
        }
        Ok(())
    }
}

/// What boots a machine that runs one command and ends. Its words come on standard output, with [`ended`] as the last.
pub(crate) fn machine(init: Init, command: &str, environment: &[(String, OsString)]) -> Result<Command> {
    let place = tools().join("vm");
    init.ensure()?;
    ensure(&place)?;
    let files = place.join("root");
    let exports: String =
        environment.iter().map(|(name, value)| format!("export {name}='{}'\n", value.display())).collect();
    let guest = GUEST
        .replace("%TOOLS%", &place.display().to_string())
        .replace("%COMMAND%", &format!("{exports}{command}"))
        .replace("%INIT%", init.script());
    fs::write(place.join("guest.sh"), guest)?;
    let kernel = only(&files.join("boot"), "vmlinuz-")?;
    let mut machine = Command::new(files.join("usr/bin/qemu-system-x86_64"));
    machine.env("LD_LIBRARY_PATH", ["usr/lib", "lib"].map(|folder| libraries(&files, folder)).join(":"));
    for folder in ["usr/share/seabios", "usr/share/qemu", "usr/lib/ipxe/qemu"] {
        machine.arg("-L").arg(files.join(folder));
    }
    machine
        .args(["-machine", "q35,accel=tcg", "-cpu", "max", "-smp", PROCESSORS, "-m", MEMORY])
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(place.join("initrd"))
        .arg("-append")
        .arg(format!("console=ttyS0 quiet panic=-1 -- /bin/bash {}", place.join("guest.sh").display()))
        .args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"])
        .args(["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"])
        .stdin(std::process::Stdio::null());
    Ok(machine)
}

/// Whether a line of the machine's says that the command has ended, and how.
pub(crate) fn ended(line: &str) -> Option<bool> {
    line.trim().strip_prefix("ended with status ").map(|status| status == "0")
}

/// The program of a test target, built.
pub(crate) fn program(target: &str) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["test", "--no-run", "--package", "interceptor-tests", "--test", target, "--message-format", "json"]);
    let output = quietly(&mut build)?;
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let is_test = |message: &serde_json::Value| message.pointer("/target/name").is_some_and(|name| name == target);
    let mut programs =
        messages.filter(is_test).filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from));
    programs.next_back().with_context(|| format!("`{}` has built no program", name(&build)))
}

fn ensure(place: &Path) -> Result<()> {
    let initrd = place.join("initrd");
    if initrd.is_file() {
        return Ok(());
    }
    if crate::workspace::which("apt-get").is_none() {
        return Err(
            Missing("this is not Debian or Ubuntu, whose packages of qemu and a kernel are used".to_owned()).into()
        );
    }
    step("fetching qemu and Debian's kernel", || {
        quietly(Command::new("sh").args(["-e", "-c", FETCH, "sh"]).arg(place)).map(drop)
    })
    .context("the packages could not be fetched")?;
    let (files, tree) = (place.join("root"), place.join("first"));
    for folder in ["bin", "modules", "proc", "sys", "dev", "host", "written", "new"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    fs::copy(files.join("bin/busybox"), tree.join("bin/busybox"))?;
    fs::write(tree.join("init"), INIT)?;
    fs::set_permissions(tree.join("init"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let modules = only(&files.join("lib/modules"), "")?;
    let mut order = Vec::new();
    let known = fs::read_to_string(modules.join("modules.dep"))?;
    for module in ["virtio_pci", "9pnet_virtio", "9p", "overlay"] {
        for file in with_dependencies(&known, module).with_context(|| format!("the kernel has no module `{module}`"))? {
            let base = Path::new(file).file_name().context("a module")?.to_string_lossy().into_owned();
            if !order.contains(&base) {
                fs::copy(modules.join(file), tree.join("modules").join(&base))?;
                order.push(base);
            }
        }
    }
    fs::write(tree.join("modules/order"), order.join("\n") + "\n")?;
    let archive = r#"cd "$1"; find . | bin/busybox cpio -o -H newc > ../initrd.part; mv ../initrd.part ../initrd"#;
    quietly(Command::new("sh").args(["-e", "-c", archive, "sh"]).arg(&tree)).map(drop)
}

/// The files of a module and of what it needs, in the order in which they are loaded: a line of `modules.dep` backwards.
fn with_dependencies<'known>(known: &'known str, module: &str) -> Option<Vec<&'known str>> {
    let end = format!("/{module}.ko");
    let (file, needs) = known.lines().filter_map(|line| line.split_once(':')).find(|(file, _)| file.ends_with(&end))?;
    Some(needs.split_whitespace().rev().chain([file]).collect())
}

/// The one entry whose name begins so.
fn only(folder: &Path, begins: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(begins));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.path()),
        _ => bail!(
            "not one `{begins}*` in {}: take {} away to have it fetched again",
            folder.display(),
            root().join("target/tools/vm").display()
        ),
    }
}

fn libraries(files: &Path, folder: &str) -> String {
    files.join(folder).join(format!("{}-linux-gnu", std::env::consts::ARCH)).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::{ended, with_dependencies};

    #[test]
    fn what_a_module_needs_comes_before_it() {
        let known = "kernel/b.ko: kernel/a.ko kernel/c.ko\nkernel/c.ko:\n";
        assert_eq!(with_dependencies(known, "b"), Some(vec!["kernel/c.ko", "kernel/a.ko", "kernel/b.ko"]));
        assert_eq!(with_dependencies(known, "d"), None);
    }

    #[test]
    fn the_end_is_heard() {
        for (line, expected) in
            [("ended with status 0\r", Some(true)), ("ended with status 101", Some(false)), ("ok", None)]
        {
            assert_eq!(ended(line), expected, "{line}");
        }
    }
}
