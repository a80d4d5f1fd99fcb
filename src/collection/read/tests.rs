//! The room as a whole: files of every format in, records or one clear error out.

use super::stream::tests::gz;
use super::*;
use crate::error::ErrorKind;
use crate::progress::Silent;
use crate::{PassageId, QueryId};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A folder of files by name.
pub(super) fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }
    folder
}

type Read = (Vec<Passage>, ReadSummary);

fn read(paths: &[&Path], options: &ReadOptions) -> Result<Read> {
    let sources: Vec<Source> = paths.iter().map(|path| Source::new(*path)).collect();
    let mut all = Vec::new();
    let summary = passages(&sources, options, &Silent, &mut |passage| {
        all.push(passage);
        Ok(())
    })?;
    Ok((all, summary))
}

fn read_text(content: &[u8]) -> Result<Read> {
    let folder = folder(&[("x", content)]);
    read(&[&folder.path().join("x")], &ReadOptions::default())
}

fn skip() -> ReadOptions {
    ReadOptions { on_bad_line: OnBadLine::Skip, ..ReadOptions::default() }
}

/// What is said about a file `x`, without the folder.
fn refusal(content: &[u8]) -> String {
    let text = read_text(content).unwrap_err().to_string();
    text[text.find("x:").unwrap_or(0)..].to_string()
}

#[test]
fn every_format_gives_the_same_passages() {
    let want = vec![Passage::new("1", "", "한 글"), Passage::new("2", "", "two, \"too\"")];
    let jsonl = "{\"_id\": 1, \"text\": \"\u{1112}\u{1161}\u{11ab} 글\", \"x\": {\"y\": [1]}}\r\n\r\n\
                 {\"docid\": \"2\", \"title\": null, \"contents\": \"two, \\\"too\\\"\"}";
    let tsv = "1\t한 글\n2\ttwo, \"too\"\n";
    let dpr = "id\ttext\ttitle\n1\t한 글\t\n2\t\"two, \"\"too\"\"\"\t\n";
    let named = "title\tpid\turl\tpassage\n\t1\tu\t한 글\n\t2\tu\ttwo, \"too\"\n";
    for text in [jsonl, tsv, dpr, named] {
        for bytes in
            [text.as_bytes().to_vec(), gz(text.as_bytes()), zstd::stream::encode_all(text.as_bytes(), 1).unwrap()]
        {
            assert_eq!(read_text(&bytes).unwrap().0, want, "{text}");
        }
    }
    let three = read_text(b"1\tfirst text\tits title\n").unwrap().0;
    assert_eq!(three, [Passage::new("1", "its title", "first text")]);
    let beir = folder(&[("corpus.jsonl.gz", &gz(jsonl.as_bytes()))]);
    let (passages, summary) = read(&[beir.path()], &ReadOptions::default()).unwrap();
    assert_eq!((passages, summary.formats, summary.bytes), (want, vec![Format::Beir], jsonl.len() as u64));
}

#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    let says = |content: &str, what: &str| {
        let said = refusal(content.as_bytes());
        assert!(said.starts_with(what), "{content:?} gives {said:?}, not {what:?}");
    };
    let good = "{\"id\": \"a\", \"text\": \"x\"}\n";
    says(&format!("{good}{{\"id\": \"b\", \"te"), "x:2: byte 15: EOF while parsing");
    says(&format!("{good}\n[1]\n"), "x:3: the line is an array");
    says("{\"text\": \"x\"}", "x:1: `id`, `_id`, `docid` is missing (beside it stands `text`)");
    says("{\"id\": \"a\", \"body\": \"x\"}", "x:1: `text`, `contents`, `context`, `document_text` is missing");
    says("{\"id\": \"a\", \"text\": null}", "x:1: `text` is null");
    says("{\"id\": \"a\", \"text\": \"x\", \"title\": 7}", "x:1: `title` is a number");
    says("{\"id\": 1.0, \"text\": \"x\"}", "x:1: `id` is a number with a fraction");
    says("{\"id\": \"\", \"text\": \"x\"}", "x:1: the id is empty");
    says("{\"id\": \"a\\tb\", \"text\": \"x\"}", "x:1: the id \"a\\tb\" holds the control character U+0009");
    says("{\"id\": \"a\", \"text\": \"x\", \"text\": \"y\"}", "x:1: byte 31: the key `text` stands twice");
    says("{\"id\": 1, \"text\": \"x\"}\n{\"id\": \"1\", \"text\": \"y\"}", "x:2: the id `1` is already that of");
    says("{\"id\": \"a\", \"text\": \"\\ud800\"}", "x:1: byte ");
    says("1\ta\n2\n", "x:2: 1 fields between TABs, 2 were expected");
    says("1\ta\tb\tc\n", "x:1: 4 fields between TABs");
    says("id\ttext\n1\t\"a\n", "x:2: a quoted field does not close");
    says("1\t\n\ta\n", "x:2: the id is empty");
    says("no tab here\n", "x:1: neither JSON nor fields between TABs");
    says("[\n{\"id\": 1}]", "x:1: a JSON array of objects");
    says("", "x: is empty, it holds no passage");
    says(" \r\n\n", "x: is empty, it holds no passage");
    says("1\ta\r2\tb\r", "x: lines end in a lone carriage return");
    assert!(refusal(b"id\ttext\n").starts_with("no passage in"));
    assert_eq!(read_text(b"1\ta\n2\t\xC3(\n").unwrap_err().place().1, Some(2));
    assert!(!read_text(b"1\ta\n2\n").unwrap_err().hints().is_empty());
}

#[test]
fn places_that_hold_no_collection_are_refused_by_kind() {
    let folder = folder(&[("a.txt", b"x")]);
    let kind = |path: &Path, options: &ReadOptions| read(&[path], options).unwrap_err().kind();
    assert_eq!(kind(&folder.path().join("none"), &skip()), ErrorKind::NotFound);
    assert_eq!(kind(folder.path(), &skip()), ErrorKind::Usage);
    let tsv = ReadOptions { format: Some(Format::Tsv), ..skip() };
    assert_eq!(kind(folder.path(), &tsv), ErrorKind::Usage);
    assert_eq!(read(&[Path::new("-"), Path::new("-")], &skip()).unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn skipping_counts_and_keeps_what_was_wrong() {
    let text =
        b"{\"id\": 1, \"text\": \" \"}\n{bad}\n{\"id\": 1, \"text\": \"x\"}\n\xFF\n{\"id\": 2, \"text\": \"y\"}\n";
    let folder = folder(&[("x", text)]);
    let (passages, summary) = read(&[&folder.path().join("x")], &skip()).unwrap();
    let ids: Vec<&str> = passages.iter().map(|passage| passage.id.as_str()).collect();
    assert_eq!(ids, ["1", "2"]);
    let lines: Vec<u64> = summary.skipped.iter().map(|skipped| skipped.line).collect();
    assert_eq!((summary.passages, summary.empty, summary.skipped_total, lines), (2, 1, 3, vec![2, 3, 4]));
    let nothing = read(&[&self::folder(&[("x", b"{}")]).path().join("x")], &skip()).unwrap_err();
    assert!(nothing.to_string().ends_with("all 1 records were skipped"), "{nothing}");
    // What breaks the stream is never skipped.
    let long = ReadOptions { max_line: 20, ..skip() };
    let error = read(&[&folder.path().join("x")], &long).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}

#[test]
fn one_bad_line_among_many_is_found_exactly() {
    let mut text: Vec<u8> =
        (0..10_000).flat_map(|i| format!("{{\"id\": {i}, \"text\": \"t\"}}\n").into_bytes()).collect();
    text.extend_from_slice(b"{\"id\": 77, \"text\": \"t\"}\n");
    for bytes in [text.clone(), gz(&text), [gz(&text[..5000]), gz(&text[5000..])].concat()] {
        let said = refusal(&bytes);
        assert!(said.starts_with("x:10001: the id `77` is already that of") && said.ends_with("x:78"), "{said}");
    }
}

#[test]
fn ids_are_unique_over_all_sources() {
    let folder = folder(&[("a.tsv", b"1\tx\n"), ("b.tsv", b"2\ty\n1\tz\n")]);
    let (a, b) = (folder.path().join("a.tsv"), folder.path().join("b.tsv"));
    let said = read(&[&a, &b], &ReadOptions::default()).unwrap_err().to_string();
    assert!(said.contains("b.tsv:2: the id `1` is already that of") && said.ends_with("a.tsv:1"), "{said}");
}

/// Notes what it is told; says stop after some bytes.
#[derive(Default)]
struct Told {
    bytes: AtomicU64,
    total: AtomicU64,
    warnings: Mutex<Vec<String>>,
    stop_after: Option<u64>,
}

impl Progress for Told {
    fn begin(&self, _: Stage, total: Option<u64>) {
        self.total.store(total.unwrap_or(0), Ordering::Relaxed);
    }
    fn advance(&self, _: Stage, units: u64) {
        self.bytes.fetch_add(units, Ordering::Relaxed);
    }
    fn warn(&self, message: &str) {
        self.warnings.lock().unwrap().push(message.to_string());
    }
    fn cancelled(&self) -> bool {
        self.stop_after.is_some_and(|bytes| self.bytes.load(Ordering::Relaxed) > bytes)
    }
}

#[test]
fn progress_counts_the_bytes_on_disk_and_can_stop() {
    let text: String = (0..50_000).map(|i| format!("{i}\tsome words of text number {i}\n")).collect();
    let packed = gz(text.as_bytes());
    let folder =
        folder(&[("a.gz", &packed), ("b", b"{\"id\": \"\xE1\x84\x92\xE1\x85\xA1\", \"text\": \"x\", \"url\": 1}")]);
    let sources = [Source::new(folder.path().join("a.gz")), Source::new(folder.path().join("b"))];
    let told = Told::default();
    passages(&sources, &ReadOptions::default(), &told, &mut |_| Ok(())).unwrap();
    let size: u64 = ["a.gz", "b"].map(|name| fs_err::metadata(folder.path().join(name)).unwrap().len()).iter().sum();
    assert_eq!((told.bytes.load(Ordering::Relaxed), told.total.load(Ordering::Relaxed)), (size, size));
    let warnings = told.warnings.lock().unwrap();
    assert!(warnings[0] == "fields not read: url" && warnings[1].starts_with("1 ids are not"), "{warnings:?}");
    let told = Told { stop_after: Some(10), ..Told::default() };
    let mut seen = 0;
    let error = passages(&sources, &ReadOptions::default(), &told, &mut |_| {
        seen += 1;
        Ok(())
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Interrupted);
    assert!(seen < 50_000);
}

#[test]
fn the_receivers_own_error_comes_back_and_ends_the_reading() {
    let folder = folder(&[("a.tsv", b"1\tx\n2\ty\n"), ("b.json", SQUAD.as_bytes())]);
    for name in ["a.tsv", "b.json"] {
        let mut calls = 0;
        let sources = [Source::new(folder.path().join(name))];
        let error = passages(&sources, &skip(), &Silent, &mut |_| {
            calls += 1;
            Err(Error::new(ErrorKind::Busy, "mine"))
        });
        assert_eq!((error.unwrap_err().kind(), calls), (ErrorKind::Busy, 1));
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let folder = folder(&[("a.tsv", b"1\tx\n2\ty\n")]);
    let path = folder.path().join("a.tsv");
    let error = passages(&[Source::new(&path)], &skip(), &Silent, &mut |_| {
        fs_err::write(&path, "1\tx\n2\ty\n3\tz\n").unwrap();
        Ok(())
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Mismatch);
}

#[test]
fn records_are_handed_on_while_the_source_is_still_being_read() {
    // With 3 MB of passages a reader that collected first would have read all before the first call.
    let text: String = (0..30_000).map(|i| format!("{i}\t{}\n", "x".repeat(100))).collect();
    let paragraphs: Vec<String> =
        (0..30_000).map(|i| format!("{{\"context\": \"{i} {}\"}}", "x".repeat(100))).collect();
    let squad = format!("{{\"data\": [{{\"title\": \"t\", \"paragraphs\": [{}]}}]}}", paragraphs.join(","));
    let folder = folder(&[("a", text.as_bytes()), ("b", squad.as_bytes())]);
    for name in ["a", "b"] {
        let told = Arc::new(Told::default());
        let most = Cell::new(None);
        passages(&[Source::new(folder.path().join(name))], &skip(), &*told, &mut |passage| {
            if passage.id.as_str() == "1000" || passage.text.starts_with("1000 ") {
                most.set(Some(told.bytes.load(Ordering::Relaxed)));
            }
            Ok(())
        })
        .unwrap();
        let read = most.get().unwrap();
        assert!(read > 0 && read < 1 << 20, "{name}: {read} bytes were read before passage 1000");
    }
}

/// One repeated paragraph, an integer id, an impossible question, a repeated and a blank answer; title last in the
/// second article, as KorQuAD has it.
const SQUAD: &str = r#"{"version": "2.0", "data": [
    {"title": "Tides", "paragraphs": [
        {"context": "The moon pulls.", "qas": [
            {"id": 7, "question": "What pulls?", "answers": [{"text": "moon"}, {"text": "moon"}, {"text": " "}]}]},
        {"context": "The moon pulls.", "qas": [
            {"id": "8", "question": "Who pays?", "is_impossible": true, "answers": [],
             "plausible_answers": [{"text": "moon", "answer_start": 4}]}]}]},
    {"paragraphs": [
        {"qas": [{"id": "9", "question": "무엇?", "answers": [{"text": "달", "answer_start": 0}]}],
         "context": "달이다."},
        {"context": "The moon pulls."}], "title": "달\tpage one"}]}"#;

#[test]
fn squad_gives_passages_questions_answers_and_gold() {
    let (passages, summary) = read_text(SQUAD.as_bytes()).unwrap();
    // The digits: printf 'The moon pulls.' | sha256sum, and the same for 달이다.
    let want = [
        Passage::new("Tides#81e97a9b408fcb1a", "Tides", "The moon pulls."),
        Passage::new("달_page_one#2eea5f2c2149b43a", "달 page one", "달이다."),
        Passage::new("달_page_one#81e97a9b408fcb1a", "달 page one", "The moon pulls."),
    ];
    assert_eq!(passages, want);
    assert_eq!((summary.passages, summary.merged, &summary.formats[..]), (3, 1, &[Format::Squad][..]));

    let folder = folder(&[("x", SQUAD.as_bytes())]);
    let (set, summary) = query_set(&Source::new(folder.path().join("x")), &ReadOptions::default()).unwrap();
    let ids: Vec<&str> = set.queries.iter().map(|query| query.id.as_str()).collect();
    assert_eq!(ids, ["7", "8", "9"]);
    assert_eq!((&set.queries[0].answers[..], set.queries[1].impossible), (&["moon".to_string()][..], true));
    assert!(set.queries[1].answers.is_empty());
    assert_eq!(set.qrels.pairs(), 2);
    for (query, passage) in [("7", &want[0]), ("9", &want[1])] {
        assert_eq!(set.qrels.grade(&QueryId::from(query), &passage.id), Some(1));
    }
    assert_eq!((summary.queries, summary.impossible, summary.merged, summary.empty_answers), (3, 1, 1, 1));
}

#[test]
fn squad_records_that_are_wrong_have_their_line() {
    let says = |from: &str, to: &str, what: &str| {
        assert!(SQUAD.contains(from), "{from}");
        let said = refusal(SQUAD.replacen(from, to, 1).as_bytes());
        assert!(said.starts_with(what), "{to:?} gives {said:?}, not {what:?}");
    };
    says("\"context\": \"달이다.\"", "\"contxt\": 1", "x:9: `context` is missing");
    says("\"context\": \"달이다.\"", "\"context\": null", "x:9: `context` is null");
    says("\"title\": \"Tides\"", "\"title\": []", "x:2: byte ");
    says("\"title\": \"Tides\"", "\"title\": \"Tides\", \"title\": \"Tides\"", "x:2: byte ");
    says("[{\"text\": \"moon\"}, {", "[{\"text\": \"moon\", {", "x:4: byte ");
    says("page one\"}]}", "page one\"}]} {}", "x:11: byte 70: trailing characters");
    says("\"data\"", "\"date\"", "x:1: byte 28: EOF while parsing a list, one whole JSON object");
    let cut = refusal(&SQUAD.as_bytes()[..SQUAD.len() - 40]);
    assert!(cut.contains("EOF while parsing"), "{cut}");

    let folder = folder(&[
        ("id", SQUAD.replace("\"id\": \"9\"", "\"id\": \"7\"").as_bytes()),
        ("two", SQUAD.replace("\"context\": \"달이다.\"", "\"context\": 1").as_bytes()),
    ]);
    let of = |name: &str, options: &ReadOptions| query_set(&Source::new(folder.path().join(name)), options);
    let said = of("id", &ReadOptions::default()).unwrap_err().to_string();
    assert!(said.contains("id:9: the id `7` is already that of") && said.ends_with("id:4"), "{said}");
    assert_eq!(of("id", &skip()).unwrap().1.skipped[0].line, 9);
    let (passages, summary) = read(&[&folder.path().join("two")], &skip()).unwrap();
    assert_eq!((passages.len(), summary.skipped_total, summary.skipped[0].line), (2, 1, 9));
    // A paragraph is bounded, wherever its bytes stand.
    let small = ReadOptions { max_line: 200, ..skip() };
    assert_eq!(read(&[&folder.path().join("id")], &small).unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn queries_come_in_every_shape() {
    let texts = |content: &str| -> Vec<(String, String, usize)> {
        let folder = folder(&[("x", content.as_bytes())]);
        let queries = queries(&Source::new(folder.path().join("x")), &ReadOptions::default()).unwrap();
        queries.iter().map(|q| (q.id.to_string(), q.text.clone(), q.answers.len())).collect()
    };
    let query = |id: &str, text: &str, answers| (id.to_string(), text.to_string(), answers);
    assert_eq!(texts("who is it\n\n [who] \n"), [query("1", "who is it", 0), query("2", "[who]", 0)]);
    assert_eq!(texts("9\twho\n7\t[what\n"), [query("9", "who", 0), query("7", "[what", 0)]);
    assert_eq!(texts("who\t['a', \"b\"]\nwhat\t[]\n"), [query("1", "who", 2), query("2", "what", 0)]);
    assert_eq!(texts("qid\tquery\n1\twho\n"), [query("1", "who", 0)]);
    let jsonl = "{\"_id\": \"a\", \"text\": \"who\", \"metadata\": {\"answers\": [\"x\", \"y\", \"x\"]}}\n{\"qid\": 3, \"question\": \"what\", \"answers\": \"z\"}";
    assert_eq!(texts(jsonl), [query("a", "who", 2), query("3", "what", 1)]);
    assert_eq!(texts(SQUAD).len(), 3);
    let beir = folder(&[("queries.jsonl", jsonl.as_bytes())]);
    assert_eq!(queries(&Source::new(beir.path()), &ReadOptions::default()).unwrap().len(), 2);
}

#[test]
fn a_beir_folder_gives_the_split_and_what_it_judges() {
    let files: [(&str, &[u8]); 3] = [
        ("queries.jsonl", b"{\"_id\": \"a\", \"text\": \"x\"}\n{\"_id\": \"b\", \"text\": \"y\"}\n{\"_id\": \"c\", \"text\": \"z\"}\n"),
        ("qrels/test.tsv", b"query-id\tcorpus-id\tscore\na\td1\t1\na\td2\t0\n"),
        ("qrels/train.tsv.gz", &gz(b"query-id\tcorpus-id\tscore\nb\td1\t2\nnone\td1\t1\n")),
    ];
    let folder = folder(&files);
    let source = Source::new(folder.path());
    let (set, summary) = query_set(&source, &ReadOptions::default()).unwrap();
    assert_eq!((set.queries.len(), set.qrels.pairs(), summary.without_qrels), (1, 2, 2));
    assert_eq!((summary.split.as_deref(), &summary.other_splits[..]), (Some("test"), &["train".to_string()][..]));
    let train = ReadOptions { split: Some("train".into()), ..ReadOptions::default() };
    let said = query_set(&source, &train).unwrap_err().to_string();
    assert!(said.ends_with("train.tsv.gz:3: the query `none` is not among the queries"), "{said}");
    let (set, summary) = query_set(&source, &ReadOptions { on_bad_line: OnBadLine::Skip, ..train }).unwrap();
    assert_eq!((set.qrels.grade(&"b".into(), &"d1".into()), summary.skipped_total), (Some(2), 1));
    assert_eq!(qrels(&source, &ReadOptions::default()).unwrap().len(), 1);
}

#[test]
fn questions_are_looked_for_where_they_can_be() {
    let jsonl: &[u8] = b"{\"id\": \"a\", \"text\": \"x\"}";
    let folder = folder(&[
        ("c.jsonl", jsonl),
        ("s", &gz(SQUAD.as_bytes())),
        ("with/corpus.jsonl", jsonl),
        ("with/queries.jsonl", jsonl),
        ("without/corpus.jsonl", jsonl),
    ]);
    let has = |name: &str| {
        let source = Source::new(if name == "-" { name.into() } else { folder.path().join(name) });
        has_questions(&source, &ReadOptions::default()).unwrap()
    };
    assert_eq!(["c.jsonl", "s", "with", "without", "-"].map(has), [false, true, true, false, false]);
}

/// Real collections: `PARALLAX_TEST_DATA` names the folder that holds `scifact`, `squad` and `korquad`.
#[test]
fn real_collections_have_their_published_counts() {
    let Some(data) = std::env::var_os("PARALLAX_TEST_DATA").map(std::path::PathBuf::from) else {
        println!("left out: counts of real collections (set PARALLAX_TEST_DATA)");
        return;
    };
    let count = |names: &[&str]| {
        let sources: Vec<Source> = names.iter().map(|name| Source::new(data.join(name))).collect();
        let mut ids: Vec<PassageId> = Vec::new();
        let summary = passages(&sources, &ReadOptions::default(), &Silent, &mut |passage| {
            assert!(!passage.id.as_str().contains(char::is_whitespace));
            ids.push(passage.id);
            Ok(())
        })
        .unwrap();
        ids.sort();
        (summary.passages, summary.merged, ids)
    };
    let (train, dev) = ("squad/train-v1.1.json.gz", "squad/dev-v1.1.json.gz");
    let (passages, merged, forth) = count(&[train, dev]);
    // 18,896 + 2,067 paragraphs, 20,958 of them distinct.
    assert_eq!((passages, merged), (20_958, 5));
    assert_eq!(count(&[dev, train]).2, forth, "ids depend on the order of the files");
    assert_eq!(count(&["korquad/KorQuAD_v1.0_dev.json"]).0, 961);
    assert_eq!(count(&["scifact"]).0, 5_183);
    let set = |name: &str| query_set(&Source::new(data.join(name)), &ReadOptions::default()).unwrap();
    let (korquad, summary) = set("korquad/KorQuAD_v1.0_dev.json");
    assert_eq!((korquad.queries.len(), korquad.qrels.pairs(), summary.merged), (5_774, 5_774, 3));
    let (squad, _) = set(dev);
    assert_eq!((squad.queries.len(), squad.qrels.pairs()), (10_570, 10_570));
    let gold = squad.qrels.iter().flat_map(|(_, judged)| judged.keys());
    assert!(gold.into_iter().all(|id| forth.binary_search(id).is_ok()), "gold names a passage that is not there");
    let (scifact, summary) = set("scifact");
    assert_eq!((scifact.queries.len(), scifact.qrels.pairs(), summary.without_qrels), (300, 339, 809));
}
