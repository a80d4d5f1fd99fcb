//! What a mix gives first, and what is kept for questions that are held out.

use super::*;

#[test]
fn the_first_negative_comes_from_each_source_in_its_share() {
    let (passages, bundled) = planted();
    let lab = lab(&passages, false, Chunking::None);
    let mut set = QuerySet::default();
    for copy in 0..8 {
        for query in &bundled.queries {
            let id = format!("{}-{copy}", query.id);
            for passage in bundled.qrels.relevant(&query.id) {
                set.qrels.insert(id.as_str().into(), passage.clone(), 1);
            }
            set.queries.push(Query { id: id.as_str().into(), ..query.clone() });
        }
    }
    let options = MineOptions {
        mix: "mix:sparse=.7,random=.3".parse().unwrap(),
        filters: Filters::NONE,
        ..MineOptions::default()
    };
    let (examples, _) = mined(&lab, &set, &[], &options);
    let first = |e: &&TrainingExample| e.negatives[0].provenance.as_ref().unwrap().source == "sparse";
    let (sparse, n) = (examples.iter().filter(first).count() as f64, examples.len() as f64);
    // Four standard errors of a share of .7.
    assert!(n > 800.0 && (sparse / n - 0.7).abs() < 4.0 * (0.21 / n).sqrt(), "{sparse} of {n}");
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| mined(&lab, &set, &[], &options).0), examples);
    }
}

/// A held-out question about a bridge: its gold passage, twins of it, another passage with the answer, and one that has
/// the answer alone.
fn bridge() -> (Vec<Passage>, QuerySet, QuerySet) {
    let gold = "The old bridge over the river was built by an engineer called Parler in the reign of a king who loved \
                stone more than he loved gold";
    let mut passages = vec![
        Passage::new("mined", "", "A river bridge of wood burns easily, which the town learnt twice in the long war"),
        Passage::new("gold", "", gold),
        Passage::new("twin", "", gold.to_uppercase()),
        Passage::new("near", "", gold.replace("reign", "days")),
        Passage::new("answers", "", "Who built the old river bridge? Parler built it, every child of the town knows"),
        Passage::new("holds", "", "The war cost the town a cook called Parler"),
        Passage::new("free", "", "The town has a river and no bridge since the war"),
    ];
    passages.extend((0..6).map(|i| Passage::new(format!("b{i}"), "", format!("who built the old bridge number {i}"))));
    let question = |id: &str, text: &str, answer: &str, passage: &str| {
        let mut set = QuerySet { queries: vec![question(id, text, &[answer])], ..QuerySet::default() };
        set.qrels.insert(id.into(), passage.into(), 1);
        set
    };
    (
        passages,
        question("q", "what burns on a river bridge in a town of war", "wood", "mined"),
        question("dev", "who built the old bridge over the river", "Parler", "gold"),
    )
}

#[test]
fn what_answers_a_held_out_question_is_never_taken() {
    let (passages, set, held_out) = bridge();
    let lab = lab(&passages, false, Chunking::None);
    let protected = [held_out];
    let take = |filters: Filters, protected: &[QuerySet], mix: &str| {
        let shortfall = Shortfall::Random;
        let options =
            MineOptions { negatives: 15, filters, shortfall, mix: mix.parse().unwrap(), ..MineOptions::default() };
        let (examples, report) = mined(&lab, &set, protected, &options);
        let taken: BTreeSet<String> = ids(&examples[0]).into_iter().map(String::from).collect();
        let all = ["gold", "twin", "near", "answers", "holds", "free"];
        (all.into_iter().filter(|id| taken.contains(*id)).collect::<Vec<_>>(), report)
    };
    let every = vec!["gold", "twin", "near", "answers", "holds", "free"];
    assert_eq!(take(Filters::default(), &[], "sparse").0, every);
    for mix in ["sparse", "random"] {
        let (taken, report) = take(Filters::default(), &protected, mix);
        assert_eq!(taken, ["holds", "free"], "an answer alone does not answer ({mix})");
        assert_eq!(report.protected, 4, "the judged one, and three among the best that hold the answer");
        // Twins of held-out passages are kept out whatever is asked of the mined questions' own; answers are not looked
        // for where they count for nothing.
        let (taken, report) = take(Filters::NONE, &protected, mix);
        assert_eq!((taken, report.protected), (vec!["answers", "holds", "free"], 1));
        assert_eq!(report.sources[0].filtered_by(Filter::ProtectedTwin), 2);
    }
}

#[test]
fn a_positive_stays_one_though_a_held_out_question_has_it_too() {
    let (passages, mut set, mut held_out) = bridge();
    let lab = lab(&passages, false, Chunking::None);
    held_out.qrels.insert("dev".into(), "mined".into(), 1);
    set.queries.push(question("other", "what did the war cost the town", &["a cook"]));
    set.qrels.insert("other".into(), "holds".into(), 1);
    let options = MineOptions { negatives: 9, filters: Filters::NONE, ..MineOptions::default() };
    let (examples, _) = mined(&lab, &set, &[held_out], &options);
    assert_eq!(examples[0].positives[0].id.as_str(), "mined");
    assert!(!ids(&examples[1]).contains("mined") && ids(&examples[1]).contains("free"));
}

#[test]
fn twins_are_found_as_by_comparing_all() {
    use crate::mining::features::{Features, Marks};
    use crate::mining::protect::protected;
    let (passages, bundled) = planted();
    let lab = lab(&passages, false, Chunking::None);
    // Half of the passages are held out; of the other half, each is compared with all of those.
    let mut held_out = QuerySet::default();
    passages.iter().step_by(2).for_each(|passage| {
        held_out.qrels.insert("dev".into(), passage.id.clone(), 1);
    });
    let options = MineOptions::default();
    let shelter = protected(&lab.searcher, &[held_out], &options).unwrap();
    let marks = Marks { tokens: true, title: true, words: true, signature: true };
    let features: Vec<Features> =
        passages.iter().map(|passage| Features::of(&passage.title, &passage.text, marks)).collect();
    let mut twins = 0;
    for mine in features.iter().skip(1).step_by(2) {
        let any = features.iter().step_by(2).any(|theirs| mine.print.likeness(&theirs.print, NEAR_DUPLICATE).is_some());
        assert_eq!(shelter.repeats(mine), any);
        twins += usize::from(any);
    }
    assert!(twins > 10 && !bundled.queries.is_empty(), "{twins}");
}
