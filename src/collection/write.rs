//! Writers: a collection in BEIR's, DPR's or plain JSON lines' layout, training examples, and TREC runs.
//!
//! Sources go in as the readers take them; a folder of files comes out, ids unchanged. Passages are streamed, queries
//! are held one source at a time. What a layout has no room for is counted in [`ConvertSummary::losses`], never
//! dropped in silence:
//!
//! | target | files | cannot hold |
//! | --- | --- | --- |
//! | [`Target::Beir`] | `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv` | – (answers go to `metadata`) |
//! | [`Target::Dpr`] | `passages.tsv`, `questions.tsv` | ids of questions, judgments, line breaks |
//! | [`Target::Jsonl`] | `passages.jsonl`, `queries.jsonl` | grades other than 1 |
//!
//! [`ExampleWriter`] writes training examples in six layouts, and says what each cannot hold, too.
//!
//! What was written can be read again. Each file appears under its name when it is complete.
//!
//! ```
//! use parallax::collection::{run::{Ranking, Run}, write::trec_run};
//! let mut run = Run::new("bm25");
//! run.insert("q1".into(), Ranking::new(vec![("a".into(), 2.5), ("b".into(), 2.5), ("c".into(), 3.0)]));
//! let mut out = Vec::new();
//! trec_run(&run, &mut out)?;
//! // Equal scores stand as trec_eval reads them: by id, descending.
//! assert_eq!(String::from_utf8_lossy(&out), "q1 Q0 c 1 3 bm25\nq1 Q0 b 2 2.5 bm25\nq1 Q0 a 3 2.5 bm25\n");
//! # Ok::<(), parallax::Error>(())
//! ```
//!
//! Sources: the layouts of BEIR (Thakur et al., 2021) and DPR (Karpukhin et al., 2020); trec_eval's run format.

mod convert;
mod examples;
mod losses;
mod output;

pub use super::examples::ExampleFormat;
pub use convert::{ConvertSummary, Target, convert};
pub use examples::{ExampleWriter, WrittenExamples};
pub use output::Output;

use super::run::{Run, trec_order};
use crate::error::{Error, ErrorKind, Result};
use std::io::Write;

/// Writes a run in TREC's format: `query Q0 passage rank score tag`, ranks from 1, in trec_eval's order.
///
/// Scores have the fewest digits that read back as the same number. White space in the run's name becomes `_`; in an
/// id it is an error, since no reader could tell where the id ends.
pub fn trec_run(run: &Run, out: &mut dyn Write) -> Result<()> {
    let tag: String = run.name.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
    let tag = if tag.is_empty() { "run" } else { &tag };
    let check = |id: &str| match id.chars().any(char::is_whitespace) {
        true => Err(Error::bad_input(format!("the id `{id:.80}` holds white space, which a TREC run cannot"))
            .hint("write JSON instead, or rename the records")),
        false => Ok(()),
    };
    for (query, ranking) in run.iter() {
        check(query.as_str())?;
        for (rank, (passage, score)) in trec_order(ranking).into_iter().enumerate() {
            check(passage.as_str())?;
            writeln!(out, "{query} Q0 {passage} {} {score} {tag}", rank + 1)
                .map_err(|e| Error::new(ErrorKind::Io, "could not write the run").because(e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::PassageId;
    use crate::collection::read::{self, Source};
    use crate::collection::run::Ranking;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_run_reads_back_bit_for_bit(
            entries in prop::collection::vec(("[a-c]", "[#가-나a-z0-9]{1,3}", prop::num::f64::NORMAL | prop::num::f64::ZERO), 1..30),
        ) {
            let mut rankings: BTreeMap<String, Vec<(PassageId, f64)>> = BTreeMap::new();
            for (query, passage, score) in entries {
                rankings.entry(query).or_default().push((passage.into(), score));
            }
            let mut run = Run::new("my system");
            for (query, scored) in rankings {
                run.insert(query.into(), Ranking::new(scored));
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("run");
            let mut out = Vec::new();
            trec_run(&run, &mut out).unwrap();
            fs_err::write(&path, &out).unwrap();
            let back = read::run(&Source::new(&path), None).unwrap();
            prop_assert_eq!(&back.name, "my_system");
            run.name = "my_system".into();
            prop_assert_eq!(back, run);
        }
    }

    #[test]
    fn ids_that_a_run_cannot_hold_are_refused() {
        for (query, passage) in [("a b", "c"), ("a", "b\u{a0}c")] {
            let mut run = Run::new("x");
            run.insert(query.into(), Ranking::new(vec![(passage.into(), 1.0)]));
            assert!(trec_run(&run, &mut Vec::new()).unwrap_err().to_string().contains("white space"));
        }
    }
}
