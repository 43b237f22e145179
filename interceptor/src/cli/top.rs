//! `top`: what the console shows first, in the terminal.

use super::approvals::whole;
use super::talk::Talk;
use crate::admin::Status;
use crate::approval::{Request, State, plain};
use crate::proxy::SessionInfo;
use anyhow::{Context, Result};
use clap::Args;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState, Wrap};
use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug, Args)]
pub(super) struct Top {
    #[command(flatten)]
    talk: Talk,
    /// Seconds between looks
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Print one look as text and leave
    #[arg(long)]
    once: bool,
}

/// Looks that the line of decisions goes back.
const PAST: usize = 240;

/// What was seen last.
struct Seen {
    status: Status,
    sessions: Vec<SessionInfo>,
    requests: Vec<Request>,
    at: Instant,
}

/// What is on the screen.
struct Screen {
    seen: Seen,
    /// Permitted, denied and held in a second, between the last two looks.
    rates: [f64; 3],
    /// All of them, for each look.
    past: VecDeque<u64>,
    /// Why the last look failed.
    failure: Option<String>,
    chosen: TableState,
    /// Whether the chosen request is shown whole.
    whole: bool,
}

fn look(talk: &Talk) -> Result<Seen> {
    let mut requests: Vec<Request> = talk.ask("/approvals")?;
    requests.retain(|request| matches!(request.state, State::Open | State::Approved));
    Ok(Seen { status: talk.ask("/status")?, sessions: talk.ask("/sessions")?, requests, at: Instant::now() })
}

pub(super) fn top(top: &Top) -> Result<ExitCode> {
    let mut screen = Screen::new(look(&top.talk)?);
    if top.once {
        print!("{}", screen.as_text(100, 30)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut terminal = ratatui::try_init().context("this is no terminal; `--once` prints a look as text")?;
    let result = screen.run(&mut terminal, top);
    ratatui::restore();
    result.map(|()| ExitCode::SUCCESS)
}

impl Screen {
    fn new(seen: Seen) -> Self {
        let chosen = TableState::default().with_selected(Some(0));
        Self { seen, rates: [0.0; 3], past: VecDeque::new(), failure: None, chosen, whole: false }
    }

    fn run(&mut self, terminal: &mut ratatui::DefaultTerminal, top: &Top) -> Result<()> {
        let every = Duration::from_secs(top.every);
        let mut next = Instant::now() + every;
        loop {
            terminal.draw(|frame| self.draw(frame))?;
            if event::poll(next.saturating_duration_since(Instant::now()))? {
                if let Event::Key(key) = event::read()?
                    && key.kind == KeyEventKind::Press
                {
                    let leaves = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                    match key.code {
                        KeyCode::Esc if self.whole => self.whole = false,
                        KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                        _ if leaves => return Ok(()),
                        KeyCode::Down | KeyCode::Char('j') => self.chosen.select_next(),
                        KeyCode::Up | KeyCode::Char('k') => self.chosen.select_previous(),
                        KeyCode::Enter => self.whole = !self.whole && !self.seen.requests.is_empty(),
                        _ => {}
                    }
                }
                continue;
            }
            next = Instant::now() + every;
            match look(&top.talk) {
                Ok(seen) => self.take(seen),
                Err(error) => self.failure = Some(error.to_string()),
            }
        }
    }

    /// Takes a newer look.
    fn take(&mut self, seen: Seen) {
        let time = seen.at.duration_since(self.seen.at).as_secs_f64().max(0.001);
        let more = |at: usize| {
            let count = |seen: &Seen| seen.status.decided.get(at).copied().unwrap_or_default();
            // A daemon that was started anew counts from zero.
            count(&seen).saturating_sub(count(&self.seen))
        };
        let counted = [more(0), more(1), more(2)];
        #[expect(clippy::cast_precision_loss, reason = "it is shown with one decimal")]
        let rates = counted.map(|count| count as f64 / time);
        self.rates = rates;
        self.past.push_back(counted.iter().sum());
        if self.past.len() > PAST {
            self.past.pop_front();
        }
        (self.seen, self.failure) = (seen, None);
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let [head, line, requests, sessions, foot] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Length(4),
            Constraint::Percentage(50),
            Constraint::Min(4),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.head(frame, head);
        let data: Vec<_> = self.past.iter().copied().collect();
        let width = usize::from(line.width.saturating_sub(2));
        let data = data.get(data.len().saturating_sub(width)..).unwrap_or_default();
        let block = Block::bordered().title(" statements ");
        frame.render_widget(Sparkline::default().block(block).data(data).style(Style::new().fg(Color::Green)), line);
        self.requests(frame, requests);
        self.sessions(frame, sessions);
        let keys = match &self.failure {
            Some(failure) => Line::from(plain(failure)).fg(Color::Red),
            None => Line::from(" q leaves   ↑↓ choose   enter shows the request ").dim(),
        };
        frame.render_widget(keys, foot);
        if self.whole
            && let Some(request) = self.chosen.selected().and_then(|at| self.seen.requests.get(at))
        {
            let area = frame.area().inner(ratatui::layout::Margin { horizontal: 4, vertical: 2 });
            frame.render_widget(Clear, area);
            let block = Block::bordered().title(format!(" request {} ", request.id));
            frame.render_widget(Paragraph::new(whole(request, now())).wrap(Wrap { trim: false }).block(block), area);
        }
    }

    fn head(&self, frame: &mut Frame<'_>, area: Rect) {
        let Status { version, health, sessions, policies, .. } = &self.seen.status;
        let [permit, deny, hold] = self.rates;
        let color = if health == "ok" { Color::Green } else { Color::Red };
        let line = Line::from(vec![
            Span::from(format!("interceptor {version}  ")).add_modifier(Modifier::BOLD),
            Span::from(health.clone()).fg(color),
            Span::from(format!("  {sessions} sessions  {policies} policies   a second: ")),
            Span::from(format!("{permit:.1} permitted")).fg(Color::Green),
            Span::from("  "),
            Span::from(format!("{deny:.1} denied")).fg(Color::Red),
            Span::from("  "),
            Span::from(format!("{hold:.1} held")).fg(Color::Yellow),
        ]);
        frame.render_widget(Paragraph::new(line).block(Block::bordered()), area);
    }

    fn requests(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let now = now();
        let rows = self.seen.requests.iter().map(|request| {
            let asked = &request.asked;
            let effect = asked.preview.as_ref().and_then(|preview| preview.effect.as_ref()?.affected);
            let statement = asked.statement.split_whitespace().collect::<Vec<_>>().join(" ");
            Row::new(vec![
                Cell::from(request.id.clone()),
                Cell::from(request.state.to_string()),
                Cell::from(plain(&asked.agent)),
                Cell::from(plain(&asked.needs.keys().cloned().collect::<Vec<_>>().join(", "))),
                Cell::from(format!("{} s", request.expires_at.saturating_sub(now))),
                Cell::from(effect.map(|rows| rows.to_string()).unwrap_or_default()),
                Cell::from(plain(&statement)),
            ])
        });
        let widths = [8, 9, 20, 12, 7, 7].map(Constraint::Length);
        let widths = widths.into_iter().chain([Constraint::Fill(1)]);
        let head = Row::new(["request", "state", "agent", "needs", "ends in", "rows", "statement"]).bold();
        let title = format!(" waiting for a human: {} ", self.seen.requests.len());
        let table = Table::new(rows, widths)
            .header(head)
            .block(Block::bordered().title(title))
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, area, &mut self.chosen);
    }

    fn sessions(&self, frame: &mut Frame<'_>, area: Rect) {
        let rows = self.seen.sessions.iter().map(|session| {
            Row::new(vec![
                plain(&session.agent),
                plain(session.on_behalf_of.as_deref().unwrap_or("-")),
                plain(&format!("{} ({})", session.exe, session.pid)),
                plain(&format!("{} on {}", session.database, session.server)),
                plain(session.since.get(..19).unwrap_or(&session.since)),
            ])
        });
        let widths = [Constraint::Length(20), Constraint::Length(16), Constraint::Fill(2), Constraint::Fill(2)];
        let widths = widths.into_iter().chain([Constraint::Length(19)]);
        let head = Row::new(["agent", "acts for", "program", "database", "since"]).bold();
        let title = format!(" sessions: {} ", self.seen.sessions.len());
        frame.render_widget(Table::new(rows, widths).header(head).block(Block::bordered().title(title)), area);
    }

    /// The screen as text, for pipes and tests.
    fn as_text(&mut self, width: u16, height: u16) -> Result<String> {
        let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height))?;
        terminal.draw(|frame| self.draw(frame))?;
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content.chunks(usize::from(width));
        let line = |cells: &[ratatui::buffer::Cell]| {
            let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
            format!("{}\n", line.trim_end())
        };
        Ok(rows.map(line).collect())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::Asked;

    fn status(decided: [u64; 3]) -> Status {
        Status {
            version: "1".into(),
            pid: 1,
            since: String::new(),
            capture: String::new(),
            policies: 3,
            policy_digest: String::new(),
            sessions: 1,
            health: "ok".into(),
            reasons: Vec::new(),
            observed: None,
            missing: Vec::new(),
            guards: Vec::new(),
            absent: Vec::new(),
            exempt: Vec::new(),
            issuers: Vec::new(),
            audit_seq: 0,
            decided,
            kernel: Vec::new(),
        }
    }

    #[test]
    fn a_look_is_drawn_and_draws_nothing_of_its_own() {
        let request = Request {
            id: "1f2e3d4c".into(),
            state: State::Open,
            asked_at: 0,
            expires_at: 0,
            waiting: 1,
            repeats: 0,
            voices: Vec::new(),
            outcome: None,
            asked: Asked { agent: "agent:a".into(), statement: "delete\n\u{1b}[2Jfrom t".into(), ..Asked::default() },
        };
        let at = Instant::now();
        let first = Seen { status: status([10, 0, 0]), sessions: Vec::new(), requests: Vec::new(), at };
        let mut screen = Screen::new(first);
        let at = at + Duration::from_secs(2);
        screen.take(Seen { status: status([14, 1, 0]), sessions: Vec::new(), requests: vec![request], at });
        let text = screen.as_text(110, 24).unwrap();
        assert!(text.contains("2.0 permitted  0.5 denied  0.0 held"), "{text}");
        assert!(text.contains("waiting for a human: 1"), "{text}");
        assert!(text.contains("delete \\u{1b}[2Jfrom t"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        screen.whole = true;
        assert!(screen.as_text(110, 24).unwrap().contains("request 1f2e3d4c"));
    }
}
