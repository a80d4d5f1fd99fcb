//! The command line: parse, run, exit.

mod cli;

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(cli::run(std::env::args_os().collect()))
}
