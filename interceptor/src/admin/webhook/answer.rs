//! An answer from elsewhere: a POST that whoever has a webhook's secret has signed, within five minutes, once.

use super::{Webhook, unix};
use crate::admin::Subjects;
use crate::admin::approvals::{Word, fit, refused};
use crate::approval::{Approver, Request};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// How old, or how far ahead, an answer may be, in seconds.
const LATEST: u64 = 300;

/// Signatures that have been used.
static USED: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    /// The request.
    id: String,
    /// What is said to it.
    decision: Decision,
    /// The approver's own OIDC token; or
    token: Option<String>,
    /// one of the webhook's `approvers`, whom the secret's holder speaks for.
    by: Option<String>,
    comment: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Approve,
    Deny,
}

type Refused = (StatusCode, String);

pub(in crate::admin) async fn answer(
    State(subjects): State<Subjects>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Request>, Refused> {
    let unsigned =
        || (StatusCode::UNAUTHORIZED, "it is not signed with the secret of a webhook, or too long ago".to_owned());
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (timestamp, signature) = (header("x-interceptor-timestamp"), header("x-interceptor-signature"));
    let now = unix();
    let time: u64 = timestamp.parse().map_err(|_| unsigned())?;
    if time.abs_diff(now) > LATEST {
        return Err(unsigned());
    }
    let webhook = subjects.webhooks.iter().find(|webhook| webhook.is_signed(timestamp, signature, &body));
    let webhook = webhook.ok_or_else(unsigned)?;
    // One spelling of it, or the same would be good once more in capitals.
    let spelled = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f' | b'v' | b'=');
    if !signature.bytes().all(spelled) {
        return Err(unsigned());
    }
    if !first_time(signature, now) {
        return Err((StatusCode::CONFLICT, "this answer has been given already".to_owned()));
    }
    let wrong = |error: serde_json::Error| (StatusCode::BAD_REQUEST, error.to_string());
    let Answer { id, decision, token, by, comment } = serde_json::from_slice(&body).map_err(wrong)?;
    let who = approver(&subjects, webhook, token, by).await?;
    let Word { comment, .. } = fit(Word { comment, break_glass: None })?;
    let desk = &subjects.proxy.shared.desk;
    let decided = match decision {
        Decision::Approve => desk.approve(&id, &who, comment.as_deref(), now),
        Decision::Deny => desk.deny(&id, &who, comment.as_deref(), now),
    };
    decided.map(Json).map_err(|error| refused(&id, &who, &error))
}

async fn approver(
    subjects: &Subjects,
    webhook: &Webhook,
    token: Option<String>,
    by: Option<String>,
) -> Result<Approver, Refused> {
    match (token, by) {
        (Some(token), None) => {
            let person = subjects.proxy.registrar.person(&token).await;
            let person = person.map_err(|error| (StatusCode::UNAUTHORIZED, error.to_string()))?;
            Ok(Approver::Person {
                subject: person.subject,
                issuer: person.issuer,
                groups: person.groups.into_iter().collect(),
                on_behalf_of: person.on_behalf_of,
            })
        }
        (None, Some(by)) => match webhook.approvers.get(&by) {
            Some(groups) => Ok(Approver::Person {
                subject: by,
                issuer: format!("webhook {}", webhook.name),
                groups: groups.clone(),
                on_behalf_of: None,
            }),
            None => {
                let why = format!("`{}` is not among the webhook's `approvers`", by.escape_debug());
                Err((StatusCode::FORBIDDEN, why))
            }
        },
        (None, None) | (Some(_), Some(_)) => {
            Err((StatusCode::BAD_REQUEST, "an answer has either a token or a name (`by`)".to_owned()))
        }
    }
}

fn first_time(signature: &str, now: u64) -> bool {
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    let used = used.get_or_insert_default();
    used.retain(|_, until| *until > now);
    used.insert(signature.to_owned(), now + 2 * LATEST + 1).is_none()
}
