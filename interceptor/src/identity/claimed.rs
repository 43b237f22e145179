//! What a process says about its work: its command line, the commit that is checked out where it works, the job that a CI
//! system says it is. For people who read the record; all of it can be made up, so it decides nothing by itself.

use super::process::Process;
use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::stat::{Mode, SFlag, fstat},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
};

/// Names and values, as the process says them.
pub type Claimed = BTreeMap<String, String>;

/// What CI systems call the job, by their own documentation (GitHub Actions, GitLab, Buildkite, Jenkins).
const VARIABLES: [&str; 24] = [
    "GITHUB_REPOSITORY",
    "GITHUB_REF",
    "GITHUB_SHA",
    "GITHUB_WORKFLOW",
    "GITHUB_JOB",
    "GITHUB_RUN_ID",
    "GITHUB_RUN_ATTEMPT",
    "GITHUB_ACTOR",
    "CI_PROJECT_PATH",
    "CI_COMMIT_SHA",
    "CI_COMMIT_REF_NAME",
    "CI_PIPELINE_ID",
    "CI_JOB_ID",
    "CI_JOB_NAME",
    "GITLAB_USER_LOGIN",
    "BUILDKITE_PIPELINE_SLUG",
    "BUILDKITE_BUILD_NUMBER",
    "BUILDKITE_BRANCH",
    "BUILDKITE_COMMIT",
    "BUILDKITE_JOB_ID",
    "JOB_NAME",
    "BUILD_NUMBER",
    "BUILD_TAG",
    "CI",
];

/// The longest value that is written down, in characters.
const LONGEST: usize = 256;

/// Bytes of a command line that are looked at.
const COMMAND: usize = 4096;

/// How many folders above the working one may hold the repository.
const ABOVE: usize = 32;

/// Reads what can be read of it; what cannot is left out. May take as long as the process's own file systems want to.
pub(super) fn gather(process: &Process) -> Claimed {
    let mut claimed = Claimed::new();
    let mut note = |name: &str, value: &str| {
        if !value.is_empty() {
            claimed.insert(name.to_owned(), cut(value));
        }
    };
    if let Ok(environment) = process.environment() {
        for name in VARIABLES {
            let mut values = environment.split(|byte| *byte == 0);
            let value = values.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
            note(name, &String::from_utf8_lossy(value.unwrap_or_default()));
        }
    }
    note("command", &without_passwords(&process.command(COMMAND).unwrap_or_default()));
    note("git_head", &process.working_directory().ok().and_then(|folder| head(&folder)).unwrap_or_default());
    claimed
}

fn cut(value: &str) -> String {
    let plain = |sign: char| if sign.is_control() { '\u{fffd}' } else { sign };
    value.chars().map(plain).take(LONGEST).collect()
}

/// `scheme://user:password@host` and `password=...`, which people do write on command lines.
fn without_passwords(command: &str) -> String {
    let word = |word: &str| {
        if let Some((before, rest)) = word.split_once("://")
            && let Some((login, behind)) = rest.rsplit_once('@')
            && let Some((user, _)) = login.split_once(':')
        {
            return format!("{before}://{user}:[redacted]@{behind}");
        }
        match word.to_ascii_lowercase().find("password=").map(|at| at + "password=".len()) {
            Some(at) => format!("{}[redacted]", word.get(..at).unwrap_or_default()),
            None => word.to_owned(),
        }
    };
    command.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// The commit that `.git` in this folder, or in the closest one above it, has checked out: `HEAD` itself, or what the branch
/// that it names stands at. Neither through links nor out of the folder of the repository.
fn head(folder: &OwnedFd) -> Option<String> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut folder = folder.try_clone().ok()?;
    for _ in 0..ABOVE {
        let git = openat(&folder, ".git", flags | OFlag::O_NOFOLLOW, Mode::empty());
        if let Ok(git) = git {
            let head = small(&git, "HEAD").ok()?;
            let Some(branch) = head.strip_prefix("ref: ") else { return Some(head) };
            let stands = small(&git, branch).ok().or_else(|| packed(&small(&git, "packed-refs").ok()?, branch));
            return Some(format!("{} {branch}", stands.unwrap_or_default()).trim().to_owned());
        }
        let above = openat(&folder, "..", flags, Mode::empty()).ok()?;
        let number = |folder: &OwnedFd| fstat(folder).map(|stat| (stat.st_dev, stat.st_ino));
        if number(&above) == number(&folder) {
            return None;
        }
        folder = above;
    }
    None
}

fn packed(refs: &str, branch: &str) -> Option<String> {
    refs.lines().find_map(|line| line.strip_suffix(branch)?.strip_suffix(' ').map(str::to_owned))
}

fn small(folder: &impl AsFd, path: &str) -> Result<String, Errno> {
    const MOST: u64 = 64 << 10;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = openat2(folder, path, how)?;
    if SFlag::from_bits_truncate(fstat(&file)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Errno::ENOTSUP);
    }
    let mut text = String::new();
    File::from(file).take(MOST).read_to_string(&mut text).map_err(|_| Errno::EIO)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{gather, without_passwords};
    use crate::identity::process::Process;
    use std::{fs, process::Command, thread::sleep, time::Duration};

    #[test]
    fn what_a_job_says_about_itself() {
        let folder = std::env::temp_dir().join(format!("interceptor-claimed-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::create_dir_all(folder.join(".git/refs/heads")).unwrap();
        fs::write(folder.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(folder.join(".git/refs/heads/main"), "0123456789abcdef\n").unwrap();
        let mut job = Command::new("sleep");
        job.arg("60").current_dir(folder.join("a/b")).env_clear();
        let mut job = job.env("GITHUB_RUN_ID", "17\n18").env("SECRET", "x").spawn().unwrap();
        sleep(Duration::from_millis(50));
        let claimed = gather(&Process::open(job.id()).unwrap());
        job.kill().unwrap();
        job.wait().unwrap();
        fs::remove_dir_all(folder).unwrap();
        let said: Vec<_> = claimed.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            said,
            ["GITHUB_RUN_ID=17\u{fffd}18", "command=sleep 60", "git_head=0123456789abcdef refs/heads/main"]
        );
    }

    #[test]
    fn passwords_on_command_lines_are_not_written_down() {
        for (command, expected) in [
            ("psql postgres://u:p@ss@h/db", "psql postgres://u:[redacted]@h/db"),
            ("psql host=h password=x", "psql host=h password=[redacted]"),
            ("run --PASSWORD=x y", "run --PASSWORD=[redacted] y"),
            ("psql -h h", "psql -h h"),
        ] {
            assert_eq!(without_passwords(command), expected);
        }
    }
}
