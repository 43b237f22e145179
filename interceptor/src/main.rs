//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    interceptor::cli::main()
}
