//! What an operator types.

mod approvals;
mod audit;
mod ca;
mod configuration;
mod console;
mod doctor;
mod enroll;
mod exec;
mod install;
mod policy;
mod run;
mod sessions;
mod status;
mod table;
mod talk;
mod top;

use crate::config;
use crate::telemetry::Format;
use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Least privilege for the PostgreSQL connections of AI agents and CI jobs, on the host itself.
#[derive(Debug, Parser)]
#[command(name = "interceptor", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    #[command(
        after_help = "Examples:\n  interceptor run\n  interceptor run --config /etc/interceptor/interceptor.toml --log json"
    )]
    Run {
        /// Configuration file
        #[arg(long, value_name = "FILE", default_value = config::DEFAULT)]
        config: PathBuf,
        /// How log lines on standard error look
        #[arg(long, value_enum, default_value_t)]
        log: Format,
    },
    /// Look whether this host can be captured and, with a configuration, whether it is sound
    #[command(
        after_help = "Exit status: 0 if all is well, 2 if something is missing.\n\nExamples:\n  interceptor doctor\n  interceptor doctor --config /etc/interceptor/interceptor.toml --json"
    )]
    Doctor {
        /// Configuration file to look at as well
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look at the configuration file
    #[command(subcommand)]
    Config(configuration::Configuration),
    /// Show the state of the running daemon
    #[command(after_help = "Examples:\n  interceptor status\n  interceptor status --coverage --json")]
    Status(status::Status),
    /// Show the open sessions, or end some
    #[command(after_help = "Examples:\n  interceptor sessions --json\n  interceptor sessions kill 3f2a9c0d11aa22bb")]
    Sessions(sessions::Sessions),
    /// Give a job its token, or take it back: what a job runner does before and after
    #[command(
        after_help = "The token holds for what runs in the cgroup, or for the process and what it starts, before any other source, and for nobody else; it is gone with the cgroup or the process. Enrolling again replaces it: sessions of the same agent go on.\n\nExamples:\n  interceptor enroll --cgroup /sys/fs/cgroup/ci/job-17 --token-file /run/ci/job-17.jwt\n  interceptor enroll --pid 4711 --token-file -\n  interceptor enroll --cgroup ci/job-17 --revoke\n  interceptor enroll --list --json"
    )]
    Enroll(enroll::Enroll),
    /// Run a command as an agent, in a captured cgroup that ends with it
    #[command(
        after_help = "The exit status is the command's, 128 and more for signals. What the command has left running ends with it.\n\nExamples:\n  interceptor exec --token-file /run/ci/job-17.jwt -- make migrate\n  interceptor exec --token-file - --user ci --within ci.slice -- ./run-job < job-17.jwt"
    )]
    Exec(exec::Exec),
    /// Install this program as a system service, on hosts without packages
    #[command(
        after_help = "Writes the program, a systemd unit, the default configuration and policies, completions and manual pages. What is there already of configuration and policies stays.\n\nExamples:\n  interceptor install --dry-run\n  sudo interceptor install && sudo systemctl enable --now interceptor"
    )]
    Install(install::Install),
    /// Take away what `install` has written, and the kernel programs
    #[command(after_help = "Examples:\n  sudo interceptor uninstall\n  sudo interceptor uninstall --purge")]
    Uninstall(install::Uninstall),
    /// Look at what waits for a human, and decide it
    #[command(subcommand)]
    Approvals(approvals::Approvals),
    /// Watch sessions, requests and decisions in the terminal
    #[command(
        after_help = "Keys: q leaves, arrows choose a request, enter shows it.\n\nExamples:\n  interceptor top\n  interceptor top --every 5\n  interceptor top --once"
    )]
    Top(top::Top),
    /// Print a link into the console, good once and for a minute
    #[command(
        after_help = "Whoever opens it is in the console as who the token says, or as root of this host without one; root may deny, and approve where `local_root = true` in [approval].\n\nExamples:\n  interceptor console\n  interceptor console --token-file ~/.oidc-token"
    )]
    Console(console::Console),
    /// Show the CA that agents have to trust if they verify certificates, or write its certificate out
    Ca(ca::Ca),
    /// Look at the record
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Work on policies
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Take the kernel programs out: from then on nothing is captured
    #[command(
        after_help = "The daemon's end leaves them in place, so that connections fail instead of going direct. Only this takes them out.\n\nExamples:\n  interceptor detach\n  interceptor detach --instance ci --audit /var/lib/interceptor/audit\n  interceptor detach --config /etc/interceptor/interceptor.toml"
    )]
    Detach {
        /// Which instance, as `[capture] instance` names it
        #[arg(long, default_value = "default", conflicts_with = "config")]
        instance: String,
        /// The instance that this configuration file names, whatever else is wrong with it
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Audit folder to put it on record in
        #[arg(long, value_name = "DIR")]
        audit: Option<PathBuf>,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  interceptor completions bash > /etc/bash_completion.d/interceptor")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Manual {
        /// The folder
        dir: PathBuf,
    },
}

/// Runs the command line and returns its exit status.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("interceptor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { config, log } => run::run(&config, log),
        Command::Doctor { config, json } => doctor::doctor(config.as_deref(), json),
        Command::Config(command) => configuration::configuration(&command),
        Command::Status(command) => status::status(&command),
        Command::Sessions(command) => sessions::sessions(command),
        Command::Enroll(command) => enroll::enroll(command),
        Command::Console(console) => console::console(console),
        Command::Top(top) => top::top(&top),
        Command::Exec(command) => exec::exec(command),
        Command::Install(command) => install::install(&command, Cli::command()),
        Command::Uninstall(command) => install::uninstall(&command),
        Command::Approvals(command) => approvals::approvals(command),
        Command::Ca(ca) => ca::ca(ca),
        Command::Audit(audit) => audit::audit(audit),
        Command::Policy(policy) => policy::policy(policy),
        Command::Detach { instance, config, audit } => {
            run::detach(&run::instance_of(config.as_deref(), instance)?, audit)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "interceptor", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Manual { dir } => {
            std::fs::create_dir_all(&dir)?;
            clap_mangen::generate_to(Cli::command(), &dir)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
