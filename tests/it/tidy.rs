//! The house rules a machine can keep: floors, walls, file sizes.

use crate::support::repository;
use std::path::{Path, PathBuf};

/// Rooms by floor, lowest first. A room may use rooms of lower floors, and its own.
const FLOORS: [&[&str]; 7] = [
    &["error", "progress", "process", "random", "storage", "text", "kernel", "collection"],
    &["encoder", "fusion", "eval"],
    &["sparse", "dense", "train"],
    &["index"],
    &["search"],
    &["compare", "mining"],
    &["learn"],
];

/// Foreign crates and the only rooms that may name them.
const WALLS: [(&str, &[&str]); 11] = [
    ("tantivy", &["sparse/"]),
    ("candle_core", &["encoder/", "train/"]),
    ("candle_nn", &["encoder/", "train/"]),
    ("candle_transformers", &["encoder/", "train/"]),
    ("tokenizers", &["encoder/", "train/"]),
    ("gemm", &["kernel/"]),
    ("hf_hub", &["cli/fetch.rs"]),
    ("hnsw_rs", &["dense/build_hnsw_rs.rs"]),
    ("memmap2", &["storage.rs"]),
    ("maud", &["compare/report/"]),
    ("clap", &["cli/"]),
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Every source file with its path below `src` and its code, tests and comments taken off.
fn code() -> Vec<(String, String)> {
    let root = repository("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    assert!(paths.len() > 40, "the walk found the sources");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap().to_string();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        (name, lines.collect::<Vec<_>>().join("\n"))
    };
    paths.into_iter().map(read).collect()
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let path = regex::Regex::new(r"\bcrate::(?:\{)?([a-z_]+)").unwrap();
    for (name, code) in code() {
        let room = name.split(['/', '.']).next().unwrap();
        let Some(floor) = floor_of(room) else { continue };
        for used in path.captures_iter(&code).map(|found| found[1].to_string()) {
            let Some(other) = floor_of(&used) else { continue };
            let allowed = other < floor || used == room || (other == 0 && floor == 0);
            assert!(allowed, "{name} uses `{used}`, which is not below `{room}`");
        }
    }
}

#[test]
fn a_foreign_crate_has_one_wall() {
    for (name, code) in code() {
        for (foreign, rooms) in WALLS {
            let word = regex::Regex::new(&format!(r"\b{foreign}\b(::|\s*;|\s+as\b)")).unwrap();
            let inside = rooms.iter().any(|room| name.starts_with(room));
            assert!(inside || !word.is_match(&code), "{name} names `{foreign}` outside its wall");
        }
    }
}

#[test]
fn unsafe_code_stays_in_the_kernel_and_behind_the_map() {
    // `unsafe-inline` is a word of web pages.
    let word = regex::Regex::new(r"\bunsafe\b(?:[^-]|$)").unwrap();
    for (name, code) in code() {
        let allowed = name.starts_with("kernel/") || name == "storage.rs";
        assert!(allowed || !word.is_match(&code), "{name} is unsafe outside `kernel` and `storage`");
    }
}

#[test]
fn files_stay_small_enough_to_read() {
    for (name, code) in code() {
        let lines = code.lines().count();
        assert!(lines <= 450, "{name} has {lines} lines of code: cut it at its seam");
    }
}
