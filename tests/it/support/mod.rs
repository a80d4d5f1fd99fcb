//! A folder and a command of its own for every test, and output made comparable.

pub mod browser;

use assert_cmd::Command;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A test's own folder, and the program run inside it.
pub struct TestEnv {
    folder: TempDir,
}

/// What a command did.
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl TestEnv {
    pub fn new() -> Self {
        TestEnv { folder: tempfile::tempdir().unwrap() }
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the test's folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program, with nothing of the caller's environment that could change what it says.
    pub fn command(&self) -> Command {
        let mut command = Command::cargo_bin("parallax").unwrap();
        command.current_dir(self.folder.path());
        for name in ["PARALLAX_INDEXES", "PARALLAX_THREADS", "PARALLAX_CACHE", "NO_COLOR", "CLICOLOR_FORCE", "COLUMNS"]
        {
            command.env_remove(name);
        }
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
    }

    /// Runs the program with words separated by spaces.
    pub fn run(&self, words: &str) -> Outcome {
        self.run_words(&words.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs the program with words that may hold spaces.
    pub fn run_words(&self, words: &[&str]) -> Outcome {
        self.finish(self.command().args(words))
    }

    /// Runs the program with something on its standard input.
    pub fn run_with_input(&self, words: &str, input: &str) -> Outcome {
        self.finish(self.command().args(words.split_whitespace()).write_stdin(input))
    }

    fn finish(&self, command: &mut Command) -> Outcome {
        let output = command.output().unwrap();
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: self.normal(&String::from_utf8_lossy(&output.stdout)),
            stderr: self.normal(&String::from_utf8_lossy(&output.stderr)),
        }
    }

    /// Runs a command that has to succeed, and gives its standard output.
    pub fn ok(&self, words: &str) -> String {
        let outcome = self.run(words);
        assert_eq!(outcome.code, 0, "parallax {words}\n{}{}", outcome.stdout, outcome.stderr);
        outcome.stdout
    }

    /// Takes out what differs from run to run: this test's folder and measured times.
    fn normal(&self, text: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let text = text.replace(&format!("{folder}/"), "");
        let time = regex::Regex::new(r"\b\d+ m \d+ s\b|\b\d+(\.\d+)? m?s\b").unwrap();
        time.replace_all(&text, "[time]").into_owned()
    }
}

/// Indexes the bundled collection as `b`; gives the path of its held-out questions.
pub fn bundled(env: &TestEnv) -> String {
    let (train, dev) = (repository("corpus/train.json"), repository("corpus/dev.json"));
    let words = ["build-index", train.to_str().unwrap(), dev.to_str().unwrap(), "--name", "b"];
    let outcome = env.run_words(&words);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    dev.to_str().unwrap().to_string()
}

/// A collection folder of the repository.
pub fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Something a test needs from outside, named by an environment variable; says what was left out without it.
///
/// With `PARALLAX_TEST_ALL` set, nothing may be left out.
pub fn needed(variable: &str, what: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(path) if !path.is_empty() => Some(PathBuf::from(path)),
        _ => {
            assert!(std::env::var_os("PARALLAX_TEST_ALL").is_none(), "left out: {what} (set {variable})");
            println!("left out: {what} (set {variable})");
            None
        }
    }
}
