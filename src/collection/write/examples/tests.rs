//! What leaves, byte for byte, and what comes back.

use super::*;
use crate::collection::examples::{Provenance, SideScore};
use crate::collection::read::{self, ExamplesSummary, ReadOptions, Source};
use crate::collection::{PassageId, Query, QueryId};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn passage(id: &str, title: &str, text: &str, provenance: Option<Provenance>) -> ExamplePassage {
    ExamplePassage { id: id.into(), title: title.into(), text: text.into(), provenance }
}

fn trace() -> Provenance {
    Provenance {
        source: "sparse".into(),
        rank: Some(2),
        sparse: Some(SideScore { rank: Some(2), score: 11.25 }),
        dense: Some(SideScore { rank: None, score: -0.5 }),
        teacher: None,
        verdict: "negative".into(),
        reason: String::new(),
    }
}

/// One query with two positives and two negatives, one of them traced.
fn example() -> TrainingExample {
    let mut query = Query::new("q1", "누가 \"빛\"을 쟀나");
    query.answers = vec!["뢰머".into()];
    TrainingExample {
        query,
        positives: vec![passage("p1", "빛", "뢰머가 쟀다.", None), passage("p2", "", "It was Rømer.", None)],
        negatives: vec![passage("n1", "Light", "Its speed.", Some(trace())), passage("n2", "", "Dark.\nNight.", None)],
    }
}

fn written(format: ExampleFormat, n: usize, examples: &[TrainingExample]) -> (String, WrittenExamples) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mut writer = ExampleWriter::create(&path, format, n).unwrap();
    examples.iter().for_each(|example| writer.write(example).unwrap());
    let written = writer.finish().unwrap();
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    (fs_err::read_to_string(path).unwrap(), written)
}

fn read_back(text: &str) -> (Vec<TrainingExample>, ExamplesSummary) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs_err::write(&path, text).unwrap();
    let mut all = Vec::new();
    let summary = read::examples(&Source::new(&path), &ReadOptions::default(), &mut |example| {
        all.push(example);
        Ok(())
    });
    (all, summary.unwrap())
}

#[test]
fn every_layout_is_written_as_its_tool_reads_it() {
    let check = |format: ExampleFormat, want: &str| assert_eq!(written(format, 2, &[example()]).0, want, "{format}");
    check(
        ExampleFormat::Parallax,
        "{\"query_id\":\"q1\",\"query\":\"누가 \\\"빛\\\"을 쟀나\",\"answers\":[\"뢰머\"],\
         \"positives\":[{\"id\":\"p1\",\"title\":\"빛\",\"text\":\"뢰머가 쟀다.\"},{\"id\":\"p2\",\"text\":\"It was Rømer.\"}],\
         \"negatives\":[{\"id\":\"n1\",\"title\":\"Light\",\"text\":\"Its speed.\",\"source\":\"sparse\",\"rank\":2,\
         \"sparse\":{\"rank\":2,\"score\":11.25},\"dense\":{\"score\":-0.5},\"verdict\":\"negative\"},\
         {\"id\":\"n2\",\"text\":\"Dark.\\nNight.\"}]}\n",
    );
    check(
        ExampleFormat::Dpr,
        "[\n{\"query_id\":\"q1\",\"question\":\"누가 \\\"빛\\\"을 쟀나\",\"answers\":[\"뢰머\"],\"positive_ctxs\":[\
         {\"title\":\"빛\",\"text\":\"뢰머가 쟀다.\",\"score\":1000.0,\"title_score\":1,\"passage_id\":\"p1\"},\
         {\"title\":\"\",\"text\":\"It was Rømer.\",\"score\":1000.0,\"title_score\":1,\"passage_id\":\"p2\"}],\
         \"negative_ctxs\":[],\"hard_negative_ctxs\":[\
         {\"title\":\"Light\",\"text\":\"Its speed.\",\"score\":11.25,\"title_score\":0,\"passage_id\":\"n1\"},\
         {\"title\":\"\",\"text\":\"Dark.\\nNight.\",\"score\":0.0,\"title_score\":0,\"passage_id\":\"n2\"}]}\n]\n",
    );
    check(
        ExampleFormat::Tevatron,
        "{\"query_id\":\"q1\",\"query\":\"누가 \\\"빛\\\"을 쟀나\",\"answers\":[\"뢰머\"],\"positive_passages\":[\
         {\"docid\":\"p1\",\"title\":\"빛\",\"text\":\"뢰머가 쟀다.\"},{\"docid\":\"p2\",\"title\":\"\",\"text\":\"It was Rømer.\"}],\
         \"negative_passages\":[{\"docid\":\"n1\",\"title\":\"Light\",\"text\":\"Its speed.\"},\
         {\"docid\":\"n2\",\"title\":\"\",\"text\":\"Dark.\\nNight.\"}]}\n",
    );
    check(
        ExampleFormat::FlagEmbedding,
        "{\"query\":\"누가 \\\"빛\\\"을 쟀나\",\"pos\":[\"빛 뢰머가 쟀다.\",\"It was Rømer.\"],\
         \"neg\":[\"Light Its speed.\",\"Dark.\\nNight.\"],\"query_id\":\"q1\",\"pos_id\":[\"p1\",\"p2\"],\"neg_id\":[\"n1\",\"n2\"]}\n",
    );
    let head = |positive: &str| format!("{{\"anchor\":\"누가 \\\"빛\\\"을 쟀나\",\"positive\":\"{positive}\"");
    let (first, second) = (head("빛 뢰머가 쟀다."), head("It was Rømer."));
    let (light, dark) = ("Light Its speed.", "Dark.\\nNight.");
    check(
        ExampleFormat::Triplets,
        &format!(
            "{first},\"negative\":\"{light}\"}}\n{first},\"negative\":\"{dark}\"}}\n\
             {second},\"negative\":\"{light}\"}}\n{second},\"negative\":\"{dark}\"}}\n"
        ),
    );
    let both = format!("\"negative_1\":\"{light}\",\"negative_2\":\"{dark}\"}}\n");
    check(ExampleFormat::NTuples, &format!("{first},{both}{second},{both}"));
}

#[test]
fn what_a_layout_cannot_hold_is_counted() {
    let mut alone = example();
    alone.negatives.clear();
    let losses = |format, n| {
        let (_, written) = written(format, n, &[example(), alone.clone()]);
        ((written.examples, written.rows, written.negatives), written.losses)
    };
    let traces = "1 traces of where passages came from: the format has none";
    assert_eq!(losses(ExampleFormat::Parallax, 0), ((2, 2, 2), vec![]));
    assert_eq!(losses(ExampleFormat::Dpr, 0), ((2, 2, 2), vec![traces.into()]));
    assert_eq!(losses(ExampleFormat::Tevatron, 0), ((2, 2, 2), vec![traces.into()]));
    let flag = [
        "2 answers: the format has none",
        "1 examples without negatives, which FlagEmbedding trains on in groups of 1 only",
        "3 titles, written before their texts",
        traces,
    ];
    assert_eq!(losses(ExampleFormat::FlagEmbedding, 0), ((2, 2, 2), flag.map(String::from).to_vec()));
    let triplets = [
        "1 answers: the format has none",
        "1 examples without negatives, left out",
        "5 ids of queries and passages: the format has none",
        "2 titles, written before their texts",
        traces,
    ];
    assert_eq!(losses(ExampleFormat::Triplets, 0), ((1, 4, 2), triplets.map(String::from).to_vec()));
    let one = [
        "1 answers: the format has none",
        "1 examples with fewer than 1 negatives, left out",
        "4 ids of queries and passages: the format has none",
        "1 negatives beyond 1",
        "2 titles, written before their texts",
        traces,
    ];
    assert_eq!(losses(ExampleFormat::NTuples, 1), ((1, 2, 1), one.map(String::from).to_vec()));
    // Pairs: an anchor and a positive.
    assert_eq!(written(ExampleFormat::NTuples, 0, &[alone]).1.rows, 2);
}

#[test]
fn rows_without_ids_come_back_as_one_example_with_ids_of_their_content() {
    for format in [ExampleFormat::Triplets, ExampleFormat::NTuples] {
        let (all, summary) = read_back(&written(format, 2, &[example()]).0);
        assert_eq!((summary.format, summary.examples, summary.positives, summary.negatives), (format, 1, 2, 2));
        let [one] = &all[..] else { panic!("{format}: {} examples", all.len()) };
        let texts: Vec<&str> = one.positives.iter().chain(&one.negatives).map(|p| p.text.as_str()).collect();
        assert_eq!(texts, ["빛 뢰머가 쟀다.", "It was Rømer.", "Light Its speed.", "Dark.\nNight."]);
        let sha = |text: &str| {
            let hash = Sha256::digest(text.as_bytes());
            format!("sha256:{}", hash[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        };
        assert_eq!(one.query.id.as_str(), sha("누가 \"빛\"을 쟀나"));
        assert_eq!(one.positives[1].id.as_str(), sha("\nIt was Rømer."));
    }
}

#[test]
fn teacher_scores_reach_flagembedding_when_all_are_there() {
    let mut taught = example();
    let teach = |score: f64| Some(Provenance { teacher: Some(score), ..Provenance::default() });
    for (i, passage) in taught.positives.iter_mut().chain(&mut taught.negatives).enumerate() {
        passage.provenance = teach(0.1 + i as f64);
    }
    let (text, done) = written(ExampleFormat::FlagEmbedding, 0, &[taught.clone()]);
    assert!(text.contains("\"pos_scores\":[0.1,1.1],\"neg_scores\":[2.1,3.1]"), "{text}");
    assert!(!done.losses.iter().any(|loss| loss.contains("teacher")));
    assert_eq!(read_back(&text).0[0].negatives[1].provenance, teach(3.1));
    taught.positives[0].provenance = None;
    let (text, done) = written(ExampleFormat::FlagEmbedding, 0, &[taught]);
    assert!(!text.contains("scores"), "{text}");
    assert!(done.losses.contains(&"3 teacher scores: not every passage of their example has one".to_string()));
}

#[test]
fn a_file_is_packed_by_its_name_and_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = folder.path().join(name);
        let mut writer = ExampleWriter::create(&path, ExampleFormat::Parallax, 0).unwrap();
        (0..100).for_each(|_| writer.write(&example()).unwrap());
        assert!(!path.exists(), "it has its name only when it is finished");
        writer.finish().unwrap();
        fs_err::read(path).unwrap()
    };
    let (packed, plain) = (write("a.jsonl.gz"), write("c.jsonl"));
    assert_eq!(packed, write("b.jsonl.gz"));
    assert!(packed.len() * 10 < plain.len() && packed[..2] == [0x1f, 0x8b]);
    let mut count = 0;
    let source = Source::new(folder.path().join("a.jsonl.gz"));
    let summary = read::examples(&source, &ReadOptions::default(), &mut |read| {
        count += u64::from(read == example());
        Ok(())
    });
    assert_eq!((count, summary.unwrap().bytes), (100, plain.len() as u64));
    let dropped = ExampleWriter::create(&folder.path().join("d"), ExampleFormat::Dpr, 0).unwrap();
    drop(dropped);
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_file_without_an_example_is_an_error_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |format, n: usize, examples: &[TrainingExample]| {
        let mut writer = ExampleWriter::create(&folder.path().join("x"), format, n).unwrap();
        examples.iter().for_each(|example| writer.write(example).unwrap());
        let error = writer.finish().unwrap_err();
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
        (error.message().to_string(), error.hints().len())
    };
    let mut alone = example();
    alone.negatives.clear();
    // However many are missing, it is one sentence.
    let short = "no example could be written: 2 examples with fewer than 3 negatives, left out";
    assert_eq!(refused(ExampleFormat::NTuples, 3, &[example(), alone.clone()]), (short.into(), 2));
    let none = "no example could be written: 1 examples without negatives, left out";
    assert_eq!(refused(ExampleFormat::Triplets, 1, &[alone]), (none.into(), 2));
    assert_eq!(refused(ExampleFormat::Dpr, 0, &[]), ("no example could be written: there is none".into(), 0));
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ExampleWriter::create(&folder.path().join("x"), ExampleFormat::Dpr, 0).unwrap();
    let mut bare = example();
    bare.positives.clear();
    assert!(writer.write(&bare).unwrap_err().to_string().contains("no positive"));
    let mut odd = example();
    odd.negatives[0].provenance = Some(Provenance { teacher: Some(f64::NAN), ..trace() });
    assert!(writer.write(&odd).unwrap_err().to_string().contains("not finite"));
}

fn side() -> impl Strategy<Value = Option<SideScore>> {
    let finite = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    prop::option::of((prop::option::of(1usize..1000), finite).prop_map(|(rank, score)| SideScore { rank, score }))
}

fn passages(least: usize) -> impl Strategy<Value = Vec<ExamplePassage>> {
    let trace = ("[a-z-]{0,6}", prop::option::of(1usize..99), side(), side(), side(), "[a-z]{0,3}", "[ a-z]{0,3}")
        .prop_map(|(source, rank, sparse, dense, teacher, verdict, reason)| Provenance {
            source,
            rank,
            sparse,
            dense,
            teacher: teacher.map(|side| side.score),
            verdict,
            reason,
        });
    let one = (
        "[#가-나a-z0-9 \"\\\\]{1,4}",
        "[가-나a-z]{0,3}",
        "[가-나a-z\"\\\\\n\t{}\\[\\]1-9,:-]{0,12}x",
        prop::option::of(trace),
    );
    let one = one.prop_map(|(id, title, text, provenance)| ExamplePassage {
        id: PassageId::from(id),
        title,
        text,
        provenance,
    });
    prop::collection::vec(one, least..4)
}

fn any_example() -> impl Strategy<Value = TrainingExample> {
    let query = ("[가-나a-z0-9]{1,4}", "[가-나a-z\"\\\\ ]{0,9}x", prop::collection::vec("[a-z]{1,3}", 0..3));
    (query, passages(1), passages(0)).prop_map(|((id, text, answers), positives, negatives)| TrainingExample {
        query: Query { answers, ..Query::new(QueryId::from(id), text) },
        positives,
        negatives,
    })
}

proptest! {
    #[test]
    fn the_own_layout_reads_back_as_it_was(examples in prop::collection::vec(any_example(), 1..5)) {
        let (text, done) = written(ExampleFormat::Parallax, 0, &examples);
        prop_assert_eq!(done.losses, Vec::<String>::new());
        prop_assert_eq!(read_back(&text).0, examples);
    }

    #[test]
    fn layouts_with_ids_lose_none(examples in prop::collection::vec(any_example(), 1..5)) {
        for format in [ExampleFormat::Dpr, ExampleFormat::Tevatron, ExampleFormat::FlagEmbedding] {
            let (all, summary) = read_back(&written(format, 0, &examples).0);
            prop_assert_eq!((summary.format, all.len()), (format, examples.len()));
            for (read, given) in all.iter().zip(&examples) {
                prop_assert_eq!(&read.query.id, &given.query.id);
                let flat = |of: &[ExamplePassage]| -> Vec<(PassageId, String)> {
                    of.iter().map(|passage| (passage.id.clone(), passage.full_text())).collect()
                };
                prop_assert_eq!(flat(&read.positives), flat(&given.positives));
                prop_assert_eq!(flat(&read.negatives), flat(&given.negatives));
                if format != ExampleFormat::FlagEmbedding {
                    let titles = |of: &TrainingExample| -> Vec<String> {
                        of.positives.iter().chain(&of.negatives).map(|passage| passage.title.clone()).collect()
                    };
                    prop_assert_eq!((titles(read), &read.query.answers), (titles(given), &given.query.answers));
                }
            }
        }
    }
}
