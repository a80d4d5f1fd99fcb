//! Every help screen as a snapshot: a change to the command line is seen in review.

use crate::support::TestEnv;

#[test]
fn every_help_screen_is_as_reviewed() {
    let env = TestEnv::new();
    let commands = [
        "",
        "build-index",
        "query",
        "compare",
        "audit",
        "mine-negatives",
        "train",
        "loop",
        "info",
        "check",
        "convert",
        "distill",
        "demo",
    ];
    for command in commands {
        let screen = env.ok(&format!("{command} --help"));
        let name = if command.is_empty() { "parallax" } else { command };
        insta::assert_snapshot!(format!("help-{name}"), screen.replace(env!("CARGO_PKG_VERSION"), "[version]"));
    }
    assert!(env.ok("--version").starts_with("parallax "));
}
