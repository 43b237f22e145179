//! How messages look. What agents have written stands in them as plain text only: in Slack's preformatted rich text and in text
//! runs of Teams' cards, where nothing is markup.

use super::{Form, Webhook};
use crate::approval::{Request, plain};
use serde_json::{Value, json};

/// Characters of a statement that a message has.
const MOST: usize = 2500;

/// A message about a request.
pub(super) fn body(webhook: &Webhook, what: &str, request: &Request) -> Vec<u8> {
    let message = match webhook.form {
        Form::Json => generic(webhook, what, request),
        Form::Slack => slack(webhook, what, request),
        Form::Teams => teams(webhook, what, request),
    };
    message.to_string().into_bytes()
}

fn link(webhook: &Webhook) -> Option<String> {
    webhook.console.as_ref().map(|console| format!("{console}/#approvals"))
}

fn generic(webhook: &Webhook, what: &str, request: &Request) -> Value {
    let mut request = serde_json::to_value(request).unwrap_or_default();
    if let Some(request) = request.as_object_mut().filter(|_| !webhook.statement) {
        for name in ["statement", "runs", "values", "preview"] {
            request.remove(name);
        }
    }
    json!({"v": 1, "event": what, "webhook": webhook.name, "console": link(webhook), "request": request})
}

fn title(what: &str, request: &Request) -> String {
    let agent = plain(&request.asked.agent);
    let needs: Vec<_> = request.asked.needs.keys().map(|group| plain(group)).collect();
    match what {
        "asked" => format!("{agent} asks {} for approval", needs.join(" and ")),
        other => format!("request {} of {agent}: {other}", request.id),
    }
}

/// Name and value, of what fits on a line.
fn facts(request: &Request) -> Vec<(&'static str, String)> {
    let asked = &request.asked;
    let mut facts = vec![
        ("request", request.id.clone()),
        (
            "agent",
            asked.on_behalf_of.as_ref().map_or(asked.agent.clone(), |human| format!("{} for {human}", asked.agent)),
        ),
        ("database", format!("{} on {}", asked.database, asked.server)),
        ("does", asked.relations.join(", ")),
    ];
    facts.extend(asked.preview.as_ref().map(|preview| ("effect", preview.summary())));
    facts.extend(request.voices.iter().map(|voice| {
        let comment = voice.comment.as_ref().map(|comment| format!(": {comment}")).unwrap_or_default();
        ("approved by", format!("{}{comment}", voice.by))
    }));
    facts.extend(request.outcome.clone().map(|outcome| ("outcome", outcome)));
    facts.into_iter().map(|(name, value)| (name, cut(&plain(&value), 500))).collect()
}

fn statement(request: &Request) -> String {
    let lines: Vec<_> = request.asked.statement.lines().map(plain).collect();
    cut(&lines.join("\n"), MOST)
}

fn cut(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(most).collect();
    format!("{beginning} [cut: {count} characters in all]")
}

fn slack(webhook: &Webhook, what: &str, request: &Request) -> Value {
    // Three characters are markup in what Slack calls text (api.slack.com, "Escaping text").
    let escaped = title(what, request).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let run = |text: String| json!({"type": "text", "text": text});
    let bold = |text: &str| json!({"type": "text", "text": text, "style": {"bold": true}});
    let lines = facts(request)
        .into_iter()
        .map(|(name, value)| json!({"type": "rich_text_section", "elements": [bold(name), run(format!("  {value}"))]}));
    let mut elements: Vec<_> = lines.collect();
    if webhook.statement {
        elements.push(json!({"type": "rich_text_preformatted", "elements": [run(statement(request))]}));
    }
    let mut blocks = vec![
        json!({"type": "header", "text": {"type": "plain_text", "text": cut(&title(what, request), 140)}}),
        json!({"type": "rich_text", "elements": elements}),
    ];
    if let Some(link) = link(webhook).filter(|_| what == "asked" || what == "seconded") {
        let text = json!({"type": "plain_text", "text": "Look at it in the console"});
        blocks.push(json!({"type": "actions", "elements": [{"type": "button", "text": text, "url": link}]}));
    }
    json!({"text": escaped, "blocks": blocks, "unfurl_links": false})
}

fn teams(webhook: &Webhook, what: &str, request: &Request) -> Value {
    let run = |text: &str, bold: bool| {
        let weight = if bold { "Bolder" } else { "Default" };
        json!({"type": "TextRun", "text": text, "weight": weight})
    };
    let mut body = vec![json!({"type": "RichTextBlock", "inlines": [run(&title(what, request), true)]})];
    body.extend(facts(request).into_iter().map(|(name, value)| {
        json!({"type": "RichTextBlock", "spacing": "Small", "inlines": [run(&format!("{name}: "), true), run(&value, false)]})
    }));
    if webhook.statement {
        let code = json!({"type": "TextRun", "text": statement(request), "fontType": "Monospace"});
        body.push(json!({"type": "RichTextBlock", "inlines": [code]}));
    }
    let actions: Vec<_> = link(webhook)
        .into_iter()
        .map(|link| json!({"type": "Action.OpenUrl", "title": "Look at it in the console", "url": link}))
        .collect();
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
        "actions": actions,
    });
    json!({"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}]})
}

#[cfg(test)]
mod tests {
    use super::super::tests::webhook;
    use super::*;
    use crate::approval::{Asked, State};

    #[test]
    fn what_agents_write_is_no_markup() {
        let request = Request {
            id: "1f2e3d4c".into(),
            state: State::Open,
            asked_at: 0,
            expires_at: 600,
            waiting: 1,
            repeats: 0,
            voices: Vec::new(),
            outcome: None,
            asked: Asked {
                agent: "agent:<!channel>".into(),
                statement: "delete from t -- ``` <https://evil.example|approve>\n\u{202e}".into(),
                needs: [("dba".to_owned(), 1)].into(),
                ..Asked::default()
            },
        };
        let slack = slack(&webhook(Form::Slack), "asked", &request);
        assert_eq!(slack["text"], "agent:&lt;!channel&gt; asks dba for approval");
        let code = &slack["blocks"][1]["elements"].as_array().unwrap().last().unwrap()["elements"][0]["text"];
        assert_eq!(code, "delete from t -- ``` <https://evil.example|approve>\n\\u{202e}");
        let teams = teams(&webhook(Form::Teams), "asked", &request).to_string();
        assert!(!teams.contains("TextBlock\"") || teams.contains("RichTextBlock"), "{teams}");
        // No link of ours does anything, and there is no other.
        for message in [slack.to_string(), teams] {
            assert_eq!(message.matches("\"url\":").count(), 1, "{message}");
            assert!(message.contains("\"url\":\"https://console.example/#approvals\""), "{message}");
        }
        let quiet = Webhook { statement: false, ..webhook(Form::Json) };
        assert!(!String::from_utf8(body(&quiet, "asked", &request)).unwrap().contains("delete from"));
    }
}
