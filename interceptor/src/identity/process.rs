//! One process, held so that its number cannot come to mean another one.
//!
//! A descriptor of `/proc/PID` pins the kernel's `struct pid`, just as a pidfd does: once the process has been reaped every
//! look-up through it fails with ESRCH, also when the number has been given to somebody else. Unlike a pidfd it is what the
//! files are read *through*, so there is no moment between checking and reading.

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat},
    sys::stat::{Mode, SFlag, fstat, fstatat},
};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
};

/// A process by a descriptor of its folder in `/proc`.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    folder: OwnedFd,
}

/// What `/proc/PID/stat` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) comm: String,
    pub(super) parent: u32,
    /// Whether it has begun to end (`PF_EXITING` of field 9): what follows it by its life lets go of it from then on.
    pub(super) ending: bool,
    /// Field 22, in clock ticks since boot.
    pub(super) start: u64,
    /// `None` where we may not look.
    pub(super) image: Option<Image>,
}

/// `include/linux/sched.h`; set before anything of a process is given up, `sched_process_exit` included.
const PF_EXITING: u64 = 4;

/// Where `execve(2)` has put a program's stack and environment (fields 28, 50 and 51 of `/proc/PID/stat`): somewhere else each
/// time, so that a program which takes another one's place in a process shows.
pub(super) type Image = [u64; 3];

impl Process {
    pub(super) fn open(pid: u32) -> Result<Self, Errno> {
        let folder = nix::fcntl::open(
            Path::new(&format!("/proc/{pid}")),
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { pid, folder })
    }

    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        self.line("stat", |text| Stat::read(text).ok_or(Errno::EBADMSG))
    }

    /// The path of the cgroup v2 it is in: the line `0::` of `/proc/PID/cgroup`.
    pub(super) fn cgroup(&self) -> Result<String, Errno> {
        self.line("cgroup", |text| {
            text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned).ok_or(Errno::ENODATA)
        })
    }

    /// The executable. A process that has not got one (it is going away) has no name to put into a record.
    pub(super) fn exe(&self) -> Result<String, Errno> {
        Ok(readlinkat(&self.folder, "exe")?.to_string_lossy().into_owned())
    }

    /// The number of its network namespace.
    pub(super) fn network_namespace(&self) -> Result<u64, Errno> {
        Ok(fstatat(&self.folder, "ns/net", AtFlags::empty())?.st_ino)
    }

    /// Its command line, cut off: the process can write into it what it likes.
    pub(super) fn command(&self, most: usize) -> Result<String, Errno> {
        let file = File::from(openat(&self.folder, "cmdline", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
        let mut bytes = Vec::new();
        file.take(most as u64).read_to_end(&mut bytes).map_err(|error| errno(&error))?;
        let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy);
        Ok(words.collect::<Vec<_>>().join(" "))
    }

    /// The folder that it works in, by a descriptor.
    pub(super) fn working_directory(&self) -> Result<OwnedFd, Errno> {
        openat(&self.folder, "cwd", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// The environment as it was at `execve(2)`.
    pub(super) fn environment(&self) -> Result<Vec<u8>, Errno> {
        // A sixth of what execve(2) takes: nobody's honest one is larger, and it is read for every connection.
        const MOST: u64 = 1 << 20;
        self.bytes("environ", MOST)
    }

    /// Its parent, if that is in the same cgroup. `None` is the top of the job.
    ///
    /// The parent is opened by number, so it could be a newcomer with the old parent's number: such a one would be younger
    /// than its child.
    pub(super) fn parent_in_cgroup(child: &Stat, cgroup: &str) -> Result<Option<(Self, Stat)>, Errno> {
        if child.parent == 0 {
            return Ok(None);
        }
        let parent = match Self::open(child.parent) {
            // The parent ended in this moment: the child has been handed on to a reaper, which is no part of the job.
            Err(Errno::ENOENT | Errno::ESRCH) => return Ok(None),
            other => other?,
        };
        if parent.cgroup().as_deref() != Ok(cgroup) {
            return Ok(None);
        }
        let Ok(stat) = parent.stat() else { return Ok(None) };
        Ok((stat.start <= child.start).then_some((parent, stat)))
    }

    /// Opens a regular file of root's or of `owner` as the process itself would see it, through no link of any kind.
    pub(super) fn open_file(&self, path: &Path, owner: u32) -> Result<File, Errno> {
        // `root` is the one link that is meant to be followed: it leads into the process's own mount namespace.
        let root = openat(&self.folder, "root", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let how = OpenHow::new()
            // Non-blocking, or opening a FIFO would wait for a writer.
            .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
            .resolve(
                ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            );
        let file = openat2(&root, path, how)?;
        let stat = fstat(&file)?;
        let mode = Mode::from_bits_truncate(stat.st_mode);
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(Errno::ENOTSUP);
        }
        // Whoever else could have written it would decide who the process is.
        if ![0, owner].contains(&stat.st_uid) || mode.contains(Mode::S_IWOTH) {
            return Err(Errno::EACCES);
        }
        Ok(File::from(file))
    }

    /// What a short file says that the kernel writes in one piece (`single_open` in its `fs/seq_file.c`): all of it comes with the
    /// first read that it fits into.
    fn line<T>(&self, name: &str, read: impl FnOnce(&str) -> Result<T, Errno>) -> Result<T, Errno> {
        const MOST: u64 = 64 << 10;
        let mut start = [0; 2 << 10];
        let file = openat(&self.folder, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let length = nix::unistd::read(&file, &mut start)?;
        match start.get(..length) {
            Some(whole) if length < start.len() => read(&String::from_utf8_lossy(whole)),
            _ => read(&String::from_utf8_lossy(&self.bytes(name, MOST)?)),
        }
    }

    fn bytes(&self, name: &str, most: u64) -> Result<Vec<u8>, Errno> {
        let file = File::from(openat(&self.folder, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
        // The kernel writes these files anew for each read that begins them, and small reads are many.
        let mut bytes = Vec::with_capacity(4 << 10);
        file.take(most + 1).read_to_end(&mut bytes).map_err(|error| errno(&error))?;
        if bytes.len() as u64 > most { Err(Errno::EFBIG) } else { Ok(bytes) }
    }
}

impl Stat {
    /// The name stands in parentheses and may itself hold any character, parentheses, blanks and digits included, so the
    /// fields are counted from the *last* closing one.
    fn read(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, comm) = before.split_once('(')?;
        let mut fields = after.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        // Field 9, counting from 1; 5 is the next to come.
        let flags: u64 = fields.nth(9 - 5)?.parse().ok()?;
        let start = fields.nth(22 - 10)?.parse().ok()?;
        let mut number = |between: usize| fields.nth(between)?.parse::<u64>().ok().filter(|address| *address != 0);
        // Each counted from the one before.
        let image = (|| Some([number(28 - 23)?, number(50 - 29)?, number(0)?]))();
        Some(Self { comm: comm.to_owned(), parent, ending: flags & PF_EXITING != 0, start, image })
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::Stat;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, u32, u64)>) {
        let stat =
            |(comm, parent, start): (&str, _, _)| Stat { comm: comm.into(), parent, ending: false, start, image: None };
        let expected = expected.map(stat);
        assert_eq!(Stat::read(text), expected, "{text}");
    }

    #[test]
    fn the_fields_are_counted_from_the_last_parenthesis() {
        let rest = "S 41 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 8 9";
        check(&format!("42 (psql) {rest}"), Some(("psql", 41, 777)));
        check(&format!("42 (a b) c) {rest}"), Some(("a b) c", 41, 777)));
        check(&format!("42 (x) R 1 1 1) {rest}"), Some(("x) R 1 1 1", 41, 777)));
        check(&format!("42 () {rest}"), Some(("", 41, 777)));
        check("42 (psql) S 41", None);
        check("42 psql S 41", None);
        check("", None);
    }

    #[test]
    fn who_ends_shows_by_its_flags() {
        for (flags, expected) in [("0", false), ("4194560", false), ("4194564", true), ("4", true)] {
            let text = format!("42 (psql) S 41 42 42 0 -1 {flags} 1 0 0 0 0 0 0 0 20 0 1 0 777 8 9");
            assert_eq!(Stat::read(&text).map(|stat| stat.ending), Some(expected), "{flags}");
        }
    }

    #[test]
    fn a_program_shows_by_its_image() {
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        let image = Stat::read(&own).unwrap().image.unwrap();
        assert!(image.iter().all(|address| *address > 0x1000), "{image:x?}");
        assert!(image[1] < image[2], "the environment begins before it ends");
        // As `/proc/PID/stat` looks to who may not see addresses.
        let fields: Vec<_> =
            (3..=52).map(|field| if field < 26 { field.to_string() } else { "0".to_owned() }).collect();
        assert_eq!(Stat::read(&format!("42 (psql) {}", fields.join(" "))).unwrap().image, None);
        let fields: Vec<_> = (3..=52).map(|field| field.to_string()).collect();
        assert_eq!(Stat::read(&format!("42 (psql) {}", fields.join(" "))).unwrap().image, Some([28, 50, 51]));
    }
}
