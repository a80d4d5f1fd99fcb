//! Files of other tools as they come, and what is wrong with some.

use super::super::source::OnBadLine;
use super::super::stream::tests::gz;
use super::*;
use crate::error::ErrorKind;

fn read(content: &[u8], options: &ReadOptions) -> Result<(Vec<TrainingExample>, ExamplesSummary)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs_err::write(&path, content).unwrap();
    let mut all = Vec::new();
    let summary = examples(&Source::new(&path), options, &mut |example| {
        all.push(example);
        Ok(())
    })?;
    Ok((all, summary))
}

fn good(content: &str) -> (Vec<TrainingExample>, ExamplesSummary) {
    read(content.as_bytes(), &ReadOptions::default()).unwrap()
}

/// `id: title/text` of passages.
fn short(passages: &[ExamplePassage]) -> Vec<String> {
    passages.iter().map(|p| format!("{}: {}/{}", p.id, p.title, p.text)).collect()
}

#[test]
fn a_published_dpr_file_is_read_as_it_is_laid_out() {
    let text = r#"[
    {
        "dataset": "nq_train_psgs_w100",
        "question": "who",
        "answers": ["a", " "],
        "positive_ctxs": [
            {"title": "T", "text": "one", "score": 1000, "title_score": 1, "passage_id": "7"},
            {"title": null, "text": "two", "psg_id": 8}
        ],
        "negative_ctxs": [{"title": "U", "text": "easy"}],
        "hard_negative_ctxs": [{"title": "U", "text": "hard", "score": 14.678404808044434, "passage_id": "9"}]
    },
    {"question": "when", "positive_ctxs": [{"text": "three"}]}
]"#;
    for bytes in [text.as_bytes().to_vec(), gz(text.as_bytes()), text.replace('\n', "\r\n").into_bytes()] {
        let (all, summary) = read(&bytes, &ReadOptions::default()).unwrap();
        assert_eq!((summary.format, summary.examples, summary.without_negatives), (ExampleFormat::Dpr, 2, 1));
        assert_eq!((summary.positives, summary.negatives), (3, 2));
        assert_eq!(short(&all[0].positives), ["7: T/one", "8: /two"]);
        assert_eq!(short(&all[0].negatives[..1]), ["9: U/hard"]);
        assert_eq!((all[0].negatives[1].text.as_str(), &all[0].query.answers[..]), ("easy", &["a".to_string()][..]));
        // printf 'U\neasy' | sha256sum, and of `who`.
        assert_eq!(all[0].negatives[1].id.as_str(), "sha256:f128da070b12bc71");
        assert_eq!(all[0].query.id.as_str(), "sha256:6ed0337140bd32b4");
        assert!(all.iter().flat_map(|e| e.positives.iter().chain(&e.negatives)).all(|p| p.provenance.is_none()));
    }
}

#[test]
fn every_layout_is_known_by_its_keys() {
    let own = r#"{"query_id": 5, "query": "하", "positives": [{"id": 1, "text": "x"}],
                  "negatives": [{"id": "2", "text": "y", "source": "dense", "rank": 3, "teacher": 2}]}"#;
    let own = own.replace('\n', " ");
    let (all, summary) = good(&own);
    assert_eq!(
        (summary.format, all[0].query.id.as_str(), all[0].query.text.as_str()),
        (ExampleFormat::Parallax, "5", "하")
    );
    let trace = all[0].negatives[0].provenance.clone().unwrap();
    assert_eq!((trace.source.as_str(), trace.rank, trace.teacher, trace.sparse), ("dense", Some(3), Some(2.0), None));

    // A list where lines are usual, and the other way round.
    assert_eq!(good(&format!("[{own}, {own}]")).0.len(), 2);
    let dpr =
        r#"{"question": "q", "answers": [], "positive_ctxs": [{"title": "", "text": "x"}], "hard_negative_ctxs": []}"#;
    assert_eq!(good(&format!("{dpr}\n{dpr}\n")).1.format, ExampleFormat::Dpr);

    let tevatron = r#"{"query_id": "q", "query": "w", "positive_passages": [{"docid": "1", "title": "t", "text": "x", "rank": "odd"}], "negative_passages": [{"docid": 2, "title": "", "text": "y"}]}"#;
    let (all, summary) = good(tevatron);
    assert_eq!(summary.format, ExampleFormat::Tevatron);
    assert_eq!((short(&all[0].positives), short(&all[0].negatives)), (vec!["1: t/x".into()], vec!["2: /y".into()]));

    let flag = r#"{"query": "w", "pos": ["x"], "neg": ["y", "z"], "pos_scores": [1], "neg_scores": [0.25, -3e-2], "prompt": "p"}"#;
    let (all, summary) = good(flag);
    let scores: Vec<f64> = all[0].negatives.iter().filter_map(|p| p.provenance.as_ref()?.teacher).collect();
    assert_eq!((summary.format, scores), (ExampleFormat::FlagEmbedding, vec![0.25, -0.03]));

    let rows = "{\"anchor\": \"a\", \"positive\": \"x\", \"negative\": \"y\"}\n{\"anchor\": \"a\", \"positive\": \"x\", \"negative\": \"z\"}\n\
                {\"anchor\": \"b\", \"positive\": \"x\", \"negative\": \"y\"}\n{\"anchor\": \"a\", \"positive\": \"x\", \"negative\": \"y\"}\n";
    let (all, summary) = good(rows);
    let sizes: Vec<(&str, usize, usize)> =
        all.iter().map(|e| (e.query.text.as_str(), e.positives.len(), e.negatives.len())).collect();
    assert_eq!((summary.format, sizes), (ExampleFormat::Triplets, vec![("a", 1, 2), ("b", 1, 1), ("a", 1, 1)]));

    let tuple = r#"{"query": "a", "positive": "x", "negative_10": "ten", "negative_2": "two", "negative_1": "one", "negative_3": null}"#;
    let (all, summary) = good(tuple);
    let texts: Vec<&str> = all[0].negatives.iter().map(|p| p.text.as_str()).collect();
    assert_eq!((summary.format, texts), (ExampleFormat::NTuples, vec!["one", "two", "ten"]));
    assert_eq!(good(r#"{"anchor": "a", "positive": "x"}"#).1.without_negatives, 1);
}

#[test]
fn texts_leave_in_form_c_and_equal_passages_have_equal_ids() {
    let decomposed =
        "{\"query\": \"\u{1112}\u{1161}\u{11ab}\", \"pos\": [\"\u{1112}\u{1161}\u{11ab}\"], \"neg\": [\"한\"]}";
    let (all, _) = good(decomposed);
    assert_eq!((all[0].query.text.as_str(), &all[0].positives[0]), ("한", &all[0].negatives[0]));
}

#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    let first = r#"{"query": "w", "positives": [{"text": "x"}], "negatives": []}"#;
    let says = |second: &str, what: &str| {
        let error = read(format!("{first}\n\n{second}\n").as_bytes(), &ReadOptions::default()).unwrap_err();
        assert_eq!((error.kind(), error.place().1), (ErrorKind::BadInput, Some(3)), "{error}");
        assert!(error.message().starts_with(what), "{second} gives {:?}", error.message());
        assert!(!error.hints().is_empty());
    };
    says(r#"{"query": "w", "positives": []}"#, "the example has no positive passage");
    says(r#"{"query": "w"}"#, "the example has no positive passage");
    says(r#"{"query": " ", "positives": [{"text": "x"}]}"#, "the query is empty");
    says(r#"{"positives": [{"text": "x"}]}"#, "`query` is missing (beside it stands `positives`)");
    says(r#"{"query": "w", "positives": [{"title": "x"}]}"#, "in `positives`: `text` is missing");
    says(r#"{"query": "w", "positives": [{"text": " "}]}"#, "in `positives`: a passage is empty");
    says(r#"{"query": "w", "positives": ["p1"]}"#, "in `positives`: a passage is a string, an object with its text");
    says(r#"{"query": "w", "positives": {"text": "x"}}"#, "`positives` is an object, an array was expected");
    says(r#"{"query": "w", "query_id": "a\tb", "positives": []}"#, "the id \"a\\tb\" holds the control character");
    says(
        r#"{"query": "w", "positives": [{"id": 1.5, "text": "x"}]}"#,
        "in `positives`: `id` is a number with a fraction",
    );
    says(
        r#"{"query": "w", "positives": [{"text": "x", "rank": 0}]}"#,
        "in `positives`: the rank is 0, ranks count from 1",
    );
    says(
        r#"{"query": "w", "positives": [{"text": "x", "sparse": {"rank": 1}}]}"#,
        "in `positives`: `sparse` has no `score`",
    );
    says(r#"{"query": "w", "positives": [{"text": "x""#, "byte ");
    let flag = "{\"query\": \"w\", \"pos\": [\"x\"], \"neg\": []}\n";
    let error =
        read(format!("{flag}{}", flag.replace("[]", "[], \"pos_id\": [1, 2]")).as_bytes(), &ReadOptions::default());
    assert_eq!(error.unwrap_err().message(), "`pos_id` has 2 entries for 1 passages in `pos`");
    let refuses = |text: &str, what: &str| {
        let said = read(text.as_bytes(), &ReadOptions::default()).unwrap_err().to_string();
        assert!(said.contains(what), "{text:?} gives {said:?}");
    };
    refuses("", "is empty, it holds no training example");
    refuses("[]", "holds no training example");
    refuses("id\ttext\n", "x:1: no file of training examples");
    refuses("{\"data\": [{\"title\": \"a\"}]}", "x:1: no file of training examples");
    refuses("{\"id\": 1, \"text\": \"x\"}", "x:1: the record is no training example: none of `positives`");
    refuses("{\"query_id\": \"1\", \"query_text\": \"x\", \"positive_document_ids\": [\"1\"]}", "named by id only");
    refuses("[{\"query\": \"w\",\n\"pos\": [\"x\"],\n\"pos\": 1}]", "x:3: byte");
    refuses("[{\"query\": \"w\", \"pos\": [\"x\"]}", "x:1: the list does not close");
}

#[test]
fn skipping_counts_and_keeps_what_was_wrong() {
    let skip = ReadOptions { on_bad_line: OnBadLine::Skip, ..ReadOptions::default() };
    let lines = "{\"odd\": 1}\n{\"query\": \"w\", \"pos\": []}\n\n{\"query\": \"w\", \"pos\": [\"x\"]}\n{bad\n";
    let (all, summary) = read(lines.as_bytes(), &skip).unwrap();
    let skipped: Vec<u64> = summary.skipped.iter().map(|skipped| skipped.line).collect();
    assert_eq!((all.len(), summary.format, skipped), (1, ExampleFormat::FlagEmbedding, vec![1, 2, 5]));
    let list =
        "[{\"odd\": 1},\n{\"query\": \"w\", \"pos\": []}, 7, {\"query\": \"w\", \"pos\": [\"x\"]}\n, {\"query\" 3}]";
    let (all, summary) = read(list.as_bytes(), &skip).unwrap();
    let skipped: Vec<u64> = summary.skipped.iter().map(|skipped| skipped.line).collect();
    assert_eq!((all.len(), summary.skipped_total, skipped), (1, 4, vec![1, 2, 2, 3]));
    let none = read(b"{\"query\": \"w\", \"pos\": []}\n", &skip).unwrap_err();
    assert!(none.to_string().ends_with("all 1 records were skipped"), "{none}");
    let long = ReadOptions { max_line: 20, ..skip };
    assert_eq!(read(lines.as_bytes(), &long).unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn the_receiver_can_stop_the_reading() {
    let text = "{\"query\": \"w\", \"pos\": [\"x\"]}\n".repeat(3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    fs_err::write(&path, text).unwrap();
    let mut met = 0;
    let stopped = examples(&Source::new(&path), &ReadOptions::default(), &mut |_| {
        met += 1;
        Err(Error::new(ErrorKind::Interrupted, "enough"))
    });
    assert_eq!((met, stopped.unwrap_err().kind()), (1, ErrorKind::Interrupted));
}
