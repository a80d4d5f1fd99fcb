//! The README's commands work as they stand there.

use crate::support::{TestEnv, repository};

#[test]
fn every_command_of_the_readme_that_needs_no_download_runs() {
    let env = TestEnv::new();
    std::os::unix::fs::symlink(repository("corpus"), env.path("corpus")).unwrap();
    let readme = std::fs::read_to_string(repository("README.md")).unwrap();
    let mut ran = 0;
    for line in readme.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let line = line.split("  #").next().unwrap().trim();
        let words = line.strip_prefix("cargo run --release -- ").or_else(|| line.strip_prefix("parallax "));
        // Lines with `$DATA` need the real collections and minutes; they are run by hand.
        let Some(words) = words.filter(|words| !words.contains("$DATA")) else { continue };
        let outcome = env.run_words(&split(words).iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(outcome.code, 0, "{line}\n{}{}", outcome.stdout, outcome.stderr);
        ran += 1;
    }
    assert!(ran >= 5, "{ran}");
}

/// Words as a shell splits them, double quotes kept together.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('"').enumerate() {
        if i % 2 == 1 {
            words.push(part.to_string())
        } else {
            words.extend(part.split_whitespace().map(str::to_string))
        }
    }
    words
}
