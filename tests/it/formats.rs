//! Files of ours: damaged ones are refused or answer, but nothing ever panics or reads outside a file.

use crate::support::{TestEnv, repository};
use parallax::dense::SearchHow;
use parallax::{Index, Silent, Weighting};
use std::path::{Path, PathBuf};

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

/// Opens an index and uses everything a query walks; whatever happens, it must not panic.
fn use_it(folder: &Path) -> parallax::Result<()> {
    let index = Index::open(folder)?;
    let ranking = index.sparse().search("alpha beta moon gamma", &Weighting::default(), 10)?;
    index.sparse().search("alpha moon", &Weighting::TfIdf, 10)?;
    for (ordinal, _) in ranking.iter() {
        index.sparse().passage(*ordinal)?;
        index.sparse().judged_id(*ordinal)?;
        index.sparse().explain("alpha moon", &Weighting::default(), *ordinal)?;
    }
    if let Some(dense) = index.dense() {
        let query = vec![0.05; dense.dimension()];
        dense.search(&query, 5, SearchHow::Exact)?;
        dense.search(&query, 5, SearchHow::Graph { ef: 20 })?;
    }
    Ok(())
}

#[test]
fn whatever_is_damaged_nothing_panics_and_a_deep_check_finds_it() {
    let env = TestEnv::new();
    let texts = ["alpha beta gamma", "the moon and the tide", "alpha moon", "delta", "beta beta beta gamma alpha"];
    let lines =
        (0..40).map(|i| format!("{{\"_id\": \"p{i}\", \"title\": \"t{i}\", \"text\": \"{}\"}}\n", texts[i % 5]));
    env.write("c.jsonl", lines.collect::<String>());
    env.ok("build-index c.jsonl --name x --vectors int8");
    env.ok("build-index c.jsonl --name half --vectors f16");
    let mut paths = Vec::new();
    files(&env.path("indexes/x/gen-1"), &mut paths);
    assert!(paths.len() > 7 && paths.iter().any(|path| path.ends_with("dense/int8.bin")));
    paths.push(env.path("indexes/half/gen-1/dense/rows.bin"));
    let mut tried = 0;
    for path in paths {
        let folder = env.path(if path.starts_with(env.path("indexes/half")) { "indexes/half" } else { "indexes/x" });
        use_it(&folder).unwrap();
        let good = std::fs::read(&path).unwrap();
        // Every byte of small files, a stride of large ones: the same places in every run.
        let step = (good.len() / 150).max(1);
        for at in (0..good.len()).step_by(step) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            let _ = use_it(&folder);
            let found = Index::open(&folder).and_then(|index| index.check(&Silent).map(|_| ()));
            assert!(found.is_err(), "{} byte {at} was not found", path.display());
            tried += 1;
        }
        for length in [0, 1, 7, good.len() / 2, good.len().saturating_sub(1)] {
            std::fs::write(&path, &good[..length.min(good.len())]).unwrap();
            // Its last byte is the manifest's final newline, which says nothing.
            if length < good.len() && !(path.ends_with("manifest.json") && length + 1 == good.len()) {
                assert!(use_it(&folder).is_err(), "{} cut to {length}", path.display());
            }
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert!(tried > 500, "{tried}");
    use_it(&env.path("indexes/x")).unwrap();
}

#[test]
fn an_index_of_format_1_opens_for_ever() {
    // Built once by `build-index three.jsonl --name format-1 --encoder tests/fixtures/encoders/bert --weight 0.5`.
    let index = Index::open(&repository("tests/fixtures/indexes/format-1")).unwrap();
    index.check(&Silent).unwrap();
    let first = |question: &str| {
        let ranking = index.sparse().search(question, &Weighting::default(), 3).unwrap();
        let (ordinal, _) = ranking.iter().next().unwrap();
        index.sparse().passage(*ordinal).unwrap()
    };
    assert_eq!(first("moons").title, "Moon");
    assert_eq!(first("한글을 누가").id.as_str(), "sejong");
    // Manifests of then name no precision; there was but one.
    assert_eq!(index.manifest().dense.as_ref().unwrap().passage_encoder.precision, "f32");
    let dense = index.dense().unwrap();
    for how in [SearchHow::Exact, SearchHow::Graph { ef: 10 }] {
        let ranking = dense.search(&dense.rows().row(1), 1, how).unwrap();
        assert_eq!(ranking.iter().map(|(ordinal, _)| ordinal.0).collect::<Vec<_>>(), [1]);
    }
}
