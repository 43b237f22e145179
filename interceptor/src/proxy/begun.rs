//! A session from the moment that somebody is let in to its end.
//!
//! What logging in took is given back by then: most sessions wait most of the time, and there may be thousands.

use super::arrival::Admitted;
use super::cancel::Target;
use super::ephemeral::Role;
use super::live::{Present, SessionInfo};
use super::refused::with_sources;
use super::relay::{Ready, Surroundings, now, relay};
use super::serve::Proxy;
use super::tls::Stream;
use crate::audit::{Event, Record, Subject};
use crate::policy::Principal;
use crate::session::Session;
use crate::wire::{Speaker, TransactionStatus};
use bytes::BytesMut;
use std::sync::Arc;
use tokio::sync::watch;

/// Who is let in, and has not been told so yet.
pub(super) struct Begun<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) subject: Subject,
    /// The process that dialled.
    pub(super) pid: u32,
    pub(super) admitted: Admitted,
    pub(super) stream: Stream,
    pub(super) buffer: BytesMut,
    /// What the client has to be told first.
    pub(super) hello: BytesMut,
    pub(super) minor: u16,
    pub(super) stop: watch::Receiver<bool>,
}

/// What is left to do when a session has ended.
struct Rest<'a> {
    present: Present<'a>,
    role: Option<Role>,
    subject: Arc<Subject>,
}

impl<'a> Begun<'a> {
    /// Says hello, and carries what both sides say to its end.
    pub(super) async fn run(self: Box<Self>) {
        let proxy = self.proxy;
        let Some((mut ready, rest)) = Box::pin(self.introduce()).await else { return };
        let how = match relay(&mut ready).await {
            Ok(how) => how.to_owned(),
            Err(ending) => with_sources(&ending),
        };
        drop(ready);
        let Rest { present, role, subject } = rest;
        drop(present);
        if let Some(role) = role {
            role.drop_now().await;
        }
        disconnected(proxy, subject, &how);
    }

    async fn introduce(self: Box<Self>) -> Option<(Box<Ready<'a>>, Rest<'a>)> {
        let Self { proxy, mut subject, pid, admitted, mut stream, buffer, mut hello, minor, stop } = *self;
        let Admitted { identity, lease, role, wishes, credential, reading, place, around, limits, server, observed } =
            admitted;
        let target = Target {
            server: place.server.clone(),
            tls: credential.tls.clone(),
            pid: server.pid,
            secret: server.secret.clone(),
        };
        let key = proxy.cancels.issue(identity.clone(), target, minor);
        hello.authentication_ok();
        for (name, value) in &server.parameters {
            hello.parameter(name, value);
        }
        hello.key(key.pid, &key.secret);
        hello.ready(TransactionStatus::Idle);
        // What the process claims stands in the record of the connection, once.
        subject.process.iter_mut().for_each(|process| process.claimed.clear());
        let subject = Arc::new(subject);
        let present = proxy.live.enter(SessionInfo {
            session: subject.session.clone(),
            agent: identity.subject.clone(),
            on_behalf_of: identity.on_behalf_of.clone(),
            pid,
            exe: subject.process.as_ref().map(|process| process.exe.clone()).unwrap_or_default(),
            server: subject.server.clone(),
            database: wishes.database,
            backend_pid: server.pid,
            claimed_role: wishes.user,
            expires: identity.expires,
            since: now().0,
        });
        if observed && !proxy.observes() {
            // Policies are enforced since it was let in, and whoever ended the sessions did not see this one.
            present.killed.tell();
        }
        if stream.send(&hello).await.is_err() {
            disconnected(proxy, subject, "the client went away");
            return None;
        }
        let principal = Principal::new(identity);
        let mut session = Session::new(principal, subject.clone(), proxy.shared.clone(), around, limits, server.pid);
        if observed {
            session = session.observing();
        }
        for (name, value) in &server.parameters {
            session.note_setting(name, value);
        }
        let Some(catalog) = proxy.catalogs.watch(&place) else {
            disconnected(proxy, subject, "the catalogue was never read");
            return None;
        };
        let killed = present.killed.clone();
        let around = Surroundings { proxy, place, catalog, credential: reading, key, lease, killed, stop };
        Some((Box::new(Ready { session, client: stream, buffer, server, around }), Rest { present, role, subject }))
    }
}

/// Puts the end of a session on record.
pub(super) fn disconnected(proxy: &Proxy, subject: Arc<Subject>, how: &str) {
    let mut record = Record::new(Event::Disconnect, subject);
    record.statement = Some(how.to_owned());
    // Nothing happens after it that it would have to be written for.
    if let Err(error) = proxy.shared.trail.seal(record) {
        tracing::error!(%error, "the end of a session could not be recorded");
    }
    proxy.settling.soon(&proxy.shared.trail);
}
