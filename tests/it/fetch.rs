//! Encoders from the hub: fetched once, checked against the hub's own hashes, then locked. Served here on loopback.

use crate::support::{Outcome, TestEnv, repository};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A hub with one model, `someone/tiny`.
struct Hub {
    files: BTreeMap<String, Vec<u8>>,
    /// Announces wrong hashes.
    lies: bool,
}

impl Hub {
    fn start(lies: bool) -> String {
        let folder = repository("tests/fixtures/encoders/bert");
        let mut files = BTreeMap::new();
        for entry in walk(&folder) {
            let name = entry.strip_prefix(&folder).unwrap().to_string_lossy().replace('\\', "/");
            files.insert(name, std::fs::read(&entry).unwrap());
        }
        let hub = Arc::new(Hub { files, lies });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = hub.clone();
                std::thread::spawn(move || hub.serve(stream));
            }
        });
        address
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let mut request = String::new();
            if reader.read_line(&mut request).unwrap_or(0) == 0 {
                return;
            }
            let mut range = None;
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).unwrap();
                let header = header.trim().to_ascii_lowercase();
                if header.is_empty() {
                    break;
                }
                if let Some(bytes) = header.strip_prefix("range: bytes=") {
                    let (from, to) = bytes.split_once('-').unwrap();
                    range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().ok()));
                }
            }
            let path = request.split(' ').nth(1).unwrap().to_string();
            if stream.write_all(&self.answer(&path, range)).is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str, range: Option<(usize, Option<usize>)>) -> Vec<u8> {
        if path.starts_with("/api/models/someone/tiny") {
            let siblings: Vec<String> =
                self.files.keys().map(|name| format!("{{\"rfilename\": \"{name}\"}}")).collect();
            let body = format!("{{\"siblings\": [{}], \"sha\": \"{}\"}}", siblings.join(","), "c".repeat(40));
            return response("200 OK", "", body.as_bytes());
        }
        let Some(file) = path.strip_prefix("/someone/tiny/resolve/main/").and_then(|name| self.files.get(name)) else {
            return response("404 Not Found", "", b"");
        };
        let mut hash = match path.ends_with(".safetensors") {
            true => parallax::storage::sha256(&[file]),
            false => git_hash(file),
        };
        if self.lies {
            hash = hash.chars().rev().collect();
        }
        let (from, to) = range.map_or((0, file.len() - 1), |(from, to)| (from, to.unwrap_or(file.len() - 1)));
        let to = to.min(file.len() - 1);
        let headers = format!(
            "etag: \"{hash}\"\r\nx-repo-commit: {}\r\ncontent-range: bytes {from}-{to}/{}\r\n",
            "c".repeat(40),
            file.len()
        );
        response("206 Partial Content", &headers, &file[from..=to])
    }
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn git_hash(bytes: &[u8]) -> String {
    use sha1::{Digest, Sha1};
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { paths.extend(walk(&path)) } else { paths.push(path) }
    }
    paths
}

fn build(env: &TestEnv, endpoint: &str) -> Outcome {
    let output = env
        .command()
        .env("HF_ENDPOINT", endpoint)
        .args(["build-index", "c.jsonl", "--name", "hub", "--force", "--encoder", "someone/tiny"])
        .output()
        .unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.write("c.jsonl", "{\"_id\": \"a\", \"text\": \"alpha\"}\n{\"_id\": \"b\", \"text\": \"beta\"}\n");
    env
}

#[test]
fn a_model_is_fetched_once_and_locked() {
    let env = env();
    let endpoint = Hub::start(false);
    let first = build(&env, &endpoint);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stderr.contains("fetching someone/tiny"));
    // Nothing listens there: the cache answers alone.
    let second = build(&env, "http://127.0.0.1:1");
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert!(env.ok("query hub alpha --json").contains("\"a\""));
    // A weight that changed behind the lock is refused.
    let weights = walk(&env.path("cache")).into_iter().find(|path| path.ends_with("model.safetensors")).unwrap();
    let weights = std::fs::canonicalize(weights).unwrap();
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let third = build(&env, &endpoint);
    assert_eq!(third.code, 1);
    assert!(third.stderr.contains("sha256") && third.stderr.contains("fetch `someone/tiny` again"), "{}", third.stderr);
}

#[test]
fn bytes_that_are_not_what_the_hub_announced_are_thrown_away() {
    let env = env();
    let refused = build(&env, &Hub::start(true));
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("the hub announced"), "{}", refused.stderr);
    assert!(!env.path("indexes/hub/CURRENT").exists());
}

#[test]
fn no_network_is_said_clearly() {
    let refused = build(&env(), "http://127.0.0.1:1");
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("could not fetch `someone/tiny`") && refused.stderr.contains("without a network"),
        "{}",
        refused.stderr
    );
}
