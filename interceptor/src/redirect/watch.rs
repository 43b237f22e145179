//! Whether what was put in force still is. Whoever is root can take it away; that must not go unnoticed.

use std::{fs, io, path::PathBuf};

use interceptor_ebpf::{map, program};

use super::{
    kernel::{Attached, attached},
    pins::Pins,
    unix_guard,
};

/// What there should be.
#[derive(Debug)]
pub struct Watch {
    links: Vec<(&'static str, PathBuf, Attached)>,
    maps: Vec<(&'static str, PathBuf)>,
}

impl Watch {
    /// As it is now, right after it was put in place.
    pub(super) fn begin(pins: &Pins, absent: &[(&'static str, String)]) -> io::Result<Self> {
        let placed = program::ALL
            .into_iter()
            .chain(program::GUARDS)
            .chain([unix_guard::NAME])
            .filter(|name| absent.iter().all(|(absent, _)| absent != name));
        let links = placed.map(|name| {
            let pin = pins.link(name);
            attached(&pin).map(|attached| (name, pin, attached))
        });
        Ok(Self {
            links: links.collect::<io::Result<_>>()?,
            maps: map::ALL.into_iter().map(|name| (name, pins.map(name))).collect(),
        })
    }

    /// What is no longer as it was, in words; empty if all is well. A newer daemon that has taken over counts as well.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (name, pin, was) in &self.links {
            match attached(pin) {
                Ok(is) if is.cgroup_id == was.cgroup_id => {}
                Ok(Attached { cgroup_id: 0, .. }) => {
                    missing.push(format!("program `{name}` is detached from the root cgroup"))
                }
                Ok(_) => missing.push(format!("program `{name}` is attached to another cgroup")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing.push(format!("the link of program `{name}` is no longer pinned"));
                }
                Err(error) => missing.push(format!("the link of program `{name}` cannot be read: {error}")),
            }
        }
        for (name, pin) in &self.maps {
            if let Err(error) = fs::symlink_metadata(pin) {
                missing.push(match error.kind() {
                    io::ErrorKind::NotFound => format!("map `{name}` is no longer pinned"),
                    _ => format!("map `{name}` cannot be read: {error}"),
                });
            }
        }
        missing
    }

    /// Programs behind our links that are not the ones that we put there: a newer daemon's, or somebody else's.
    #[must_use]
    pub fn replaced(&self) -> Vec<&'static str> {
        let is_other =
            |(_, pin, was): &&(_, PathBuf, Attached)| attached(pin).is_ok_and(|is| is.program != was.program);
        self.links.iter().filter(is_other).map(|(name, ..)| *name).collect()
    }
}
